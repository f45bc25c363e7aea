"""A mesh of DHT machines alone: a seed, nodes, and what their machines reported."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from statistics import mean, quantiles
from typing import Any

from meshnode.dht.machine import (
    DhtEffect,
    DhtInput,
    DhtMachine,
    FindNodes,
    FindRecords,
    Join,
    LookupFinished,
    Publish,
    PublishFinished,
)
from meshnode.dht.records import ProviderRecord, Record, key_of, sign
from meshnode.dht.settings import DhtSettings
from meshnode.identity.keys import Identity
from meshnode.ids import Contact, ContentHash
from meshnode.machine import Random
from meshnode.sim.dht_account import Account
from meshnode.sim.hostile import NETWORK, Hostile
from meshnode.sim.links import Link
from meshnode.sim.network import Network, contact_of
from meshnode.sim.world import World
from meshnode.wire.codec import Envelope, encode_datagram
from meshnode.wire.messages import Datagram

SETTINGS = DhtSettings()
RPCS_MAX = 64 + 256
"""Contacts asked in a plain lookup, and in the disjoint one that may follow it."""
LOSSY = Link(delay_s=0.010, jitter_s=0.005, loss=0.01, duplicates=0.01)
FAR = Link(delay_s=0.060, jitter_s=0.015, loss=0.01)


def fits(message: Datagram) -> None:
    """Every datagram fits with both cookies and the seeds' network id around it."""
    encode_datagram(
        Envelope(message=message, network=bytes(16), issued=bytes(8), returned=bytes(8))
    )


@dataclass
class Report:
    """What lookups took."""

    rpcs: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def line(self, title: str) -> str:
        """Return it in one line, for people."""
        cuts = quantiles(self.seconds, n=20)
        return (
            f"{title}: {len(self.rpcs)} lookups, RPCs mean {mean(self.rpcs):.1f} max"
            f" {max(self.rpcs)}, virtual ms p50 {1e3 * cuts[9]:.0f} p95 {1e3 * cuts[18]:.0f}"
            f" max {1e3 * max(self.seconds):.0f}"
        )


class Mesh:
    """A seed (host 0) and nodes, with what their machines reported."""

    def __init__(
        self,
        count: int,
        *,
        seed: int,
        link: Link = LOSSY,
        check: bool = True,
        trace: bool = False,
        real: bool = False,
        settings: DhtSettings = SETTINGS,
    ) -> None:
        self.settings = settings
        self.rng = Random(seed)
        self.world: World[DhtInput, DhtEffect] = World()
        self.network = Network(
            self.world, self.rng, link, check=fits if check else None, trace=trace, real=real
        )
        self.identities: list[Identity] = []
        self.contacts: list[Contact] = []
        self.machines: list[DhtMachine] = []
        self.done: dict[tuple[int, int], tuple[float, LookupFinished | PublishFinished]] = {}
        self.told: dict[tuple[int, int], Callable[[Any], None]] = {}
        """By node and ticket: who is told of an end at once, in place of `done`."""
        self.live: set[int] = set()
        self.account = Account() if real else None
        """Where the bytes go, if they are counted."""
        if self.account is not None:
            self.network.on_sent = self.account.on_sent
        self._tickets = 0
        for _ in range(count):
            self.start()

    def start(self) -> int:
        """Start one more node; return its index."""
        index = len(self.contacts)
        identity = Identity.from_seed(self.rng.randbytes(32))
        contact = contact_of(index, identity.public_key)
        machine = DhtMachine(
            contact, NETWORK, self.settings, Random(self.rng.getrandbits(64)), passive=index == 0
        )

        def note(effect: DhtEffect) -> None:
            if isinstance(effect, LookupFinished | PublishFinished):
                told = self.told.pop((index, effect.ticket), None)
                if told is not None:
                    told(effect)
                else:
                    self.done[index, effect.ticket] = (self.world.now, effect)

        if self.account is not None:
            self.account.of[contact.public_key] = machine
        self.identities.append(identity)
        self.contacts.append(contact)
        self.machines.append(machine)
        self.live.add(index)
        self.network.join(contact, machine, note)
        return index

    def run(self, seconds: float) -> None:
        """Let virtual time pass."""
        self.world.run(self.world.now + seconds)

    def join(self, indices: Iterable[int], *, every_s: float = 0.05) -> None:
        """Let nodes join through the seed, one after the other."""
        for index in indices:
            self.network.tell(self.contacts[index], Join((self.contacts[0],)))
            self.run(every_s)

    def kill(self, indices: Iterable[int]) -> None:
        """Stop nodes for good."""
        for index in indices:
            self.live.discard(index)
            self.network.kill(self.contacts[index])

    def pick(self, *, but: int = 0) -> int:
        """Return a live node other than the seed and `but`."""
        return self.rng.choice(sorted(self.live - {0, but}))

    def ticket(self) -> int:
        """Return a number for a command."""
        self._tickets += 1
        return self._tickets

    def result(self, index: int, ticket: int) -> tuple[float, LookupFinished | PublishFinished]:
        """Run until a command is answered, which must not take longer than ten seconds."""
        for _ in range(40):
            self.run(0.25)
            if (index, ticket) in self.done:
                return self.done[index, ticket]
        raise AssertionError(f"node {index} never answered ticket {ticket}")

    def provider(self, index: int, blob: bytes, *, seq: int = 1) -> ProviderRecord:
        """Return what a node says when it holds a blob."""
        return ProviderRecord(
            network=NETWORK,
            blob=ContentHash(blob),
            provider=self.contacts[index].public_key,
            addresses=(self.contacts[index].address,),
            size=5,
            root=bytes(32),
            seq=seq,
            ttl_s=1800,
        )

    def publish(self, index: int, record: Record, *, signer: Identity | None = None) -> int:
        """Publish and return how many keep it."""
        ticket = self.ticket()
        data = sign(signer or self.identities[index], record)
        self.network.tell(self.contacts[index], Publish(ticket, key_of(record), data))
        effect = self.result(index, ticket)[1]
        assert isinstance(effect, PublishFinished)
        return effect.stored

    def find(
        self, index: int, key: bytes, *, all_of_them: bool = True, report: Report | None = None
    ) -> tuple[Record, ...]:
        """Look records up and return them; the lookup must end within its bounds."""
        finished = self.ask(index, FindRecords(self.ticket(), key, all_of_them), report)
        return finished.records

    def ask(
        self, index: int, command: FindNodes | FindRecords, report: Report | None = None
    ) -> LookupFinished:
        """Give a node a lookup and wait for its end, within its bounds."""
        began = self.world.now
        self.network.tell(self.contacts[index], command)
        when, effect = self.result(index, command.ticket)
        assert isinstance(effect, LookupFinished)
        assert effect.rpcs <= RPCS_MAX
        if report is not None:
            report.rpcs.append(effect.rpcs)
            report.seconds.append(when - began)
        return effect


def formed(
    count: int,
    *,
    seed: int,
    link: Link = LOSSY,
    check: bool = True,
    trace: bool = False,
    real: bool = False,
    settings: DhtSettings = SETTINGS,
) -> Mesh:
    """Return a mesh whose nodes all joined through the seed."""
    mesh = Mesh(count, seed=seed, link=link, check=check, trace=trace, real=real, settings=settings)
    mesh.join(range(1, count))
    mesh.run(5.0)
    return mesh


def beset(mesh: Mesh, count: int, victim: Contact) -> list[Contact]:
    """Add hostile nodes and make every honest one know them."""
    contacts = []
    for index in range(count):
        identity = Identity.from_seed(mesh.rng.randbytes(32))
        contact = contact_of(5000 + index, identity.public_key)
        hostile = Hostile(contact, identity, Random(mesh.rng.getrandbits(64)), victim)
        mesh.network.join(contact, hostile)
        contacts.append(contact)
    for index in sorted(mesh.live - {0}):
        mesh.network.tell(mesh.contacts[index], Join(tuple(contacts)))
    mesh.run(5.0)
    return contacts
