"""What this node answers to others: contacts, records, and whether it kept a record.

An answer fits one datagram by construction. What is handed out was verified: contacts that
answered us, records whose signature was checked when they came in.
"""

from collections.abc import Iterable

from meshnode.dht.proofs import Equivocation, Proofs
from meshnode.dht.records import key_of, open_record, signer_of
from meshnode.dht.settings import DhtSettings
from meshnode.dht.store import RecordStore, Verdict
from meshnode.dht.table import Table
from meshnode.dht.tags import unknown_of
from meshnode.errors import RemoteProtocolError
from meshnode.ids import Contact, NetworkId
from meshnode.machine import Random
from meshnode.wire.limits import MESSAGE_BYTES_MAX, RECORDS_PER_REPLY_MAX
from meshnode.wire.messages import (
    FindNode,
    FoundNodes,
    FoundRecords,
    GetRecords,
    PutRecord,
    PutReply,
    Received,
    Send,
)

ENVELOPE_BYTES = 64
"""Version, type, network, two cookies, rpc id and the heads of lists, generously."""
ROOM = MESSAGE_BYTES_MAX - ENVELOPE_BYTES
CONTACTS_BESIDE_RECORDS = 4
"""Where records are many, room is left for so many contacts, so that a lookup still gets on."""


class Answers:
    """Answers the three questions from the table and the store."""

    def __init__(
        self,
        table: Table,
        store: RecordStore,
        network: NetworkId,
        settings: DhtSettings,
        rng: Random,
        *,
        proofs: Proofs,
    ) -> None:
        self.refused = 0
        """Records offered to us that were forged, malformed or of another mesh."""
        self.equivocations = 0
        """Records offered to us that contradict one we hold."""
        self._table = table
        self._store = store
        self._network = network
        self._settings = settings
        self._rng = rng
        self._proofs = proofs

    def answer(self, received: Received, now: float) -> Send | None:
        """Return the answer to a question, None if it is none."""
        sender = received.sender
        match received.message:
            case FindNode() as ask:
                near = unknown_of(self._near(ask.target, sender, now), ask.known)
                contacts = _fitting(near[: ask.count], ROOM)
                return Send(sender, FoundNodes(rpc=ask.rpc, contacts=contacts))
            case GetRecords() as ask:
                return Send(sender, self._records(ask, sender, now))
            case PutRecord() as offer:
                if not received.proved:
                    return Send(sender, PutReply(rpc=offer.rpc, kept=False, seq=0))
                return Send(sender, self._keep(offer, sender, now))
            case _:
                return None

    def _records(self, ask: GetRecords, sender: Contact, now: float) -> FoundRecords:
        near = unknown_of(self._near(ask.key, sender, now), ask.known)
        reserved = sum(map(_contact_bytes, near[:CONTACTS_BESIDE_RECORDS]))
        records: list[bytes] = []
        for room in (ROOM - reserved, ROOM):
            if not records:
                records = self._store.subset(ask.key, now, bytes_max=room, rng=self._rng)
        records = records[:RECORDS_PER_REPLY_MAX]
        left = ROOM - sum(len(record) + 3 for record in records)
        return FoundRecords(
            rpc=ask.rpc,
            records=tuple(records),
            contacts=_fitting(near, left),
            more=self._store.count_of(ask.key, now) > len(records),
        )

    def _keep(self, offer: PutRecord, sender: Contact, now: float) -> PutReply:
        try:
            record = open_record(offer.record, network=self._network)
        except RemoteProtocolError:
            self.refused += 1
            return PutReply(rpc=offer.rpc, kept=False, seq=0)
        verdict = self._store.put(record, offer.record, sender, now, cas=offer.cas)
        held = self._store.held(key_of(record), signer_of(record), now)
        if verdict is Verdict.EQUIVOCATION and held is not None:
            self.equivocations += 1
            self._proofs.note(
                Equivocation(
                    key=key_of(record),
                    signer=signer_of(record),
                    seq=record.seq,
                    first=held.data,
                    second=offer.record,
                )
            )
        kept, seq = verdict is Verdict.KEPT, held.seq if held is not None else 0
        return PutReply(rpc=offer.rpc, kept=kept, seq=seq)

    def _near(self, target: bytes, asker: Contact, now: float) -> list[Contact]:
        return self._table.closest_sound(target, self._settings.k, now, exclude=asker.node_id)


def _fitting(contacts: Iterable[Contact], bytes_max: int) -> tuple[Contact, ...]:
    """Return the head of `contacts` that fits."""
    chosen: list[Contact] = []
    for contact in contacts:
        bytes_max -= _contact_bytes(contact)
        if bytes_max < 0:
            break
        chosen.append(contact)
    return tuple(chosen)


def _contact_bytes(contact: Contact) -> int:
    """Return what a contact takes in CBOR at most: list head, key, host text, port."""
    return 1 + 34 + 2 + len(contact.address.host.encode()) + 3 + 1
