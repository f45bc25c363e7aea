"""Membership on a virtual clock: an event to 2,000 nodes, its bytes and its wall time, and the
false deaths that one starved node in 20 causes, with Lifeguard's parts and without.

`MESHNODE_GOSSIP_NODES` and `MESHNODE_GOSSIP_MINUTES` make it smaller or longer.
"""

import gc
import os
from collections.abc import Iterator
from dataclasses import replace
from time import process_time

from meshnode.bench.rows import Row
from meshnode.gossip.machine import Join
from meshnode.gossip.settings import GossipSettings, without_lifeguard
from meshnode.ids import Contact
from meshnode.machine import Random
from meshnode.wire.codec import Envelope, decode_datagram, encode_datagram
from meshnode.wire.messages import Send
from tests.sim.gossip_mesh import DEAD, LAN, Mesh, knit, sealed_bytes
from tests.sim.network import Link
from tests.sim.starved import Starvation, Starved

NODES = int(os.environ.get("MESHNODE_GOSSIP_NODES", "2000"))
MINUTES = float(os.environ.get("MESHNODE_GOSSIP_MINUTES", "8"))
SEEDS = 12
EVENTS = 5
SETTLE_S, AFTER_S = 8.0, 3.0
LINKS = {"LAN": LAN, "LAN, 1 % loss": replace(LAN, loss=0.01)}


def rows() -> Iterator[Row]:
    """Yield how events spread, what they cost, and deaths that were none."""
    for name, link in LINKS.items():
        yield from _events(name, link)
    yield from _starved()


def _events(name: str, link: Link) -> Iterator[Row]:
    """One node after another says something new; wait until everybody has heard it."""
    mesh = Mesh(NODES, link=link, check=None)
    knit(mesh)
    gc.collect()
    gc.freeze()  # a mesh of millions of objects would be walked through again and again
    mesh.run(SETTLE_S)
    idle_s = _cost(mesh, 2.0)
    counted = Counted(mesh)
    times_s = [spread(mesh, mesh.contacts[i * 7]) for i in range(EVENTS)]
    counted.end()
    gc.unfreeze()
    yield Row(what=f"{name}: an event reaches all of {NODES}", unit="s", samples=times_s)
    yield Row(
        what=f"{name}: bytes a second, each node",
        unit="B/s",
        samples=counted.rates(),
        note=f"the most in any one second: {counted.worst_second()} B; sealed and padded",
    )
    yield Row(what=f"{name}: CPU for a virtual second, idle", unit="s", samples=[idle_s])
    yield Row(
        what=f"{name}: CPU with every message coded, events",
        unit="s",
        samples=[counted.cpu_s / counted.virtual_s],
    )


class Counted:
    """Encodes and decodes all that is sent, and adds up what each node sends, by the second."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._send = mesh.network.send
        self._bytes: dict[tuple[Contact, int], int] = {}
        self._from = mesh.world.now
        self._cpu = process_time()
        self._weighed_s = 0.0
        self.cpu_s = self.virtual_s = 0.0
        mesh.network.send = self._weigh  # type: ignore[method-assign]

    def end(self) -> None:
        """Stop counting."""
        self.virtual_s = self._mesh.world.now - self._from
        self.cpu_s = process_time() - self._cpu - self._weighed_s
        self._mesh.network.send = self._send  # type: ignore[method-assign]

    def rates(self) -> list[float]:
        """Return the bytes a second of each node, over the whole time."""
        sums = dict.fromkeys(self._mesh.contacts, 0)
        for (contact, _), size in self._bytes.items():
            sums[contact] += size
        return [total / self.virtual_s for total in sums.values()]

    def worst_second(self) -> int:
        """Return the most that any node sent in any second."""
        return max(self._bytes.values())

    def _weigh(self, sender: Contact, what: Send) -> None:
        decoded = decode_datagram(encode_datagram(Envelope(message=what.message))).message
        began = process_time()
        cookie = self._mesh.network.proved(sender, what.recipient)
        size = sealed_bytes(what.message, cookie=cookie)
        key = (sender, int(self._mesh.world.now))
        self._bytes[key] = self._bytes.get(key, 0) + size
        self._weighed_s += process_time() - began
        self._send(sender, replace(what, message=decoded))


def _cost(mesh: Mesh, seconds: float) -> float:
    began = process_time()
    mesh.run(seconds)
    return (process_time() - began) / seconds


def spread(mesh: Mesh, source: Contact) -> float:
    """Return how long a new word of one node takes to the last of the others."""
    machine = mesh.machines[source]
    machine._own.rise_above(machine.incarnation)
    machine._speaker.queue.put(machine._own.word)
    mesh.network.tell(source, Join(()))
    began = mesh.world.now
    missing = {m for c, m in mesh.machines.items() if c != source}
    while missing and mesh.world.now - began < 20.0:
        mesh.run(0.02)
        for other in list(missing):
            known = other.member(source.node_id)
            if known is not None and known.incarnation == machine.incarnation:
                missing.discard(other)
    took_s = mesh.world.now - began if not missing else float("inf")
    mesh.run(AFTER_S - (mesh.world.now - began) % AFTER_S)
    return took_s


def _starved() -> Iterator[Row]:
    """Count deaths of nodes that live: by the starved one, of it, and others."""
    base: Row | None = None
    for name, settings in {
        "plain SWIM": without_lifeguard(GossipSettings()),
        "with Lifeguard": GossipSettings(),
    }.items():
        counts = [false_deaths(seed, settings, MINUTES * 60) for seed in range(SEEDS)]
        row = Row(
            what=f"false deaths, 1 starved of 20, {name}",
            unit="",
            samples=[float(sum(count)) for count in counts],
            baseline=base,
            note=f"{sum(map(sum, counts))} in {SEEDS} x {MINUTES:g} min: "
            f"{sum(c[0] for c in counts)} by it, {sum(c[1] for c in counts)} of it",
        )
        base = base or row
        yield row


def false_deaths(
    seed: int, settings: GossipSettings, seconds: float, how: Starvation | None = None
) -> tuple[int, int, int]:
    """Return how often live nodes were declared dead: by the starved node, it, and the rest."""
    mesh = Mesh(20, seed=seed, settings=settings, check=None)
    mesh.form(5.0)
    starved = mesh.contacts[7]
    machine = mesh.machines[starved]
    mesh.network.kill(starved)
    slow = Starved(machine, Random(seed), how or Starvation(stands_max_s=6.0))
    mesh.network.join(starved, slow, mesh.noting(starved))
    mesh.network.tell(starved, Join(()))
    mesh.changes.clear()
    mesh.run(seconds)
    deaths = [
        (by, change.member.contact)
        for by, changes in mesh.changes.items()
        for _, change in changes
        if change.member.state is DEAD
    ]
    by_it = sum(by == starved for by, _ in deaths)
    of_it = sum(about == starved for _, about in deaths)
    return by_it, of_it, len(deaths) - by_it - of_it
