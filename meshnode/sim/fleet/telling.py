"""Telling: load records by gossip, as `gossip/machine.py` sends them: own and the freshest."""

from typing import TYPE_CHECKING

from meshnode.machine import Random
from meshnode.sim.fleet.member import Member
from meshnode.sim.fleet.sizes import gossip_bytes
from meshnode.wire.messages import LoadRecord

if TYPE_CHECKING:
    from meshnode.sim.fleet.mesh import Mesh

FANOUT = 3
FORWARDED = 8
JITTER = 0.1


class Telling:
    """Rounds of all nodes."""

    def __init__(self, mesh: "Mesh") -> None:
        self._mesh = mesh
        self._rng = Random(f"gossip {mesh.fleet.trial.seed}")

    def begin(self) -> None:
        """Start every node's rounds at a moment of its own."""
        for member in self._mesh.members:
            first = self._rng.random() * self._mesh.fleet.trial.gossip_s
            self._mesh.fleet.call(first, self._round, member)

    def _round(self, member: Member) -> None:
        mesh, fleet = self._mesh, self._mesh.fleet
        now = fleet.now
        period = fleet.trial.gossip_s * (1 + JITTER * (2 * self._rng.random() - 1))
        fleet.call(now + period, self._round, member)
        if member.server.hung or len(mesh.members) < 2:
            return
        member.turn.next()
        records = (member.turn.excerpt(member.record(now)), *member.loads.freshest(FORWARDED, now))
        size = gossip_bytes(records)
        while not size:
            records = records[:-1]
            size = gossip_bytes(records)
        told: set[int] = set()
        while len(told) < min(FANOUT, len(mesh.members) - 1):
            other = self._rng.randrange(len(mesh.members))
            if other != member.index and other not in told:
                told.add(other)
                fleet.tally.message("gossip", size, now)
                way_s = fleet.way_s(member.index, other)
                fleet.call(now + way_s, self._hear, mesh.members[other], member.index, records)

    def _hear(self, member: Member, sender: int, records: tuple[LoadRecord, ...]) -> None:
        if member.server.hung:
            return
        now, fleet = self._mesh.fleet.now, self._mesh.fleet
        way_ms = fleet.rtt_ms(member.index, sender) / 2
        own = member.names.tag
        for record in records:
            if record.node == own:
                continue
            kept = member.loads.hear(record, way_ms, now)
            if kept is not None:
                member.board.on_record(kept, None, now)
            elif member.loads.is_late(record):
                member.board.on_record(record, None, now)
