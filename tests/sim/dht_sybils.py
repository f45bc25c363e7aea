"""Sybils: one attacker's nodes around a key, nearer to it than anybody honest."""

from collections.abc import Iterable
from dataclasses import replace

from meshnode.dht.machine import Observe
from meshnode.dht.records import sign
from meshnode.identity.keys import Identity
from meshnode.ids import Address, Contact, PublicKey, distance, node_id_of
from meshnode.machine import Random
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
from tests.sim.dht_mesh import Mesh

K = 16


class Ring:
    """The Sybils around one key, who know each other and serve one plan."""

    def __init__(self, key: bytes, contacts: Iterable[Contact]) -> None:
        self.key = key
        self.contacts = sorted(contacts, key=lambda c: distance(c.node_id, key))
        self.lies: tuple[bytes, ...] = ()
        """Records that active Sybils hand out under the key: validly signed, and false."""
        self.dropped = 0


class Sybil:
    """Answers every question with other Sybils, and says that it keeps what it drops.

    An active one also invents contacts that do not exist, hands out false records, and asks the
    honest nodes that it hears of, so that they know it.
    """

    def __init__(self, own: Contact, ring: Ring, rng: Random, *, active: bool) -> None:
        self._own = own
        self._ring = ring
        self._rng = rng
        self._active = active

    def handle(self, event: object, now: float) -> list[Send]:
        if not isinstance(event, Received):
            return []
        match event.message:
            case FindNode() | GetRecords() | PutRecord() as ask:
                return [Send(event.sender, self._answer(ask)), *self._court(event.sender)]
            case _:
                return []

    def tick(self, now: float) -> list[Send]:
        return []

    def next_timer(self) -> None:
        return None

    def _answer(self, ask: FindNode | GetRecords | PutRecord) -> Datagram:
        match ask:
            case FindNode():
                return FoundNodes(rpc=ask.rpc, contacts=self._others()[: ask.count])
            case GetRecords():
                lies = self._ring.lies if self._active and ask.key == self._ring.key else ()
                some = tuple(self._rng.sample(lies, min(2, len(lies))))
                contacts = self._others()[: K - 6 * len(some)]
                return FoundRecords(rpc=ask.rpc, records=some, contacts=contacts, more=bool(lies))
            case PutRecord():
                self._ring.dropped += 1
                return PutReply(rpc=ask.rpc, kept=True, seq=1)

    def _others(self) -> tuple[Contact, ...]:
        others = [c for c in self._ring.contacts if c != self._own]
        if not self._active:
            return tuple(others[:K])
        ghosts = [
            Contact(PublicKey(self._rng.randbytes(32)), Address("10.210.0.1", n)) for n in (1, 2, 3)
        ]
        return tuple([*ghosts, *self._rng.sample(others, min(K - 3, len(others)))])

    def _court(self, honest: Contact) -> list[Send]:
        if not self._active or self._rng.random() < 0.5:
            return []
        question = FindNode(rpc=self._rng.getrandbits(64), target=self._ring.key, count=0)
        return [Send(honest, question)]


def mine(key: bytes, count: int, nearer_than: int, rng: Random) -> list[PublicKey]:
    """Return keys whose node ids lie nearer to `key` than `nearer_than`: a second of hashing."""
    found: list[PublicKey] = []
    while len(found) < count:
        candidate = PublicKey(rng.randbytes(32))
        if distance(node_id_of.__wrapped__(candidate), key) < nearer_than:
            found.append(candidate)
    return found


def surround(mesh: Mesh, key: bytes, count: int, *, active: bool, lies: int = 0) -> Ring:
    """Put `count` Sybils around a key, and into the tables of the 30 nearest and 25 others."""
    honest = sorted(
        (mesh.contacts[i] for i in mesh.live - {0}), key=lambda c: distance(c.node_id, key)
    )
    keys = mine(key, count, distance(honest[0].node_id, key), mesh.rng)
    made = [Contact(k, Address(f"10.220.{n >> 8}.{n & 255}", 6174)) for n, k in enumerate(keys, 1)]
    ring = Ring(key, made)
    for contact in ring.contacts:
        sybil = Sybil(contact, ring, Random(mesh.rng.getrandbits(64)), active=active)
        mesh.network.join(contact, sybil)
    victims = [*honest[:30], *mesh.rng.sample(honest[30:], min(25, max(0, len(honest) - 30)))]
    for victim in victims:
        for contact in ring.contacts:
            mesh.network.tell(victim, Observe(contact))
        mesh.run(0.05)
    mesh.run(3.0)
    return ring


def remove(mesh: Mesh, ring: Ring) -> None:
    """Take the Sybils off the network."""
    for contact in ring.contacts:
        mesh.network.kill(contact)


def false_records(mesh: Mesh, blob: bytes, count: int) -> tuple[bytes, ...]:
    """Return provider records of one blob by signers who do not have it, all validly signed."""
    records = []
    for _ in range(count):
        liar = Identity.from_seed(mesh.rng.randbytes(32))
        record = replace(mesh.provider(1, blob), provider=liar.public_key)
        records.append(sign(liar, record))
    return tuple(records)
