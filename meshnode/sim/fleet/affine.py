"""The shipped mesh with another affinity than `finish-time`: see placement/affinity.py.

Where a module's author asked for an order, it is kept: no price is put on a request, and none is
given to an idle node. Failing over is as ever.
"""

from dataclasses import replace
from math import inf

from meshnode.ids import NodeId
from meshnode.machine import Random
from meshnode.placement.affinity import BOUND, LEAST_RUNS, Bandit, Capacities, Rotation, by_source
from meshnode.placement.choose import Scored
from meshnode.placement.course import Course
from meshnode.placement.settings import PlacementSettings
from meshnode.sim.fleet.fleet import Fleet
from meshnode.sim.fleet.member import Member
from meshnode.sim.fleet.mesh import Mesh
from meshnode.sim.fleet.request import Request
from meshnode.wire.messages import LoadRecord


class MeshOrdered(Mesh):
    """A mesh whose candidates come in an order of the module's own."""

    def __init__(self, fleet: Fleet, settings: PlacementSettings | None = None) -> None:
        super().__init__(fleet, settings)
        self.prices = self.calls = False

    def order(self, member: Member, ranked: list[Scored], request: Request) -> list[Scored]:
        """Return the candidates, where to go first at the head."""
        raise NotImplementedError

    def _find(
        self, request: Request, member: Member, course: Course, own: LoadRecord
    ) -> tuple[Scored, float] | None:
        decision = member.decide(
            request.module, request.camera.name, course.avoided, self.fleet.now
        )
        if not decision.ranked or course.is_over:
            return None
        return self.order(member, list(decision.ranked), request)[0], inf


class MeshBySource(MeshOrdered):
    """`source-hash`."""

    def begin(self) -> None:
        """See `Policy`."""
        super().begin()
        self._homes: dict[str, NodeId] = {}
        self._capacities = [Capacities() for _ in self.members]

    def order(self, member: Member, ranked: list[Scored], request: Request) -> list[Scored]:
        """See `MeshOrdered`; where the source's home is within its bound, staying is counted."""
        source, now = request.camera.name, self.fleet.now
        capacities = self._capacities[member.index]
        order = by_source(ranked, source, capacities)
        by_id = {s.node_id: s for s in ranked}
        home = self._homes.get(source)
        if home is None or home not in by_id:
            idle = [replace(s, score=s.score._replace(queue_ms=0.0)) for s in ranked]
            home = self._homes[source] = by_source(idle, source, capacities)[0].node_id
        mean_ms = sum(s.score.queue_ms for s in ranked) / len(ranked)
        score = by_id[home].score
        if score.queue_ms <= max(BOUND * mean_ms, LEAST_RUNS * score.run_ms):
            self.fleet.tally.mark("within bound", now)
            if order[0].node_id == home:
                self.fleet.tally.mark("at home", now)
        return order


class MeshInTurn(MeshOrdered):
    """`round-robin`."""

    def begin(self) -> None:
        """See `Policy`."""
        super().begin()
        self._turns = [Rotation() for _ in self.members]

    def order(self, member: Member, ranked: list[Scored], request: Request) -> list[Scored]:
        """See `MeshOrdered`."""
        return self._turns[member.index].order(ranked, member.modules[request.module])


class MeshBandit(MeshOrdered):
    """`bandit`."""

    def begin(self) -> None:
        """See `Policy`."""
        super().begin()
        seed = self.fleet.trial.seed
        self._bandits = [Bandit(Random(f"bandit {seed} {m.index}")) for m in self.members]

    def order(self, member: Member, ranked: list[Scored], request: Request) -> list[Scored]:
        """See `MeshOrdered`."""
        return self._bandits[member.index].order(ranked, member.modules[request.module])

    def _answered(
        self, request: Request, attempt: int, index: int, said: LoadRecord | None
    ) -> None:
        if attempt == request.attempt and not request.done:
            member = self.members[request.home]
            took_ms = (self.fleet.now - request.sent_at) * 1000
            node_id = self.members[index].names.node_id
            self._bandits[member.index].learn(member.modules[request.module], node_id, took_ms)
        super()._answered(request, attempt, index, said)
