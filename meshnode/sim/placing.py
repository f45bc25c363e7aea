"""Placing: where each request runs, as `node/requests.py` and `node/view.py` do it.

The scoreboard and `choose` are the real ones, fed by gossip, by pings and by answers.
"""

from collections import Counter
from dataclasses import dataclass

from meshnode.caps import Caps
from meshnode.gossip.member import Member, MemberState
from meshnode.ids import ContentHash, NodeId, RequestId, tag_of
from meshnode.machine import Random
from meshnode.placement.candidate import Candidate
from meshnode.placement.choose import Decision, Scored, choose
from meshnode.sim.broken import Broken
from meshnode.sim.mesh import SimMesh
from meshnode.sim.node import SimNode
from meshnode.sim.serving import Served
from meshnode.wire.messages import (
    Failure,
    Predict,
    Prediction,
    Reply,
    TensorHeader,
)

CANDIDATES_MAX = 32
ATTEMPTS_MAX = 5
LATE_S = 1.0
SUSPECT = "suspect: it does not answer probes"
"""Those of `node/view.py` and `node/requests.py`."""
BUDGET_S = 5.0
INPUT = TensorHeader(name="x", dtype="uint8", shape=(1024,), size=1024)


@dataclass(frozen=True, slots=True)
class Load:
    """Requests that come at random, to random nodes."""

    module: ContentHash
    per_s: float
    until: float
    budget_s: float = BUDGET_S


@dataclass(slots=True, eq=False)
class _Job:
    home: SimNode
    life: int
    request: RequestId
    module: ContentHash
    asked_at: float
    deadline: float
    """World time."""
    tried: set[NodeId]
    outcome: str = ""


class Placing:
    """All requests of a mesh."""

    def __init__(self, mesh: SimMesh, rng: Random) -> None:
        self.outcomes: Counter[str] = Counter()
        self.latencies_ms: list[float] = []
        """Of the answered ones."""
        self.served_by: Counter[str] = Counter()
        self._mesh = mesh
        self._world = mesh.world
        self._rng = rng
        self._jobs: list[_Job] = []
        self._count = 0

    def begin(self, load: Load, homes: list[SimNode]) -> None:
        """Let requests come from now on."""

        def one() -> None:
            now = self._world.now
            if now >= load.until:
                return
            up = [node for node in homes if node.alive]
            if up:
                home = self._rng.choice(up)
                self.submit(home, load.module, load.budget_s)
            self._world.call(now + self._rng.expovariate(load.per_s), one)

        self._world.call(self._world.now, one)

    def submit(self, home: SimNode, module: ContentHash, budget_s: float) -> None:
        """Place one request at a node; what becomes of it is counted."""
        self._count += 1
        now = self._world.now
        request = RequestId(self._count.to_bytes(16, "big"))
        job = _Job(home, home.lives, request, module, now, now + budget_s, set())
        self._jobs.append(job)
        self._world.call(job.deadline, lambda: self._end(job, "deadline"))
        self._try(job)

    def check_ended(self) -> None:
        """Every request came to an end, unless its node did before."""
        open_ = [j for j in self._jobs if not j.outcome and j.home.lives == j.life and j.home.alive]
        assert not open_, f"{len(open_)} requests never ended"

    def facts(self) -> dict[str, float]:
        """Return what became of the requests."""
        done = sorted(self.latencies_ms)
        cuts = {f"requests_{name}": float(n) for name, n in sorted(self.outcomes.items())}
        if done:
            cuts["p50_ms"] = round(done[len(done) // 2], 3)
            cuts["p99_ms"] = round(done[int(len(done) * 0.99)], 3)
        return cuts

    # ------------------------------------------------------------------ one request

    def _try(self, job: _Job) -> None:
        home = job.home
        if job.outcome or not home.alive or home.lives != job.life:
            return
        home.want_loads(job.module)
        decision = self._decide(job)
        if not decision.ranked or len(job.tried) >= ATTEMPTS_MAX:
            self._end(job, "nobody")
            return
        best = decision.ranked[0]
        job.tried.add(best.candidate.contact.node_id)
        sent_at = home.now
        home.board.on_sent(best.candidate.contact.node_id, job.request, job.module, best, sent_at)
        left_s = job.deadline - self._world.now
        if best.candidate.is_self:
            home.serving.offer(
                job.request,
                job.module,
                home.now + left_s,
                lambda served: self._served_here(job, best, sent_at, served),
            )
        else:
            asked = Predict(
                request_id=job.request,
                module=job.module,
                source="",
                budget_ms=max(1, int(left_s * 1000)),
                hops_left=0,
                tensors=(INPUT,),
                body=(bytes(INPUT.size),),
            )
            self._mesh.streams.call(
                home.host,
                best.candidate.contact,
                asked,
                left_s + LATE_S,
                lambda reply: self._answered(job, best, sent_at, reply),
            )

    def _served_here(self, job: _Job, best: Scored, sent_at: float, served: Served) -> None:
        if served.error:
            job.home.board.on_gone(best.candidate.contact.node_id, job.request)
            self._try(job)
        else:
            self._won(job, best, sent_at, served.cold_ms)

    def _answered(self, job: _Job, best: Scored, sent_at: float, reply: Reply | str) -> None:
        board, node_id = job.home.board, best.candidate.contact.node_id
        if isinstance(reply, Prediction):
            if reply.load is not None:
                board.on_record(reply.load, None, job.home.now)
            self._won(job, best, sent_at, reply.timing.cold_us / 1000)
            return
        board.on_gone(node_id, job.request)
        if isinstance(reply, Failure):
            if reply.load is not None:
                board.on_record(reply.load, None, job.home.now)
        else:
            board.on_failure(node_id, job.home.now)
            job.home.suspect(node_id)
        self._try(job)

    def _won(self, job: _Job, best: Scored, sent_at: float, cold_ms: float) -> None:
        observed_ms = (job.home.now - sent_at) * 1000 - cold_ms
        node_id = best.candidate.contact.node_id
        job.home.board.on_answer(node_id, job.request, "", observed_ms, job.home.now)
        if self._end(job, "answered"):
            if self._world.now > job.deadline:
                raise Broken(f"{job.home.name} took an answer after the deadline for one")
            self.latencies_ms.append((self._world.now - job.asked_at) * 1000)
            self.served_by[best.candidate.name] += 1

    def _end(self, job: _Job, outcome: str) -> bool:
        """Note what became of a request, once; its node may be gone."""
        if job.outcome:
            return False
        job.outcome = outcome
        self.outcomes[outcome] += 1
        return True

    # ------------------------------------------------------------------ the view

    def _decide(self, job: _Job) -> Decision:
        home, now = job.home, job.home.now
        assert home.swim is not None, "who knows nobody places nothing"
        near = sorted(home.swim.members(), key=_nearness)[:CANDIDATES_MAX]
        candidates = [self._own(home, job.module)]
        candidates += [_candidate(home, m, job.module, now) for m in near]
        return choose(
            [c for c in candidates if c.contact.node_id not in job.tried],
            board=home.board,
            module=job.module,
            required=Caps.CPU,
            payload_bytes=INPUT.size,
            source="",
            now=now,
        )

    def _own(self, home: SimNode, module: ContentHash) -> Candidate:
        return Candidate(
            contact=home.contact,
            name=home.name,
            caps=home.caps,
            rtt_ms=0.0,
            load=home.serving.record(home.now),
            load_age_s=0.0,
            holds=module in home.serving.models,
            is_self=True,
            policy="" if module in home.serving.models else "not held",
        )


def _candidate(home: SimNode, member: Member, module: ContentHash, now: float) -> Candidate:
    record, age_s = home.board.record_of(member.contact.node_id, now)
    tag = tag_of(module)
    return Candidate(
        contact=member.contact,
        name=member.name,
        caps=member.caps,
        rtt_ms=member.rtt_ms,
        load=record,
        load_age_s=age_s,
        holds=record is not None and any(m.module == tag for m in record.modules),
        is_self=False,
        unfit=_UNFIT[member.state],
    )


_UNFIT = {
    MemberState.ALIVE: "",
    MemberState.SUSPECT: SUSPECT,
    MemberState.DEAD: "dead",
    MemberState.LEFT: "left the mesh",
}


def _nearness(member: Member) -> tuple[bool, float]:
    return member.state is not MemberState.ALIVE, member.rtt_ms if member.rtt_ms else 1e9
