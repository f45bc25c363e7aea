"""Directory: the DHT as the rest of the node uses it. Pairs with `dht/`."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import trio

from meshnode.dht.machine import (
    DhtEffect,
    DhtInput,
    DhtMachine,
    Doubt,
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
from meshnode.errors import MeshnodeError
from meshnode.identity.keys import Identity
from meshnode.ids import Contact, ContentHash, NetworkId, PublicKey
from meshnode.node.driver import Driver
from meshnode.node.waiters import Waiters
from meshnode.wire.messages import Received, Send

_log = logging.getLogger(__name__)
Record = NodeRecord | ProviderRecord | NameRecord
LOOKUP_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class _Announcement:
    """A record to be published again before it expires, with a rising sequence number."""

    make: Callable[[], tuple[bytes, bytes]]
    """Returns (key, signed record), freshly stamped."""
    every_s: float


class Directory:
    """Finds and announces who provides what."""

    def __init__(
        self, machine: DhtMachine, *, network: NetworkId, send: Callable[[Send], None]
    ) -> None:
        self._machine = machine
        self._network = network
        self._send = send
        self._driver: Driver[DhtInput, DhtEffect] = Driver(machine, self._perform)
        self._lookups: Waiters[LookupFinished] = Waiters()
        self._publishes: Waiters[int] = Waiters()
        self._announcements: dict[bytes, _Announcement] = {}
        self._due, self._due_in = trio.open_memory_channel[bytes](256)

    async def run(self) -> None:
        """Serve the machine's timers and keep announcements alive, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._driver.run)
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

    async def nearest(self, target: bytes) -> tuple[Contact, ...]:
        """Look up the live contacts nearest to an id."""
        found = await self._ask(lambda ticket: FindNodes(ticket, target))
        return found.closest if found else ()

    async def providers(self, blob: ContentHash) -> tuple[ProviderRecord, ...]:
        """Look up who says that it holds a blob; withdrawn records are left out."""
        key = provider_key(self._network, blob)
        found = await self._ask(lambda ticket: FindRecords(ticket, key, all_of_them=True))
        records = found.records if found else ()
        return tuple(r for r in records if isinstance(r, ProviderRecord) and not r.withdrawn)

    async def name(self, publisher: PublicKey, name: str) -> NameRecord | None:
        """Look up what a publisher says about one of its names."""
        key = name_key(self._network, publisher, name)
        found = await self._ask(lambda ticket: FindRecords(ticket, key, all_of_them=False))
        for record in found.records if found else ():
            if isinstance(record, NameRecord):
                return record
        return None

    async def publish(self, record: Record, signer: Identity) -> int:
        """Store a record once at the nodes nearest to its key; return how many kept it."""
        return await self._publish(key_of(record), sign(signer, record))

    def keep_announced(
        self, name: bytes, make: Callable[[], Record], signer: Identity, every_s: float
    ) -> None:
        """Publish a record now and again and again; `name` identifies it, to replace or stop."""

        def fresh() -> tuple[bytes, bytes]:
            record = make()
            return key_of(record), sign(signer, record)

        new = name not in self._announcements
        self._announcements[name] = _Announcement(fresh, every_s)
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
                key, record = announcement.make()
            except MeshnodeError as error:
                # What it speaks of is gone: evicted, or set aside as rotten.
                _log.info("no longer announced: %s", error)
                self.stop_announcing(name)
                return
            stored = await self._publish(key, record)
            # With nobody there to keep it, try again soon: the mesh is still forming.
            await trio.sleep(announcement.every_s if stored else min(5.0, announcement.every_s))

    async def _publish(self, key: bytes, record: bytes) -> int:
        stored = 0
        with trio.move_on_after(LOOKUP_TIMEOUT_S * 2):
            stored = await self._publishes.ask(
                lambda ticket: self._driver.handle(Publish(ticket, key, record))
            )
        return stored

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
                self._publishes.resolve(effect.ticket, effect.stored)
