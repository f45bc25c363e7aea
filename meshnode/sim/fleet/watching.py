"""Watching: ask after late answers, fail over from the silent, tell the LAN (placement/overdue.py).

Where a node is told of a silent one it asks for itself, and takes back what it had sent there.
"""

from typing import TYPE_CHECKING

from meshnode.placement.choose import Scored
from meshnode.placement.overdue import Verdict, Watch, ping_timeout_s, watch
from meshnode.sim.fleet.member import Member
from meshnode.sim.fleet.request import Request
from meshnode.sim.fleet.sizes import PING_BYTES
from meshnode.wire.messages import LoadRecord

if TYPE_CHECKING:
    from meshnode.sim.fleet.mesh import Mesh


class Watching:
    """The watches over all requests that are at another node."""

    def __init__(self, mesh: "Mesh") -> None:
        self._mesh = mesh

    def begin(self, request: Request, best: Scored) -> None:
        """A request was sent with this prediction."""
        fleet = self._mesh.fleet
        kept = watch(best.score.promised_ms + best.score.cold_ms, fleet.now, self._mesh.settings)
        fleet.call(kept.due_at, self._look, request, request.attempt, request.server, kept)

    def _look(self, request: Request, attempt: int, index: int, kept: Watch) -> None:
        mesh, fleet = self._mesh, self._mesh.fleet
        if request.done or attempt != request.attempt:
            return
        member = mesh.members[request.home]
        verdict = kept.verdict(fleet.now, mesh.settings)
        if verdict is Verdict.PING:
            self._ping(member, index)
            rtt_ms = fleet.rtt_ms(member.index, index)
            silent_at = fleet.now + ping_timeout_s(rtt_ms, mesh.settings)
            fleet.call(silent_at, self._silent, request, attempt, index, kept, kept.broken)
            back_at = fleet.now + fleet.way_s(member.index, index)
            fleet.call(back_at, self._pinged, request, attempt, index, kept)
        elif verdict is Verdict.STRIKE:
            fleet.tally.mark("strikes", fleet.now)
            fleet.tally.message("cancels", PING_BYTES, fleet.now)
            waited_ms = (fleet.now - request.sent_at) * 1000
            node_id = mesh.members[index].names.node_id
            member.board.on_broken(node_id, request.id, waited_ms, fleet.now)
            held = mesh.members[index].server
            held.withdraw(request)  # a cancel takes a way, in which little happens
            mesh.gone(request, index)

    def _ping(self, member: Member, index: int) -> None:
        self._mesh.fleet.tally.message("pings", PING_BYTES, self._mesh.fleet.now)

    def _pinged(self, request: Request, attempt: int, index: int, kept: Watch) -> None:
        mesh, fleet = self._mesh, self._mesh.fleet
        asked = mesh.members[index]
        if asked.server.hung:
            return
        fleet.tally.message("pings", PING_BYTES, fleet.now)
        said = asked.word(fleet.now, request.module)
        left_ms = asked.remaining_ms(request, fleet.now)
        when = fleet.now + fleet.way_s(index, request.home)
        fleet.call(when, self._alive, request, attempt, index, kept, said, left_ms)

    def _alive(
        self,
        request: Request,
        attempt: int,
        index: int,
        kept: Watch,
        said: LoadRecord,
        left_ms: float,
    ) -> None:
        mesh, fleet = self._mesh, self._mesh.fleet
        mesh.members[request.home].hear(said, fleet.rtt_ms(request.home, index), fleet.now)
        if request.done or attempt != request.attempt:
            return
        kept.alive(left_ms, fleet.now, mesh.settings)
        fleet.call(kept.due_at, self._look, request, attempt, index, kept)

    def _silent(self, request: Request, attempt: int, index: int, kept: Watch, broken: int) -> None:
        mesh, fleet = self._mesh, self._mesh.fleet
        answered = not kept.pinged or kept.broken != broken
        if request.done or attempt != request.attempt or answered:
            return
        member = mesh.members[request.home]
        self._fail_over(member, index)
        for other in member.near:
            if other != index:
                fleet.tally.message("pings", PING_BYTES, fleet.now)
                when = fleet.now + fleet.way_s(member.index, other)
                fleet.call(when, self._told, mesh.members[other], index)

    def _fail_over(self, member: Member, index: int) -> None:
        """A node is silent: avoid it, and take back all that it has of ours."""
        mesh, fleet = self._mesh, self._mesh.fleet
        named = mesh.members[index].names
        member.board.on_failure(named.node_id, fleet.now)
        standing = member.board.standing(named.tag)
        for request_id in list(standing.sent) if standing is not None else []:
            request = fleet.open.get(request_id)
            if request is None:
                member.board.on_gone(named.node_id, request_id)
            else:
                fleet.tally.mark("failed over", fleet.now)
                mesh.gone(request, index)

    def _told(self, member: Member, index: int) -> None:
        """A neighbour says that a node is silent: ask it ourselves."""
        mesh, fleet = self._mesh, self._mesh.fleet
        if member.server.hung or not member.server.kind.cameras:
            return
        standing = member.board.standing(mesh.tags[index])
        if standing is not None and standing.excluded_until > fleet.now:
            return
        self._ping(member, index)
        rtt_ms = fleet.rtt_ms(member.index, index)
        fleet.call(
            fleet.now + ping_timeout_s(rtt_ms, mesh.settings), self._confirmed, member, index
        )

    def _confirmed(self, member: Member, index: int) -> None:
        if self._mesh.members[index].server.hung and not member.server.hung:
            self._fail_over(member, index)
