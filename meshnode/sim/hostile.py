"""Neighbours that lie: Byzantine nodes written as machines."""

from collections.abc import Callable
from dataclasses import replace

from meshnode.dht.records import ProviderRecord, sign
from meshnode.gossip.member import MemberState
from meshnode.identity.keys import Identity
from meshnode.ids import Address, Contact, ContentHash, NetworkId, PublicKey, tag_of
from meshnode.machine import Random
from meshnode.wire.messages import (
    Ack,
    Datagram,
    FindNode,
    FoundNodes,
    FoundRecords,
    GetRecords,
    Gossip,
    MemberUpdate,
    Ping,
    PutRecord,
    PutReply,
    Received,
    Send,
)

NETWORK = NetworkId(b"n" * 16)
ACCUSE_EVERY_S = 0.5


class Hostile:
    """A machine that answers every question badly, in every way it knows."""

    def __init__(self, contact: Contact, identity: Identity, rng: Random, victim: Contact) -> None:
        self._contact = contact
        self._identity = identity
        self._rng = rng
        self._victim = victim

    def handle(self, event: object, now: float) -> list[Send]:
        """Answer a question badly, with strays beside it."""
        if not isinstance(event, Received):
            return []
        match event.message:
            case FindNode() | GetRecords() | PutRecord() as ask:
                ways = (self.closer, self.victims, self.wrong, self.forged, self.silence)
                # Every question also brings an unasked answer, and one to a question of another.
                stray = FoundNodes(rpc=self._rng.getrandbits(64), contacts=self.made_up(16))
                answers = [*self._rng.choice(ways)(ask), stray]
                return [Send(event.sender, answer) for answer in answers]
            case _:
                return []

    def tick(self, now: float) -> list[Send]:
        """Nothing is ever due."""
        return []

    def next_timer(self) -> None:
        """Nothing is ever due."""
        return None

    def made_up(self, count: int) -> tuple[Contact, ...]:
        """Return contacts that do not exist."""
        return tuple(
            Contact(
                PublicKey(self._rng.randbytes(32)), Address("10.200.0.1", self._rng.randint(1, 9))
            )
            for _ in range(count)
        )

    def closer(self, ask: FindNode | GetRecords | PutRecord) -> list[Datagram]:
        """Endless contacts that look nearer, none of which exists."""
        return [self.shape(ask, self.made_up(16))]

    def victims(self, ask: FindNode | GetRecords | PutRecord) -> list[Datagram]:
        """Contacts that all point at one victim."""
        contacts = tuple(replace(c, address=self._victim.address) for c in self.made_up(16))
        return [self.shape(ask, contacts)]

    def wrong(self, ask: FindNode | GetRecords | PutRecord) -> list[Datagram]:
        """Another type than was asked for; twice."""
        return [PutReply(rpc=ask.rpc, kept=True), FoundNodes(rpc=ask.rpc, contacts=())]

    def forged(self, ask: FindNode | GetRecords | PutRecord) -> list[Datagram]:
        """Records that are junk, of another key, or changed after signing; always more of them."""
        record = ProviderRecord(
            network=NETWORK,
            blob=ContentHash(self._rng.randbytes(32)),
            provider=self._identity.public_key,
            addresses=(),
            size=1,
            root=bytes(32),
            seq=2**63,
            ttl_s=2**32,
        )
        good = sign(self._identity, record)
        changed = good[:-1] + bytes([good[-1] ^ 1])
        junk = self._rng.randbytes(100)
        records = (good, changed, junk)
        return [FoundRecords(rpc=ask.rpc, records=records, contacts=(), more=True)]

    def silence(self, ask: FindNode | GetRecords | PutRecord) -> list[Datagram]:
        """Nothing."""
        return []

    @staticmethod
    def shape(ask: FindNode | GetRecords | PutRecord, contacts: tuple[Contact, ...]) -> Datagram:
        """Return an answer of the right type with these contacts."""
        match ask:
            case FindNode():
                return FoundNodes(rpc=ask.rpc, contacts=contacts)
            case GetRecords():
                return FoundRecords(rpc=ask.rpc, records=(), contacts=contacts, more=True)
            case PutRecord():
                return PutReply(rpc=ask.rpc, kept=True)


class Accuser:
    """A member that answers pings, and accuses whoever it hears of, again and again."""

    def __init__(self, own: Contact, victims: Callable[[], list[Contact]], rng: Random) -> None:
        self._own = own
        self._victims = victims
        self._rng = rng
        self._heard: dict[PublicKey, MemberUpdate] = {}
        self._at: float | None = None

    def handle(self, event: object, now: float) -> list[Send]:
        """Remember what others say of themselves; ack their pings."""
        if self._at is None:
            self._at = now
        if not isinstance(event, Received):
            return []
        message = event.message
        if isinstance(message, Ping | Ack | Gossip):
            for update in message.updates:
                known = self._heard.get(update.contact.public_key)
                if known is None or known.incarnation <= update.incarnation:
                    self._heard[update.contact.public_key] = update
        if isinstance(message, Ping):
            return [Send(event.sender, Ack(sequence=message.sequence))]
        return []

    def tick(self, now: float) -> list[Send]:
        """Tell a few that a few others do not answer."""
        if self._at is None or now < self._at:
            return []
        self._at = now + ACCUSE_EVERY_S
        victims = self._victims()
        told = self._rng.sample(victims, min(3, len(victims)))
        heard = [self._heard[c.public_key] for c in victims if c.public_key in self._heard]
        accused = self._rng.sample(heard, min(3, len(heard)))
        tag = tag_of(self._own.node_id)
        claims = tuple(replace(u, state=MemberState.SUSPECT, accuser=tag) for u in accused)
        return [Send(contact, Gossip(updates=claims)) for contact in told if claims]

    def next_timer(self) -> float | None:
        """Twice a second, from the first thing heard."""
        return self._at
