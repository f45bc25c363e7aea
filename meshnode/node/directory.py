"""Directory: the DHT as the rest of the node uses it. Pairs with `dht/`."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import trio

from meshnode.dht.machine import (
    DhtEffect,
    DhtInput,
    DhtMachine,
    Doubt,
    Equivocation,
    FindNodes,
    FindRecords,
    Join,
    LookupFinished,
    Observe,
    Publish,
    PublishFinished,
)
from meshnode.dht.records import (
    NameRecord,
    NodeRecord,
    ProviderRecord,
    key_of,
    name_key,
    provider_key,
    sign,
)
from meshnode.errors import MeshnodeError, StoreError
from meshnode.identity.keys import Identity
from meshnode.ids import Contact, ContentHash, NetworkId, PublicKey, short
from meshnode.node.driver import Driver
from meshnode.node.memory import NameMemory
from meshnode.node.waiters import Waiters
from meshnode.wire.messages import Received, Send

_log = logging.getLogger(__name__)
Record = NodeRecord | ProviderRecord | NameRecord
LOOKUP_TIMEOUT_S = 5.0


SAVE_EVERY_S = 5.0
"""What was learnt of names is written at most this often."""
LOOK_TO_THE_END_EVERY_S = 300.0
NAMES_MAX = 1024
ANNOUNCE_AGAIN_S = 5.0
"""How soon a record is announced again that nobody kept: the mesh is still forming."""


@dataclass(slots=True)
class _Announcement:
    """A record to be published again before it expires, with a rising sequence number."""

    make: Callable[[], Record]
    signer: Identity
    every_s: float
    seq_min: int = 0
    """Beyond what others hold of ours: our clock may have been set back."""

    def fresh(self) -> tuple[bytes, bytes]:
        """Return (key, signed record). A name is never raised: another may have written it."""
        record = self.make()
        if not isinstance(record, NameRecord) and record.seq < self.seq_min:
            record = replace(record, seq=self.seq_min)
        return key_of(record), sign(self.signer, record)


class Directory:
    """Finds and announces who provides what."""

    def __init__(
        self,
        machine: DhtMachine,
        *,
        network: NetworkId,
        send: Callable[[Send], None],
        save: Callable[[NameMemory], None] | None = None,
    ) -> None:
        """`save` blocks and keeps what the machine has learnt of names; it runs in a thread."""
        self._machine = machine
        self._network = network
        self._send = send
        self._save = save
        self._driver: Driver[DhtInput, DhtEffect] = Driver(machine, self._perform)
        self._lookups: Waiters[LookupFinished] = Waiters()
        self._publishes: Waiters[PublishFinished] = Waiters()
        self._looked_at: dict[bytes, float] = {}
        """When each name was last looked up to the end."""
        self._announcements: dict[bytes, _Announcement] = {}
        self._due, self._due_in = trio.open_memory_channel[bytes](256)

    async def run(self) -> None:
        """Serve the machine's timers and keep announcements alive, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._driver.run)
            nursery.start_soon(self._keep_saved)
            async for name in self._due_in:
                nursery.start_soon(self._keep_announced, name)

    def receive(self, received: Received) -> None:
        """Take a DHT datagram."""
        self._driver.handle(received)

    def join(self, contacts: tuple[Contact, ...]) -> None:
        """Bootstrap from these contacts."""
        if contacts:
            self._driver.handle(Join(contacts))

    def heard_of(self, contact: Contact, *, alive: bool) -> None:
        """Take gossip's word as a hint: a live member is verified, a doubtful one asked now."""
        self._driver.handle(Observe(contact) if alive else Doubt(contact))

    def contacts(self) -> list[Contact]:
        """Return the contacts that answered us, for the peer cache."""
        return self._machine.contacts()

    @property
    def size(self) -> int:
        """How many contacts the table holds."""
        return self._machine.size

    @property
    def contradictions(self) -> tuple[Equivocation, ...]:
        """Proofs that somebody signed two records with one sequence number."""
        return self._machine.proofs.held

    async def nearest(self, target: bytes) -> tuple[Contact, ...]:
        """Look up the live contacts nearest to an id."""
        found = await self._ask(lambda ticket: FindNodes(ticket, target))
        return found.closest if found else ()

    async def providers(
        self, blob: ContentHash, *, thorough: bool = False
    ) -> tuple[ProviderRecord, ...]:
        """Look up who says that it holds a blob; withdrawn records are left out.

        `thorough` asks along disjoint paths to the end: for when all that were found have lied.
        """
        key = provider_key(self._network, blob)
        found = await self._ask(
            lambda ticket: FindRecords(ticket, key, all_of_them=True, thorough=thorough)
        )
        records = found.records if found else ()
        return tuple(r for r in records if isinstance(r, ProviderRecord) and not r.withdrawn)

    async def name(self, publisher: PublicKey, name: str) -> NameRecord | None:
        """Look up what a publisher says about one of its names: the highest number found.

        The first time, and every few minutes, along disjoint paths to the end: a name decides
        which code runs. In between a plain look is enough, as no older record is believed.
        """
        found = await self._signed_name(publisher, name)
        return found[0] if found else None

    async def publish(
        self, record: Record, signer: Identity, *, cas: int | None = None
    ) -> PublishFinished:
        """Store a record once at the nodes nearest to its key; return what they made of it.

        With `cas` only in place of the record with that sequence number.
        """
        return await self._publish(key_of(record), sign(signer, record), cas)

    async def announce_again(self, publisher: PublicKey, name: str) -> None:
        """Store another's name record once more, unchanged, so that it outlives its publisher."""
        found = await self._signed_name(publisher, name)
        if found is not None:
            await self._publish(key_of(found[0]), found[1], None)

    def keep_announced(
        self,
        name: bytes,
        make: Callable[[], Record],
        signer: Identity,
        every_s: float,
    ) -> None:
        """Publish a record now and again and again; `name` identifies it, to replace or stop."""
        new = name not in self._announcements
        self._announcements[name] = _Announcement(make, signer, every_s)
        if new:
            try:
                self._due.send_nowait(name)
            except trio.WouldBlock:
                _log.warning("too many announcements at once; one waits for the next start")

    def stop_announcing(self, name: bytes) -> None:
        """Let a record expire."""
        self._announcements.pop(name, None)

    async def _keep_announced(self, name: bytes) -> None:
        while (announcement := self._announcements.get(name)) is not None:
            try:
                key, record = announcement.fresh()
            except MeshnodeError as error:
                # What it speaks of is gone: evicted, or set aside as rotten.
                _log.info("no longer announced: %s", error)
                self.stop_announcing(name)
                return
            done = await self._publish(key, record, None)
            announcement.seq_min = max(announcement.seq_min, done.seq_held + 1)
            again_s = announcement.every_s if done.stored else ANNOUNCE_AGAIN_S
            await trio.sleep(min(again_s, announcement.every_s))

    async def _keep_saved(self) -> None:
        while True:
            await trio.sleep(SAVE_EVERY_S)
            await self.save()

    async def save(self) -> None:
        """Keep what was learnt of names, if it is new; a disk that refuses does not end us."""
        seqs, proofs = self._machine.seqs, self._machine.proofs
        if self._save is None or not (seqs.changed or proofs.changed):
            return
        seqs.changed = proofs.changed = False
        known = NameMemory(seqs.entries, proofs.held)
        try:
            await trio.to_thread.run_sync(self._save, known)
        except StoreError as error:
            seqs.changed = True
            _log.warning("what is known of names is not kept: %s", error)

    async def _publish(self, key: bytes, record: bytes, cas: int | None) -> PublishFinished:
        with trio.move_on_after(LOOKUP_TIMEOUT_S * 2):
            return await self._publishes.ask(
                lambda ticket: self._driver.handle(Publish(ticket, key, record, cas))
            )
        return PublishFinished(ticket=0, stored=0)

    async def _signed_name(
        self, publisher: PublicKey, name: str
    ) -> tuple[NameRecord, bytes] | None:
        key = name_key(self._network, publisher, name)
        looked_at = self._looked_at.get(key)
        thorough = looked_at is None or trio.current_time() - looked_at > LOOK_TO_THE_END_EVERY_S
        found = await self._ask(
            lambda ticket: FindRecords(ticket, key, all_of_them=False, thorough=thorough)
        )
        if thorough and found is not None and found.records:
            self._looked_at[key] = trio.current_time()
            while len(self._looked_at) > NAMES_MAX:
                del self._looked_at[next(iter(self._looked_at))]
        if found is not None:
            for record, signed in zip(found.records, found.signed, strict=True):
                if isinstance(record, NameRecord):
                    return record, signed
        return None

    async def _ask(
        self, command: Callable[[int], FindNodes | FindRecords]
    ) -> LookupFinished | None:
        with trio.move_on_after(LOOKUP_TIMEOUT_S):
            return await self._lookups.ask(lambda ticket: self._driver.handle(command(ticket)))
        return None

    def _perform(self, effect: DhtEffect) -> None:
        match effect:
            case Send():
                self._send(effect)
            case LookupFinished():
                self._lookups.resolve(effect.ticket, effect)
            case PublishFinished():
                self._publishes.resolve(effect.ticket, effect)
            case Equivocation():
                _log.error(
                    "publisher or node %s signed two records with sequence number %d under one"
                    " key: it made a mistake, or its key is in other hands",
                    short(effect.signer),
                    effect.seq,
                )
