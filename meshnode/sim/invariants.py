"""What must hold at every step of a run, and at its end. The first thing that does not ends it.

Cheap facts are checked where they arise: what gossip reports, what a lookup answers. What needs a
look into a node is checked in turns, one node every few steps.
"""

from dataclasses import dataclass, field
from typing import Any

from meshnode.gossip.member import Member, MemberState
from meshnode.ids import Address, PublicKey
from meshnode.machine import Machine
from meshnode.sim.broken import Broken as Broken
from meshnode.sim.deadlines import Deadlines
from meshnode.sim.dht_mesh import RPCS_MAX
from meshnode.sim.gossiping import GOSSIP_KINDS
from meshnode.sim.mesh import SimMesh
from meshnode.sim.node import SimNode
from meshnode.sim.rates import Rates

LOOKUP_S_MAX = 20.0
"""A lookup of at most 64 RPCs of 1.5 s, three at a time, with silent contacts: 15 s is bad luck."""
LOOK_EVERY_S = 2.0
"""How often it is looked whether a lookup has ended, and whether its node stood meanwhile."""
LOOK_EVERY = 64
"""Steps between two looks into a node."""
BYTES_S_MAX = 64_000.0
"""What one node may send on average over ten seconds, forming and healing included."""
RATE_OVER_S = 10.0
GOSSIP_BYTES_S_MAX = 8000
"""What one node may send for gossip in any single second, headers included."""
EVENTS_PER_NODE_MAX = 4000
"""Inputs and timers that may be due in the whole world, for each node."""


@dataclass(slots=True)
class _View:
    """What one life of a node last said of another."""

    incarnation: int
    state: MemberState


@dataclass(slots=True)
class Invariants:
    """Watches one mesh."""

    mesh: SimMesh
    members: set[PublicKey] = field(default_factory=set)
    """Whom an honest node may know; filled by the scenario."""
    liars: set[PublicKey] = field(default_factory=set)
    """Byzantine members: what they say of themselves may be anything."""
    false_deaths: int = 0
    """Living nodes that somebody declared dead. No fault by itself: they refute."""
    lookups: int = 0
    rpcs: int = 0
    gossip: Rates = field(init=False)
    _who: dict[tuple[PublicKey, int], tuple[Address, str, int]] = field(default_factory=dict)
    _views: dict[tuple[int, int, PublicKey], _View] = field(default_factory=dict)
    _steps: int = 0
    _turn: int = 0
    _bytes: dict[int, tuple[int, int]] = field(default_factory=dict)

    def watch(self) -> None:
        """Look at every step from now on."""
        self.gossip = Rates(self.mesh.network, GOSSIP_KINDS)
        self.mesh.on_change = self.changed
        self.mesh.world.after_step = self.after_step
        for node in self.mesh.nodes:
            node.on_start.append(_watch_deadlines)
        self._look_at_rates()

    # ------------------------------------------------------------------ gossip

    def changed(self, node: SimNode, member: Member) -> None:
        """One truth per member and incarnation; no view goes back; no stranger is seen."""
        key = member.contact.public_key
        if key not in self.members:
            raise Broken(f"{node.name} believes in a stranger at {member.contact.address}")
        if key not in self.liars:  # one that signs two words at one incarnation has no truth
            self._one_truth(node, member)
            self._never_back(node, member)
        if member.state is MemberState.DEAD:
            other = self.mesh.node_of(key)
            self.false_deaths += other is not None and other.alive

    def _one_truth(self, node: SimNode, member: Member) -> None:
        """Only a member itself raises its incarnation, so all agree who it is at each."""
        said = (member.contact.address, member.name, int(member.caps))
        known = self._who.setdefault((member.contact.public_key, member.incarnation), said)
        if known != said:
            raise Broken(
                f"{node.name} believes {said} of {member.name} at incarnation"
                f" {member.incarnation}, another node {known}"
            )

    def _never_back(self, node: SimNode, member: Member) -> None:
        """At one incarnation alive < suspect < dead < left, and incarnations rise."""
        number = self.mesh.nodes.index(node)
        view = (number, node.lives, member.contact.public_key)
        last = self._views.get(view)
        now = (member.incarnation, member.state)
        if last is not None and now < (last.incarnation, last.state):
            raise Broken(
                f"{node.name} went back on {member.name}: from {last.state.name.lower()} at"
                f" {last.incarnation} to {member.state.name.lower()} at {member.incarnation}"
            )
        self._views[view] = _View(*now)

    # ------------------------------------------------------------------ steps

    def after_step(self, machine: Machine[Any, Any]) -> None:
        """Every so many steps, look into one node and at the world."""
        self._steps += 1
        if self.gossip.worst > GOSSIP_BYTES_S_MAX:
            raise Broken(f"{self.gossip.worst_of} sent {self.gossip.worst} B of gossip in a second")
        if self._steps % LOOK_EVERY == 0:
            nodes = self.mesh.nodes
            self._turn = (self._turn + 1) % len(nodes)
            if nodes[self._turn].alive:
                self.look_into(nodes[self._turn])
            if self.mesh.network.too_long:
                raise Broken("a machine made a message that fits no datagram")
            due = self.mesh.world.due
            if due > EVENTS_PER_NODE_MAX * len(nodes):
                raise Broken(f"{due} events are due in a world of {len(nodes)} nodes")

    def look_into(self, node: SimNode) -> None:
        """Memory is bounded, and no stranger is in a table."""
        parts = node.parts
        if node.swim is not None and parts.gossip is not None:
            members = node.swim.members()
            if len(members) > parts.gossip.members_max:
                raise Broken(f"{node.name} remembers {len(members)} members")
            for member in members:
                if member.contact.public_key not in self.members:
                    raise Broken(f"{node.name} has a stranger in its member list")
        if node.dht is not None and parts.dht is not None:
            if node.dht.records_held > parts.dht.records_max:
                raise Broken(f"{node.name} keeps {node.dht.records_held} records")
            for contact in node.dht.contacts()[: node.dht.size]:
                if contact.public_key not in self.members:
                    raise Broken(f"{node.name} has a stranger in its routing table")

    def _look_at_rates(self) -> None:
        for number, node in enumerate(self.mesh.nodes):
            if node.lives == 0:
                continue
            life, before = self._bytes.get(number, (0, 0))
            sent = node.host.bytes
            if node.alive and life == node.lives:
                rate = (sent - before) / RATE_OVER_S
                if rate > BYTES_S_MAX:
                    raise Broken(f"{node.name} sent {rate:.0f} B/s for {RATE_OVER_S:.0f} s")
            self._bytes[number] = (node.lives, sent)
        self.mesh.world.call(self.mesh.world.now + RATE_OVER_S, self._look_at_rates)

    # ------------------------------------------------------------------ lookups

    def expect_end(self, node: SimNode, ticket: int, what: str) -> None:
        """A lookup ends in time, unless its node does before. While a node stands its time does."""
        life, pace, world = node.lives, node.place.pace, self.mesh.world
        awake_s = 0.0

        def look() -> None:
            nonlocal awake_s
            if not (node.alive and node.lives == life and node.waits_for(ticket)):
                return
            stands_s = 0.0 if pace is None else max(0.0, pace.stalled_until - world.now)
            if stands_s < LOOK_EVERY_S / 2:
                awake_s += LOOK_EVERY_S
            if awake_s > LOOKUP_S_MAX:
                raise Broken(f"a {what} of {node.name} did not end in {LOOKUP_S_MAX:.0f} s")
            world.call(world.now + stands_s + LOOK_EVERY_S, look)

        world.call(world.now + LOOK_EVERY_S, look)

    def count(self, rpcs: int) -> None:
        """A lookup asks no more than it may."""
        self.lookups += 1
        self.rpcs += rpcs
        if rpcs > RPCS_MAX:
            raise Broken(f"a lookup asked {rpcs} contacts")


def _watch_deadlines(node: SimNode) -> None:
    Deadlines(node.serving, node.name)
