"""A simulated DHT: a seed, nodes, what their machines reported, and neighbours that lie."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from statistics import mean, quantiles

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
from meshnode.dht.records import (
    ProviderRecord,
    Record,
    key_of,
    sign,
)
from meshnode.dht.settings import DhtSettings
from meshnode.identity.keys import Identity
from meshnode.ids import Address, Contact, ContentHash, NetworkId, PublicKey
from meshnode.machine import Random
from meshnode.wire.codec import Envelope, encode_datagram
from meshnode.wire.messages import (
    Datagram,
    FindNode,
    FoundNodes,
    FoundRecords,
    GetRecords,
    PutRecord,
    PutReply,
    Received,
    Send,
)
from tests.sim.network import Link, Network, contact_of
from tests.sim.world import World

NETWORK = NetworkId(b"n" * 16)
SETTINGS = DhtSettings()
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

    def show(self, title: str) -> None:
        cuts = quantiles(self.seconds, n=20)
        print(
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
        settings: DhtSettings = SETTINGS,
    ) -> None:
        self.settings = settings
        self.rng = Random(seed)
        self.world: World[DhtInput, DhtEffect] = World()
        self.network = Network(
            self.world, self.rng, link, check=fits if check else None, trace=trace
        )
        self.identities: list[Identity] = []
        self.contacts: list[Contact] = []
        self.machines: list[DhtMachine] = []
        self.done: dict[tuple[int, int], tuple[float, LookupFinished | PublishFinished]] = {}
        self.live: set[int] = set()
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
            assert not isinstance(effect, Send)
            self.done[index, effect.ticket] = (self.world.now, effect)

        self.identities.append(identity)
        self.contacts.append(contact)
        self.machines.append(machine)
        self.live.add(index)
        self.network.join(contact, machine, note)
        return index

    def run(self, seconds: float) -> None:
        self.world.run(self.world.now + seconds)

    def join(self, indices: Iterable[int], *, every_s: float = 0.05) -> None:
        for index in indices:
            self.network.tell(self.contacts[index], Join((self.contacts[0],)))
            self.run(every_s)

    def kill(self, indices: Iterable[int]) -> None:
        for index in indices:
            self.live.discard(index)
            self.network.kill(self.contacts[index])

    def pick(self, *, but: int = 0) -> int:
        """Return a live node other than the seed and `but`."""
        return self.rng.choice(sorted(self.live - {0, but}))

    def ticket(self) -> int:
        self._tickets += 1
        return self._tickets

    def result(self, index: int, ticket: int) -> tuple[float, LookupFinished | PublishFinished]:
        """Run until a command is answered, which must not take longer than ten seconds."""
        for _ in range(40):
            self.run(0.25)
            if (index, ticket) in self.done:
                return self.done[index, ticket]
        raise AssertionError(f"node {index} never answered ticket {ticket}")

    def provider(self, index: int, blob: bytes, *, seq: int = 1, **other) -> ProviderRecord:
        plain = {"size": 5, "root": bytes(32), "ttl_s": 1800}
        return ProviderRecord(
            network=NETWORK,
            blob=ContentHash(blob),
            provider=self.contacts[index].public_key,
            addresses=(self.contacts[index].address,),
            seq=seq,
            **{**plain, **other},
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
        began = self.world.now
        self.network.tell(self.contacts[index], command)
        when, effect = self.result(index, command.ticket)
        assert isinstance(effect, LookupFinished)
        assert effect.rpcs <= SETTINGS.rpcs_max * (1 + SETTINGS.paths)
        if report is not None:
            report.rpcs.append(effect.rpcs)
            report.seconds.append(when - began)
        return effect


def formed(count: int, **arguments) -> Mesh:
    """Return a mesh whose nodes all joined through the seed."""
    mesh = Mesh(count, **arguments)
    mesh.join(range(1, count))
    mesh.run(5.0)
    return mesh


class Hostile:
    """A machine that answers every question badly, in every way it knows."""

    def __init__(self, contact: Contact, identity: Identity, rng: Random, victim: Contact) -> None:
        self._contact = contact
        self._identity = identity
        self._rng = rng
        self._victim = victim

    def handle(self, event: object, now: float) -> list[Send]:
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
        return []

    def next_timer(self) -> None:
        return None

    def made_up(self, count: int) -> tuple[Contact, ...]:
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
        return []

    @staticmethod
    def shape(ask: FindNode | GetRecords | PutRecord, contacts: tuple[Contact, ...]) -> Datagram:
        match ask:
            case FindNode():
                return FoundNodes(rpc=ask.rpc, contacts=contacts)
            case GetRecords():
                return FoundRecords(rpc=ask.rpc, records=(), contacts=contacts, more=True)
            case PutRecord():
                return PutReply(rpc=ask.rpc, kept=True)


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
