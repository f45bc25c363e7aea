"""Idling: calls of nodes that run dry, and what those they call give up (placement/idle.py)."""

from typing import TYPE_CHECKING

from meshnode.ids import tag_of
from meshnode.placement.course import Course
from meshnode.placement.idle import Waiting, given_up, offers_of
from meshnode.sim.fleet.member import Member
from meshnode.sim.fleet.sizes import idle_bytes
from meshnode.wire.messages import LoadRecord

if TYPE_CHECKING:
    from meshnode.sim.fleet.mesh import Mesh


class Idling:
    """The calls of all nodes."""

    def __init__(self, mesh: "Mesh") -> None:
        self._mesh = mesh

    def dry(self, member: Member) -> None:
        """A node has nothing to do."""
        if self._mesh.calls and member.near:
            member.caller.dry(self._mesh.fleet.now)
            self._step(member)

    def _arm(self, member: Member) -> None:
        due = member.caller.next_timer()
        if due is not None and due != member.idle_at:
            member.idle_at = due
            self._mesh.fleet.call(due, self._due, member, due)

    def _due(self, member: Member, due: float) -> None:
        if member.idle_at == due:
            member.idle_at = None
            if member.server.hung:
                member.caller.busy()  # it calls nobody; its next process may
            elif member.caller.next_timer() == due:
                self._step(member)
            else:
                self._arm(member)

    def _step(self, member: Member) -> None:
        mesh, fleet = self._mesh, self._mesh.fleet
        if not member.server.warm:
            return
        found = member.caller.choose(member.neighbours(mesh.tags, fleet.now), fleet.now)
        if found is None:
            self._arm(member)
            return
        other = mesh.index_by_tag[found.node]
        said = member.word(fleet.now, member.places[found.module])
        fleet.tally.message("idle calls", idle_bytes(said), fleet.now)
        when = fleet.now + fleet.way_s(member.index, other)
        fleet.call(when, self._called, mesh.members[other], member, said)

    def _called(self, asked: Member, caller: Member, said: LoadRecord) -> None:
        mesh, fleet = self._mesh, self._mesh.fleet
        if asked.server.hung or asked.liar:
            if asked.liar:
                self._answer(asked, caller, 0)
            return
        asked.hear(said, fleet.rtt_ms(asked.index, caller.index), fleet.now)
        lan = fleet.shape.lan
        way_ms = lan.rtt_ms + lan.transfer_ms
        known = asked.board.known(caller.names.tag).record
        room = caller.server.kind.batch_max
        offers = {} if known is None else offers_of(known, room)
        given = given_up(self._waiting(asked), offers, way_ms, mesh.settings)
        for request_id in given:
            request = asked.server.waiting[request_id]
            if asked.server.withdraw(request):
                mesh.give_away(request, asked, caller.index)
        self._answer(asked, caller, len(given))

    def _waiting(self, asked: Member) -> list[Waiting]:
        """Return what waits at a node, in order."""
        fleet = self._mesh.fleet
        places: dict[int, int] = {}
        found: list[Waiting] = []
        for request in asked.server.waiting.values():
            place = places.get(request.module, 0)
            places[request.module] = place + 1
            course = request.note
            assert isinstance(course, Course), "every request of this policy has its course"
            module = asked.modules[request.module]
            found.append(
                Waiting(
                    request=request.id,
                    module=tag_of(module),
                    completes_ms=asked.meter.completes_ms(module, place, fleet.now),
                    movable=not course.moved
                    and fleet.site_of(request.home) == fleet.site_of(asked.index),
                )
            )
        return found

    def _answer(self, asked: Member, caller: Member, released: int) -> None:
        fleet = self._mesh.fleet
        said = asked.word(fleet.now, None)
        fleet.tally.message("idle calls", idle_bytes(said), fleet.now)
        when = fleet.now + fleet.way_s(asked.index, caller.index)
        fleet.call(when, self._answered, caller, asked, released, said)

    def _answered(self, caller: Member, asked: Member, released: int, said: LoadRecord) -> None:
        fleet = self._mesh.fleet
        caller.hear(said, fleet.rtt_ms(caller.index, asked.index), fleet.now)
        if caller.server.hung:
            return
        if caller.server.held:
            caller.caller.busy()
            return
        caller.caller.answered(released, fleet.now)
        self._due_now(caller)

    def _due_now(self, member: Member) -> None:
        due = member.caller.next_timer()
        if due is not None and due <= self._mesh.fleet.now:
            self._step(member)
        else:
            self._arm(member)
