"""The DHT's figures: many dead at once, churn, Sybils; each a list of lines for people."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import log
from statistics import mean

from meshnode.caps import Caps
from meshnode.dht.machine import (
    FindRecords,
    Join,
    LookupFinished,
    Observe,
    Publish,
    PublishFinished,
)
from meshnode.dht.records import NodeRecord, key_of, node_key, sign
from meshnode.ids import Contact, distance
from meshnode.sim.dht_mesh import Mesh
from meshnode.sim.hostile import NETWORK
from meshnode.sim.links import Link
from meshnode.sim.sybils import Mint, Sybil

FAR = Link(delay_s=0.060, jitter_s=0.015, loss=0.01)
"""150 ms of round trip, 1 % loss each way."""
JOINS_S = 20.0
"""Nodes that join in a second, while a large mesh forms."""
LOOKUP_S_MAX = 30.0
TTL_S = 3600
CHURN_MINUTES = 5


@dataclass(slots=True)
class Finds:
    """What lookups came to."""

    asked: int = 0
    found: int = 0
    seconds: list[float] = field(default_factory=list)
    rpcs: list[int] = field(default_factory=list)
    open: dict[int, int] = field(default_factory=dict)
    """By ticket, who waits for the end of a lookup."""

    def without_the_dead(self, live: set[int]) -> "Finds":
        """Leave out the lookups of nodes that died before they ended; call when all could have."""
        self.asked -= sum(asker not in live for asker in self.open.values())
        return self

    def line(self, title: str) -> str:
        """Return it in one line."""
        if not self.seconds:
            return f"{title}: no lookup of {self.asked} ended"
        took = sorted(self.seconds)
        p50, p95 = (1e3 * took[int(len(took) * q)] for q in (0.5, 0.95))
        return (
            f"{title}: {self.found} of {self.asked} found ({100 * self.found / self.asked:.1f} %),"
            f" p50 {p50:.0f} ms, p95 {p95:.0f} ms, RPCs mean {mean(self.rpcs):.1f}"
            f" max {max(self.rpcs)}"
        )


class Probe:
    """A DHT mesh, with lookups that run beside each other."""

    def __init__(self, count: int, seed: int) -> None:
        self.mesh = Mesh(count, seed=seed, link=FAR, check=False, real=True)
        self.seqs: dict[int, int] = {}
        for index in range(1, count):
            world, mesh = self.mesh.world, self.mesh
            world.call(
                index / JOINS_S, self._joiner(index, mesh.contacts[mesh.rng.randrange(index)])
            )
        self.mesh.run(count / JOINS_S + 20.0)

    def _joiner(self, index: int, sponsor: Contact) -> Callable[[], None]:
        mesh = self.mesh
        contacts = tuple(dict.fromkeys((mesh.contacts[0], sponsor)))
        return lambda: mesh.network.tell(mesh.contacts[index], Join(contacts))

    def publish(self, index: int, kept: Callable[[bytes], None] | None = None) -> bytes:
        """Let a node publish its own record; return the key, and tell `kept` once it is stored."""
        mesh = self.mesh
        self.seqs[index] = self.seqs.get(index, 0) + 1
        contact = mesh.contacts[index]
        record = NodeRecord(
            network=NETWORK,
            public_key=contact.public_key,
            addresses=(contact.address,),
            name=f"node-{index}",
            caps=Caps.CPU,
            seq=self.seqs[index],
            ttl_s=TTL_S,
        )
        data = sign(mesh.identities[index], record)
        key, ticket = key_of(record), mesh.ticket()

        def finished(effect: PublishFinished) -> None:
            if effect.stored and kept is not None:
                kept(key)

        mesh.told[index, ticket] = finished
        mesh.network.tell(contact, Publish(ticket, key, data))
        return key

    def find(self, asker: int, key: bytes, finds: Finds) -> None:
        """Start a lookup; what it comes to is noted when it ends."""
        mesh = self.mesh
        ticket, began = mesh.ticket(), mesh.world.now
        finds.asked += 1
        finds.open[ticket] = asker

        def note(effect: LookupFinished) -> None:
            finds.seconds.append(mesh.world.now - began)
            finds.rpcs.append(effect.rpcs)
            finds.found += bool(effect.records)
            del finds.open[ticket]

        mesh.told[asker, ticket] = note
        mesh.network.tell(mesh.contacts[asker], FindRecords(ticket, key, False))

    def find_all(self, keys: list[bytes], finds: Finds, *, every_s: float = 0.2) -> None:
        """Look each key up from a random node, one after the other, and wait for all."""
        for key in keys:
            self.find(self.mesh.pick(), key, finds)
            self.mesh.run(every_s)
        self.mesh.run(LOOKUP_S_MAX)


def many_dead(nodes: int | None, seed: int) -> list[str]:
    """2,000 nodes, 150 ms, 1 % loss: all alive, then 30 % dead at once."""
    count = nodes or 2000
    probe = Probe(count, seed)
    mesh = probe.mesh
    before = mesh.network.sent
    owners = [mesh.pick() for _ in range(150)]
    keys = []
    for owner in dict.fromkeys(owners):
        keys.append(probe.publish(owner))
        mesh.run(0.2)
    mesh.run(20.0)
    alive, dead = Finds(), Finds()
    probe.find_all(keys, alive)
    mesh.kill(mesh.rng.sample(sorted(mesh.live - {0}), 3 * count // 10))
    probe.find_all(keys, dead)
    return [
        alive.line(f"{count} nodes, all alive"),
        dead.line(f"{count} nodes, 30 % dead at once"),
        f"  goal with 30 % dead: p95 <= 700 ms, >= 99.3 %, <= 8 RPCs; {mesh.network.sent - before}"
        " packets",
    ]


def churn(nodes: int | None, seed: int) -> list[str]:
    """1,000 nodes with sessions of 1.4 min (median): who is alive can be found."""
    count = nodes or 1000
    probe = Probe(count, seed)
    mesh = probe.mesh
    mean_s = 1.4 * 60 / log(2)
    finds, keys = Finds(), dict[int, bytes]()
    for index in sorted(mesh.live - {0}):
        keys[index] = probe.publish(index)
        mesh.run(5.0 / count)
    mesh.run(5.0)
    bytes_before, began = sum(mesh.network.bytes_by.values()), mesh.world.now
    account = mesh.account
    assert account is not None, "a real mesh counts its bytes"
    account.reset()
    due = mesh.world.now
    while mesh.world.now < began + 60 * CHURN_MINUTES:
        due += mesh.rng.expovariate(count / mean_s)
        mesh.world.run(due)
        gone = mesh.pick()
        mesh.kill([gone])
        keys.pop(gone, None)
        late = mesh.start()
        sponsors = (mesh.contacts[0], mesh.contacts[mesh.pick(but=late)])
        mesh.network.tell(mesh.contacts[late], Join(sponsors))
        mesh.world.call(mesh.world.now + 3.0, _publisher(probe, late, keys))
        owner = mesh.rng.choice(sorted(keys))
        probe.find(mesh.pick(), keys[owner], finds)
    per_node = (sum(mesh.network.bytes_by.values()) - bytes_before) / (mesh.world.now - began)
    where = account.lines((mesh.world.now - began) * count)
    mesh.run(LOOKUP_S_MAX)
    return [
        finds.without_the_dead(mesh.live).line(
            f"{count} nodes, median session 1.4 min, {CHURN_MINUTES} min"
        ),
        f"  {per_node / count:.0f} B/s/node for the DHT; goal >= 99 %, <= 900 B/s/node",
        "  each node publishes once and looks up once in a session; of that:",
        *where,
    ]


def _publisher(probe: Probe, index: int, keys: dict[int, bytes]) -> Callable[[], None]:
    """Let a newcomer publish; it can be asked for as long as it lives, once somebody keeps it."""

    def stored(key: bytes) -> None:
        if index in probe.mesh.live:
            keys[index] = key

    def act() -> None:
        if index in probe.mesh.live:
            probe.publish(index, stored)

    return act


def sybils(nodes: int | None, seed: int) -> list[str]:
    """2,000 nodes, 30 % dead, then 20 and 60 Sybils around each of 12 keys."""
    count = nodes or 2000
    probe = Probe(count, seed)
    mesh = probe.mesh
    mesh.kill(mesh.rng.sample(sorted(mesh.live - {0}), 3 * count // 10))
    mesh.run(60.0)
    mint, lines = Mint(mesh.rng, 100 * count), []
    for size in (20, 60):
        finds = Finds()
        for owner in mesh.rng.sample(sorted(mesh.live - {0}), 12):
            key = node_key(NETWORK, mesh.contacts[owner].node_id)
            ring = mint.ring(key, size)
            _surround(mesh, key, ring)
            probe.publish(owner)
            mesh.run(15.0)
            for _ in range(8):
                probe.find(mesh.pick(but=owner), key, finds)
            mesh.run(LOOKUP_S_MAX)
            for contact in ring:
                mesh.network.kill(contact)
        lines.append(finds.line(f"{count} nodes, 30 % dead, {size} Sybils around each of 12 keys"))
    return [*lines, "  goal: >= 99 % found"]


def _surround(mesh: Mesh, key: bytes, ring: list[Contact]) -> None:
    """Put Sybils into the tables of the 30 nearest nodes and of 25 others."""
    for contact in ring:
        mesh.network.join(contact, Sybil(contact, ring))
    live = [mesh.contacts[i] for i in sorted(mesh.live - {0})]
    live.sort(key=lambda c: distance(c.node_id, key))
    for contact in [*live[:30], *mesh.rng.sample(live[30:], min(25, len(live) - 30))]:
        for sybil in ring:
            mesh.network.tell(contact, Observe(sybil))
        mesh.run(0.05)
    mesh.run(5.0)
