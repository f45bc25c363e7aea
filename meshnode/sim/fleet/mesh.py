"""Mesh: the shipped policy, as a node runs it: score, price, idle calls, cold gate, watches.

What decides is `meshnode/placement`: `Field`, `choose`, `Scoreboard`, `LoadMeter`, `Course`,
`is_overpriced`, `IdleCaller`, `given_up`, `ColdGate`, `Watch`. Here is only who tells whom what,
and when. Records ride on answers, refusals and idle calls, as in a node, and on gossip
(`telling.py`).
"""

from math import inf

from meshnode.errors import ColdHere, GivenUp, MeshnodeError, Overpriced, PeerUnreachable
from meshnode.placement.choose import Scored
from meshnode.placement.course import Course
from meshnode.placement.field import Field
from meshnode.placement.price import Price, is_overpriced
from meshnode.placement.score import UNIT_MS
from meshnode.placement.settings import PlacementSettings
from meshnode.sim.fleet.fleet import Fleet
from meshnode.sim.fleet.idling import Idling
from meshnode.sim.fleet.member import PAYLOAD_BYTES, Member, members
from meshnode.sim.fleet.policy import Policy
from meshnode.sim.fleet.request import Request
from meshnode.sim.fleet.server import Server
from meshnode.sim.fleet.sizes import TERMS_BYTES, record_bytes, refusal_bytes
from meshnode.sim.fleet.telling import Telling
from meshnode.sim.fleet.watching import Watching
from meshnode.wire.messages import LoadRecord
from meshnode.wire.terms import NO_ALTERNATIVE, Terms

OVERPRICED = Overpriced("its sender does better elsewhere")
COLD = ColdHere("another module has just been loaded here")
RETRY_S = 0.05
"""After which a request that nobody can take is tried again, while it has time."""


class Mesh(Policy):
    """The shipped placement at every node."""

    def __init__(self, fleet: Fleet, settings: PlacementSettings | None = None) -> None:
        super().__init__(fleet)
        self.settings = settings or PlacementSettings()
        self.prices = True
        self.calls = True
        self.members: list[Member] = []
        self.index_of: dict[bytes, int] = {}

    def begin(self) -> None:
        """Make all nodes, measure their speeds, and let everybody hear everybody once."""
        self.members = members(self.fleet, self.settings)
        self.index_of = {m.names.node_id: m.index for m in self.members}
        self.tags = [m.names.tag for m in self.members]
        self.index_by_tag = {m.names.tag: m.index for m in self.members}
        for member in self.members:
            member.reborn(0.0)
        for member in self.members:
            for other in member.view:
                member.board.on_record(self.members[other].record(0.0), None, 0.0)
            member.fields = [
                Field([member.own(), *member.others], board=member.board, module=module)
                for module in member.modules
            ]
        self.telling = Telling(self)
        self.watching = Watching(self)
        self.idling = Idling(self)
        self.telling.begin()

    # ------------------------------------------------------------------ sending

    def place(self, request: Request) -> None:
        """Begin a request's course."""
        request.note = Course(self.settings)
        self.send_on(request)

    def send_on(self, request: Request) -> None:
        """Send a request where it goes now."""
        fleet, course = self.fleet, request.note
        assert isinstance(course, Course), "every request of this policy has its course"
        if request.done:
            return
        now, member = fleet.now, self.members[request.home]
        own = member.word(now, request.module)
        found = self._find(request, member, course, own)
        if found is None:
            self._nowhere(request, course)
            return
        best, second_ms = found
        if self.fleet.trial.deadline_ms is not None and course.untouched:
            left_ms = (request.run_by - now) * 1000
            if best.score.total_ms > self.settings.admission_share * left_ms:
                fleet.refuse(request)
                return
        node_id = best.node_id
        server = self.index_of[node_id]
        member.board.on_sent(node_id, request.id, member.modules[request.module], best, now)
        request.attempt += 1
        request.server = server
        request.sent_at = now
        request.cold_ms = best.score.cold_ms
        terms = course.terms(second_ms)
        if server == request.home:
            self._reached(request, request.attempt, server, terms, None)
            return
        way_s = fleet.way_s(request.home, server) + fleet.transfer_s(request.home, server)
        said = member.word(now, None) if member.told.is_due(node_id, now) else None
        fleet.call(now + way_s, self._reached, request, request.attempt, server, terms, said)
        fleet.tally.carried(TERMS_BYTES, now)
        if said is not None:
            fleet.tally.carried(record_bytes(said), now)
        self.watching.begin(request, best)

    def _find(
        self, request: Request, member: Member, course: Course, own: LoadRecord
    ) -> tuple[Scored, float] | None:
        """Return where it goes and what the next best would take; None: nowhere."""
        now, source = self.fleet.now, request.camera.name
        if course.undecided:
            pick = member.fields[request.module].pick(
                payload_bytes=PAYLOAD_BYTES, source=source, now=now, own=own
            )
            if pick is not None:
                return pick.best, pick.second_ms
        decision = member.decide(request.module, source, course.avoided, now)
        if not decision.ranked and course.insist():
            decision = member.decide(request.module, source, course.avoided, now)
        if not decision.ranked or course.is_over:
            return None
        return course.next(decision)

    def _nowhere(self, request: Request, course: Course) -> None:
        """Nobody can take it: try again while there is time, as a client does."""
        request.note = Course(self.settings)
        self.fleet.tally.mark("nowhere", self.fleet.now)
        if self.fleet.now + RETRY_S < request.run_by:
            self.fleet.call(self.fleet.now + RETRY_S, self.send_on, request)
        else:
            self.fleet.refuse(request)

    # ------------------------------------------------------------------ at the server

    def _reached(
        self, request: Request, attempt: int, index: int, terms: Terms, said: LoadRecord | None
    ) -> None:
        member, now = self.members[index], self.fleet.now
        if member.server.hung:
            return
        if said is not None:
            member.hear(said, self.fleet.rtt_ms(request.home, index), now)
        if request.done or attempt != request.attempt:
            return  # its cancel was faster
        refusal = self._refusal(request, member, terms)
        self.fleet.tally.arrived(index, now)
        if refusal is not None:
            self.refuse(request, member, refusal)
            return
        member.caller.busy()
        member.server.take(request)

    def _refusal(self, request: Request, member: Member, terms: Terms) -> MeshnodeError | None:
        """Return why a server does not take a request, or None if it does."""
        now, module = self.fleet.now, request.module
        member.meter.asked(now)
        if self.prices and terms.alternative != NO_ALTERNATIVE and request.home != member.index:
            completion_ms = member.completion_ms(module, now)
            price = Price(terms.alternative * UNIT_MS, terms.refusals)
            lies = member.liar or completion_ms is None
            if not lies and is_overpriced(completion_ms or inf, price, self.settings):
                return OVERPRICED
        if module not in member.server.warm and module != member.server.loading:
            if member.server.lane(module):
                return None  # it is about to be loaded
            busy = member.server.held > 0
            if member.gate.refusal_s(terms.cold_refusals, now, busy=busy) is not None:
                return COLD
            member.gate.began(now)
        return None

    def refuse(self, request: Request, member: Member, error: MeshnodeError) -> None:
        """Send a request back to its dispatcher with a fresh record."""
        fleet = self.fleet
        if request.server != member.index:
            return  # its sender has given up on this node, and would not hear
        fleet.tally.mark(type(error).__name__, fleet.now)
        if request.home == member.index:
            self._refused(request, request.attempt, member.index, error, None)
            return
        said = member.word(fleet.now, request.module)
        fleet.tally.message("refusals", refusal_bytes(said), fleet.now)
        when = fleet.now + fleet.way_s(member.index, request.home)
        fleet.call(when, self._refused, request, request.attempt, member.index, error, said)

    def _refused(
        self,
        request: Request,
        attempt: int,
        index: int,
        error: MeshnodeError,
        said: LoadRecord | None,
    ) -> None:
        member = self.members[request.home]
        if said is not None:
            member.hear(said, self.fleet.rtt_ms(request.home, index), self.fleet.now)
        if request.done or attempt != request.attempt:
            return
        self.fail(request, index, error)

    def fail(self, request: Request, index: int, error: MeshnodeError) -> None:
        """A request was not answered where it was sent; it goes on."""
        member, course = self.members[request.home], request.note
        assert isinstance(course, Course), "every request of this policy has its course"
        member.board.on_gone(self.members[index].names.node_id, request.id)
        course.failed(self.members[index].names.node_id, error)
        self.send_on(request)

    def gone(self, request: Request, index: int) -> None:
        """A node is silent, or breaks its word: somebody else has to do it."""
        request.attempt += 1
        self.fail(request, index, PeerUnreachable("it is silent"))

    def give_away(self, request: Request, member: Member, to: int) -> None:
        """Send a waiting request to who asked for work, by refusing it late."""
        error = GivenUp("an idle node asked for it")
        error.instead = self.tags[to]
        self.refuse(request, member, error)

    # ------------------------------------------------------------------ what servers tell

    def enqueued(self, server: Server, request: Request) -> None:
        """See `Ears`."""
        member = self.members[server.index]
        member.meter.enqueued(member.modules[request.module], self.fleet.now)

    def withdrawn(self, server: Server, request: Request) -> None:
        """See `Ears`."""
        member = self.members[server.index]
        member.meter.withdrawn(member.modules[request.module], self.fleet.now)

    def started(self, server: Server, module: int, batch: list[Request]) -> None:
        """See `Ears`."""
        member = self.members[server.index]
        bound = server.lane(module).bound
        member.meter.started(member.modules[module], len(batch), self.fleet.now, batch_max=bound)

    def finished(self, server: Server, module: int, batch: list[Request]) -> None:
        """See `Ears`."""
        member = self.members[server.index]
        member.meter.finished(member.modules[module], len(batch), self.fleet.now)

    def loads(self, server: Server, module: int, cold_ms: float) -> None:
        """See `Ears`."""
        member = self.members[server.index]
        member.meter.load_began(member.modules[module], cold_ms, self.fleet.now)

    def loaded(self, server: Server, module: int) -> None:
        """See `Ears`."""
        member = self.members[server.index]
        member.gate.ended()
        member.meter.load_ended(member.modules[module], self.fleet.now)

    def answers(self, server: Server, batch: list[Request]) -> None:
        """See `Ears`: each answer carries the node's record."""
        fleet, member = self.fleet, self.members[server.index]
        said = member.word(fleet.now, batch[0].module)
        for request in batch:
            if request.server != server.index:
                continue  # its sender has given up on this node
            if request.home == server.index:
                self._answered(request, request.attempt, server.index, None)
                continue
            when = fleet.now + fleet.way_s(server.index, request.home)
            fleet.call(when, self._answered, request, request.attempt, server.index, said)
            fleet.tally.carried(record_bytes(said), fleet.now)

    def _answered(
        self, request: Request, attempt: int, index: int, said: LoadRecord | None
    ) -> None:
        fleet, member = self.fleet, self.members[request.home]
        if said is not None:
            member.hear(said, fleet.rtt_ms(request.home, index), fleet.now)
        if attempt != request.attempt or request.done:
            return
        observed_ms = (fleet.now - request.sent_at) * 1000 - request.cold_ms
        node_id = self.members[index].names.node_id
        member.board.on_answer(node_id, request.id, request.camera.name, observed_ms, fleet.now)
        fleet.end(request, index)

    def refused(self, server: Server, request: Request) -> None:
        """See `Ears`: its time ran out there, or will."""
        if request.server != server.index:
            return
        self.members[request.home].board.on_gone(
            self.members[server.index].names.node_id, request.id
        )
        self.fleet.refuse(request)

    def dry(self, server: Server) -> None:
        """See `Ears`."""
        self.idling.dry(self.members[server.index])

    def hung(self, server: int) -> None:
        """See `Policy`: what the node's own process had sent is forgotten with it."""
        member = self.members[server]
        for other in self.members:
            standing = member.board.standing(other.names.tag)
            for request_id in list(standing.sent) if standing is not None else []:
                member.board.on_gone(other.names.node_id, request_id)

    def revived(self, server: int) -> None:
        """A server is back: it remembers nothing of what it had to do."""
        self.members[server].reborn(self.fleet.now)
