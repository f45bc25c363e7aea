"""Requests: the one path of every request, wherever it came from. Pairs with `placement/`.

place -> here (lane -> executor) or there (pool). The answer is the return value at every step,
so the way back is the way in.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import trio

from meshnode.constraints import UNCONSTRAINED, Constraints
from meshnode.errors import (
    CannotRunHere,
    DeadlineExceeded,
    MeshnodeError,
    NodeStopping,
    Overloaded,
    PeerUnreachable,
    RemoteProtocolError,
)
from meshnode.ids import ContentHash, NodeId, RequestId
from meshnode.modules.manifest import Manifest
from meshnode.modules.schema import rows_of
from meshnode.net.pool import ConnectionPool
from meshnode.node.asking import Asking
from meshnode.node.attempts import Job, Placed, attempt_at, line_of, no_candidate
from meshnode.node.hedging import Hedging
from meshnode.node.intents import Intents
from meshnode.node.local import Local
from meshnode.node.membership import Membership
from meshnode.node.ordering import Ordering, is_ordered, kept
from meshnode.node.overdue import Overdue, Sending
from meshnode.node.view import View
from meshnode.node.visits import Visits
from meshnode.placement.accuracy import Accuracy
from meshnode.placement.board import Scoreboard
from meshnode.placement.choose import Decision, Scored
from meshnode.placement.constraints import in_time, told
from meshnode.placement.field import Pick
from meshnode.wire.messages import (
    Granted,
    Intent,
    LoadPing,
    LoadPong,
    LoadRecord,
    Predict,
    Prediction,
)
from meshnode.wire.terms import Terms

_log = logging.getLogger(__name__)
LATE_S = 1.0
"""A connection's own limit lies so far behind the deadline, which is kept by `place`."""


class Requests:
    """Places and runs requests."""

    def __init__(
        self,
        *,
        local: Local,
        view: View,
        board: Scoreboard,
        pool: ConnectionPool,
        membership: Membership,
        ordering: Ordering,
        on_load: Callable[[NodeId, LoadRecord], None],
    ) -> None:
        self._local = local
        self._view = view
        self._board = board
        self._pool = pool
        self._on_unreachable = membership.suspect
        self._ordering = ordering
        self._on_load = on_load
        asking = Asking(pool=pool, membership=membership, on_load=on_load, settings=board.settings)
        self._visits = Visits()
        self._hedging = Hedging(self._place)
        self._intents = Intents(pool, view.measured.rate_of, on_load)
        self._overdue = Overdue(asking=asking, board=board, suspect=membership.suspect)

    @property
    def accuracy(self) -> Accuracy:
        """How near this node's predictions came."""
        return self._view.measured.accuracy

    async def run(self) -> None:
        """Ask after the nodes whose answers are late, until cancelled."""
        await self._overdue.run()

    async def serve(self, peer: NodeId, request: Predict) -> Prediction:
        """Answer a request that another node placed here; see `Local.serve`."""
        self._heard(peer, request)
        return await self._local.serve(peer, request)

    async def consider(self, peer: NodeId, intent: Intent) -> Granted:
        """Say whether a request would be taken; see `Local.consider`."""
        self._heard(peer, intent)
        return await self._local.consider(peer, intent)

    def answer(self, ping: LoadPing) -> LoadPong:
        """Say that this node lives, and ask after the node that the asker finds silent."""
        if ping.silent is not None:
            self._overdue.told(ping.silent)
        return LoadPong(load=self._view.own_word(None))

    async def place(
        self, request: Predict, manifest: Manifest, *, explain: bool = False, hedge_ms: int = 0
    ) -> Placed:
        """Answer a request at the best node within its budget, or raise MeshnodeError.

        The best node first; if it is lost or refuses, the next best of a fresh look. A failure of
        the module itself is final: it would fail the same way everywhere. After `hedge_ms`
        without an answer a second node is given it too; 0: never.
        """
        job = Job(request, manifest, explain, self._visits.visit(request.source))
        in_time: bool | None = None
        try:
            with trio.fail_after(request.budget_ms / 1000):
                placed = await self._hedging.place(job, hedge_ms)
                in_time = True
                return placed
        except trio.TooSlowError as error:
            in_time = False
            raise DeadlineExceeded(
                f"no answer within {request.budget_ms} ms", because=self._late(job)
            ) from error
        except Overloaded:
            in_time = False
            raise
        finally:
            job.visit.ended(in_time=in_time)

    def decide(
        self,
        module: ContentHash,
        manifest: Manifest,
        *,
        payload: int,
        source: str,
        asked: Constraints = UNCONSTRAINED,
        rows: int = 1,
    ) -> Decision:
        """Rank every live candidate as a request's would be; see placement.choose."""
        decision = self._view.decide(
            module, manifest, payload=payload, source=source, asked=asked, rows=rows
        )
        return self._ordering.foresee(decision, manifest, module, source)

    async def _place(self, job: Job) -> Placed:
        await trio.lowlevel.checkpoint_if_cancelled()  # whose deadline would be minus infinity
        deadline = trio.current_effective_deadline()
        while True:
            best, terms, decision = self._next(job)
            quickest = min(decision.ranked, key=_total_ms) if decision is not None else best
            try:
                job.visit.check(quickest, deadline, tried=job.course.failures > 0)
            except Overloaded as error:
                error.because = (*error.because, *self._late(job, everybody=False))
                raise
            sending = Sending(
                node=best.node_id,
                name=best.candidate.name,
                request=job.request.request_id,
                module=job.request.module,
                score=best.score,
                predicted_ms=self._expected_ms(best, job.request),
                others=partial(self._others, job, best.node_id),
                patient=job.patient,
                rows=rows_of(job.manifest, job.request.tensors),
            )
            job.at, started = best.node_id, trio.current_time()
            try:
                offered = replace(job.request, terms=terms)
                prediction, took_ms = await self._run_at(
                    best, offered, deadline, sending, direct=job.direct
                )
            except trio.Cancelled:
                job.attempts.append(attempt_at(sending, started, "no answer yet"))
                raise
            except MeshnodeError as error:
                job.attempts.append(attempt_at(sending, started, f"{error.code} {error.message}"))
                self._note_failure(best, error)
                if not error.retry_elsewhere:
                    raise
                job.failed(best.node_id, error)
                continue
            job.attempts.append(attempt_at(sending, started, "ok", took_ms=took_ms))
            self._ordering.learn(job.manifest, job.request.module, best.node_id, took_ms)
            return Placed(prediction, job.attempts, decision)

    def _next(self, job: Job) -> tuple[Scored, Terms, Decision | None]:
        """Return where a request goes now, on which terms, and the decision if one was needed.

        Raises what nobody could do about it.
        """
        request, course = job.request, job.course
        ordered = is_ordered(job.manifest)
        if not ordered and course.untouched and not job.explain:
            quick = self._quick(request, job.manifest)
            if quick is not None:
                price_ms = self._view.measured.price_ms(request, quick.best, quick.second_ms)
                return quick.best, course.terms(price_ms), None
        decision = self._decide(request, job.manifest, course.avoided)
        if not decision.ranked and course.insist():
            decision = self._decide(request, job.manifest, course.avoided)
        if not decision.ranked or course.is_over:
            raise self._nobody(job, decision)
        decision = self._ordering.order(decision, job.manifest, request.module, request.source)
        best, second_ms = course.next(decision)
        terms = course.terms(self._view.measured.price_ms(request, best, second_ms))
        return best, kept(terms) if ordered else terms, decision

    def _late(self, job: Job, *, everybody: bool = True) -> list[str]:
        """Return what was tried, and what others (everybody, or those in view) would take."""
        request, tried = job.request, {a.node for a in job.attempts}
        decision = self._decide(request, job.manifest, tried)
        others = [(c.name, reason) for c, reason in decision.excluded]
        if everybody:
            others = self._view.reasons(decision, job.manifest, request.constraints, without=tried)
        budget_ms = request.budget_ms
        able = [(s.candidate.name, in_time(s.score.total_ms, budget_ms)) for s in decision.ranked]
        return [line_of(a) for a in job.attempts] + told(able + others)

    def _nobody(self, job: Job, decision: Decision) -> MeshnodeError:
        """Return why nobody answered: every node's reason, unless one refusal says it all."""
        last, attempts = job.last, job.attempts
        tried = {a.node for a in attempts}
        asked = job.request.constraints
        reasons = self._view.reasons(decision, job.manifest, asked, without=tried)
        busy = isinstance(last, Overloaded)  # it says when to come again
        if last is not None and (busy or (len(attempts) == 1 and not reasons)):
            return last
        nobody = no_candidate(reasons, attempts)
        nobody.retry_after_ms = None if last is None else last.retry_after_ms
        return nobody

    def _quick(self, request: Predict, manifest: Manifest) -> Pick | None:
        payload = sum(t.size for t in request.tensors)
        return self._view.pick(
            request.module,
            manifest,
            payload=payload,
            source=request.source,
            asked=request.constraints,
            rows=rows_of(manifest, request.tensors),
        )

    def _decide(
        self, request: Predict, manifest: Manifest, without: set[NodeId], *, suspects: bool = True
    ) -> Decision:
        return self._view.decide(
            request.module,
            manifest,
            payload=sum(t.size for t in request.tensors),
            source=request.source,
            without=without,
            suspects=suspects,
            asked=request.constraints,
            rows=rows_of(manifest, request.tensors),
        )

    async def _run_at(
        self,
        scored: Scored,
        request: Predict,
        deadline: float,
        sending: Sending,
        *,
        direct: bool,
    ) -> tuple[Prediction, float]:
        """Run at one candidate, keeping the account of what is in flight there.

        Return the answer, and after how many ms it came.
        """
        node_id = scored.candidate.contact.node_id
        started = trio.current_time()
        self._board.on_sent(
            node_id, request.request_id, request.module, scored, started, rows=sending.rows
        )
        try:
            if scored.candidate.is_self:
                prediction = await self._local.run(request, deadline)
            else:
                prediction = await self._run_there(
                    scored, request, deadline, sending, direct=direct
                )
        except BaseException:
            self._board.on_gone(node_id, request.request_id)
            raise
        now = trio.current_time()
        took_ms = (now - started) * 1000
        observed_ms = took_ms - prediction.timing.cold_us / 1000
        self._board.on_answer(node_id, request.request_id, request.source, observed_ms, now)
        self._view.measured.answered(
            scored,
            request,
            prediction,
            predicted_ms=sending.predicted_ms,
            took_ms=observed_ms,
            trips=2 if self._intents.pays(scored, request) else 1,
        )
        if prediction.load is not None and not scored.candidate.is_self:
            self._on_load(node_id, prediction.load)
        return prediction, took_ms

    async def _run_there(
        self, scored: Scored, request: Predict, deadline: float, sending: Sending, *, direct: bool
    ) -> Prediction:
        """Forward once; a Failure reply is raised as the error it names.

        Raises PeerUnreachable too when the node falls silent, or PromiseBroken when it breaks its
        word, and another could do it instead. What it answers after that is dropped.
        """
        left_ms = max(1, int((deadline - trio.current_time()) * 1000))
        budget_ms = min(left_ms, request.budget_ms)
        age_ms = request.urgency.age_ms + request.budget_ms - budget_ms
        forwarded = replace(
            request,
            hops_left=0,
            budget_ms=budget_ms,
            urgency=replace(request.urgency, age_ms=age_ms),
            load=self._view.word_to(scored.candidate.contact.node_id),
        )
        asks = self._intents.pays(scored, request)
        if asks:  # the question takes a round trip of its own, which nobody promised
            score = scored.score._replace(network_ms=2 * scored.score.network_ms)
            sending = replace(sending, score=score)
        expected = self._overdue.expect(sending)
        try:
            with expected.scope:
                timeout_s = left_ms / 1000 + LATE_S
                if asks:
                    forwarded = await self._intents.ask(scored, forwarded, timeout_s=timeout_s)
                reply = await self._pool.call(
                    scored.candidate.contact, forwarded, timeout_s=timeout_s, direct=direct
                )
        finally:
            self._overdue.settle(expected)
        if expected.scope.cancelled_caught:
            raise expected.error()
        if not isinstance(reply, Prediction):
            raise RemoteProtocolError(f"a {type(reply).__name__} came in answer to a Predict")
        return reply

    def _heard(self, peer: NodeId, request: Predict | Intent) -> None:
        """Take what a request's sender says of itself: it may have room for what waits here."""
        if request.load is not None:
            self._on_load(peer, request.load)

    def on_doubt(self, node_id: NodeId) -> None:
        """A node does not answer probes: give up on it where another can do the work."""
        self._overdue.doubt(node_id)

    def _expected_ms(self, scored: Scored, request: Predict) -> float:
        """Return what a request will likely take: the score without its bonus and its caution.

        Scores are there to be compared, and cautious about a wait that was heard of long ago. How
        much too cautious is learned, as a negative bias. A positive one is the mean of surprises,
        which a few stalls make; what is told instead is corrected by the middle one.
        """
        score = scored.score
        bias_ms = min(0.0, self._board.bias_ms(scored.node_id, trio.current_time()))
        asking_ms = score.network_ms if self._intents.pays(scored, request) else 0.0
        likely_ms = score.promised_ms + max(-score.queue_ms, bias_ms) + asking_ms
        return likely_ms * self.accuracy.factor(scored.node_id) + score.cold_ms

    def _others(self, job: Job, node: NodeId) -> bool:
        """Return whether anybody else could run a request now."""
        without = {*job.course.avoided, node}
        return bool(self._decide(job.request, job.manifest, without, suspects=False).ranked)

    def _note_failure(self, scored: Scored, error: MeshnodeError) -> None:
        node_id = scored.candidate.contact.node_id
        now = trio.current_time()
        if isinstance(error.load, LoadRecord):
            self._on_load(node_id, error.load)
        if isinstance(error, PeerUnreachable):
            self._board.on_failure(node_id, now)
            self._on_unreachable(node_id)
        elif isinstance(error, CannotRunHere | NodeStopping):
            self._board.on_failure(node_id, now)


def new_request_id(random_bytes: Callable[[int], bytes]) -> RequestId:
    """Return a fresh request id."""
    return RequestId(random_bytes(16))


def _total_ms(scored: Scored) -> float:
    return scored.score.total_ms
