"""Lane: the queue of one warm module, in front of its instance. Pairs with `batching/`."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, count

import trio

from meshnode.batching.batcher import (
    Batcher,
    BatcherEffect,
    BatcherInput,
    Drop,
    Expire,
    Offer,
    Refuse,
    Run,
    RunFinished,
    Withdraw,
)
from meshnode.batching.crowd import Crowd
from meshnode.batching.fairness import Flow, Shares
from meshnode.batching.portions import Portions
from meshnode.batching.returning import Promises
from meshnode.batching.settings import BatchingSettings
from meshnode.errors import GivenUp, MeshnodeError, ModuleFailed
from meshnode.ids import ContentHash, NodeTag, RequestId, tag_of
from meshnode.node.driver import Driver
from meshnode.node.pretence import Pretence
from meshnode.node.queued import (
    ANYBODY,
    Answer,
    Arrays,
    Asker,
    Queued,
    late,
    refused,
    too_late,
)
from meshnode.node.turns import Turns
from meshnode.node.worker import Done, Worker
from meshnode.placement.idle import Waiting
from meshnode.placement.observe import LoadMeter
from meshnode.runtime.runtime import LoadedModule, RunResult
from meshnode.wire.messages import Timing

_log = logging.getLogger(__name__)
TINY_S = 0.00025
"""The event loop waits for a batch that is expected to take less, and for twice as long at most:
what is on a socket meanwhile waits as if the loop had been busy."""
ALONE_MIN = 16
"""Batches, in which requests came one at a time, after which the loop may wait for the next. With
several callers it must not: while it waits, it cannot gather the next batch."""
STRIKE = 256
"""Batches for which it does not, after a batch that took longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneParts:
    """What the lanes of a node share."""

    meter: LoadMeter
    turns: Turns
    nursery: trio.Nursery
    pretence: Pretence
    note_came: Callable[[], None]
    note_finished: Callable[[], None]
    shares: Shares = field(default_factory=Shares)
    promises: Promises = field(default_factory=Promises)
    crowd: Crowd = field(default_factory=Crowd)
    portions: Portions = field(default_factory=Portions)
    """Of run time."""


class Lane:
    """The queue of one module."""

    def __init__(
        self,
        module: ContentHash,
        loaded: LoadedModule,
        worker: Worker,
        parts: LaneParts,
        settings: BatchingSettings,
    ) -> None:
        self._module = module
        self._loaded = loaded
        self._worker = worker
        self._parts = parts
        self._cores = parts.turns.cores if loaded.runs_models else 1
        self._waiting: dict[RequestId, Queued] = {}
        self._running: _Batch | None = None
        """Also while it waits for its turn."""
        self._tickets = count(1)
        self._alone = 0
        """Batches since two requests were last here at once; below 0, to be made up for."""
        self.memory_bytes = loaded.memory_bytes
        """What the instance held after its last batch; the worker alone may look at it."""
        self.used_at = trio.current_time()
        """When the last request left."""
        bytes_max = min(settings.batch_bytes_max, loaded.batch_bytes_max)
        self._batcher = Batcher(
            replace(settings, batch_bytes_max=bytes_max),
            shares=parts.shares,
            promises=parts.promises,
            crowd=parts.crowd,
        )
        self._driver: Driver[BatcherInput, BatcherEffect] = Driver(self._batcher, self._perform)
        parts.meter.opened(module, cores=self._cores, of=parts.turns.cores)

    async def run(self) -> None:
        """Serve the batcher's timer until cancelled."""
        await self._driver.run()

    async def predict(
        self,
        arrays: Arrays,
        *,
        run_by: float,
        rows: int = 1,
        asker: Asker = ANYBODY,
    ) -> Answer:
        """Queue a request, checked before, and wait for its answer.

        Raises Overloaded when the queue is full or too long for `run_by`, TooLate when it became
        so while the request waited, DeadlineExceeded when `run_by` passed before it started,
        GivenUp when it is movable and an idle node asked for it, or what the module did wrong.
        Cancelled while it waits, it leaves the queue.
        """
        if self._waiting:
            self._alone = min(self._alone, 0)
        ticket = RequestId(next(self._tickets).to_bytes(16, "big"))
        waiter = Queued(arrays, run_by, trio.current_time(), asker, rows)
        self._parts.note_came()
        self._waiting[ticket] = waiter
        self._parts.meter.enqueued(self._module, waiter.queued_at, rows)
        try:
            self._driver.handle(self._offer(ticket, waiter))
            await waiter.done.wait()
        finally:
            del self._waiting[ticket]
            if not waiter.done.is_set():
                waiter.leave()
                if not waiter.started:
                    self._driver.handle(Withdraw(ticket))
                    self._parts.meter.withdrawn(self._module, trio.current_time(), rows)
            self.used_at = trio.current_time()
            self._parts.note_finished()
        return waiter.answer()

    def consider(self, arrays: Arrays, *, run_by: float, rows: int, asker: Asker) -> None:
        """Raise Overloaded if a request would be refused if it came now. Only shapes are read."""
        now = trio.current_time()
        waiter = Queued(arrays, run_by, now, asker, rows)
        refusal = self._batcher.foresee(self._offer(RequestId(b""), waiter), now)
        if refusal is not None:
            raise refused(refusal, over=self._parts.portions.is_over(asker.flow, now))

    def queue(self, now: float) -> list[Waiting]:
        """Return what waits, in the order in which it would run."""
        meter, module = self._parts.meter, self._module
        waiting = [(t, w) for t, w in self._waiting.items() if not w.started]
        before = accumulate((w.rows for _, w in waiting), initial=0)
        return [
            Waiting(
                request=ticket,
                module=tag_of(module),
                completes_ms=meter.completes_ms(module, ahead, now, waiter.rows),
                movable=waiter.asker.movable,
                rows=waiter.rows,
            )
            for ahead, (ticket, waiter) in zip(before, waiting, strict=False)
        ]

    def give_up(self, ticket: RequestId, caller: NodeTag) -> None:
        """Refuse a waiting request late, in the name of an idle node that asked for it."""
        error = GivenUp("an idle node asked for it")
        error.instead = caller
        self._driver.handle(Withdraw(ticket))
        self._leave(ticket, error)

    @property
    def idle(self) -> bool:
        """Whether nothing waits or runs here."""
        return not self._waiting and not self._running

    def close(self) -> trio.Event:
        """Let go of the instance; call only when idle. Returns what is set when it is gone."""
        self._parts.crowd.left(self._batcher.pressure)
        self._worker.submit(self._loaded.close, _ignore)
        self._worker.stop()
        return self._worker.ended

    # ------------------------------------------------------------------ what a batch asks of it

    def waiting_for(self, ticket: RequestId, now: float) -> Queued | None:
        """Return who waits for a ticket; None if he has left, or his time has run out."""
        waiter = self._waiting.get(ticket)
        if waiter is not None and waiter.run_by <= now:
            self._leave(ticket, late())
            return None
        # It waited here for other modules; what an idle machine gets is run, however slow it was.
        alone_s = self._batcher.alone_s
        if waiter is not None and waiter.queued_at < now and waiter.run_by < now + alone_s:
            again_s = self._batcher.again_s(waiter.asker.flow, now)
            self._leave(ticket, too_late(alone_s, again_s, over=self._over(ticket)))
            return None
        return waiter

    def begin(self, waiters: Sequence[Queued], now: float) -> None:
        """A batch starts."""
        self._parts.meter.started(
            self._module,
            len(waiters),
            now,
            rows=sum([w.rows for w in waiters]),
            batch_max=self._batcher.bound,
        )

    def work(self, run: Callable[[LoadedModule], RunResult], done: Done[RunResult]) -> None:
        """Run something on the instance, in its thread."""

        def job() -> RunResult:
            result = run(self._loaded)
            self.memory_bytes = self._loaded.memory_bytes
            return result

        self._alone += 1
        expected_s = self._batcher.expected_s
        if self._alone > ALONE_MIN and expected_s is not None and expected_s < TINY_S:
            if not self._worker.submit_tiny(job, done, wait_s=2 * TINY_S):
                self._alone = -STRIKE
        else:
            self._worker.submit(job, done)

    def post(self, call: Callable[[], None]) -> None:
        """Call something in the event loop, from the worker's thread."""
        self._worker.post(call)

    def after_pretence(self, run_us: int, call: Callable[[], None]) -> None:
        """Call at once; later if this device is simulated to be slower than it is."""
        extra_s = self._parts.pretence.extra_s(run_us)

        async def later() -> None:
            await trio.sleep(extra_s)
            call()

        if extra_s > 0:
            self._parts.nursery.start_soon(later)
        else:
            call()

    def end(self, waiters: Sequence[Queued], *, took_s: float | None) -> None:
        """A batch is over: the next one may run."""
        if waiters:
            rows = sum([w.rows for w in waiters])
            now = trio.current_time()
            for waiter in waiters:
                had_s = (took_s or 0.0) * waiter.rows / rows
                self._parts.portions.had(waiter.asker.flow, had_s, now)
            self._parts.meter.finished(self._module, len(waiters), now, rows=rows)
        self._running = None
        self._parts.turns.give_back(self._cores)
        self._driver.handle(RunFinished(took_s))
        self._parts.note_finished()

    # ------------------------------------------------------------------ parts

    def _offer(self, ticket: RequestId, waiter: Queued) -> Offer:
        family = self._loaded.kind(waiter.arrays)
        return Offer(
            ticket,
            waiter.run_by,
            rows=waiter.rows,
            size=self._loaded.weight(waiter.arrays, waiter.rows),
            # An instance that may remember is not given rows of several sources in one call.
            kind=family if self._loaded.stateless else (family, waiter.asker.source),
            family=family,
            flow=waiter.asker.flow,
            priority=waiter.asker.priority,
            age_s=waiter.asker.age_s,
        )

    def _perform(self, effect: BatcherEffect) -> None:
        match effect:
            case Run():
                batch = _Batch(self, effect.request_ids)
                self._running = batch
                flows = dict.fromkeys([self._waiting[t].asker.flow for t in effect.request_ids])
                self._parts.turns.ask(self._cores, batch.start, flows, self._flows)
            case Refuse():
                self._leave(effect.request_id, refused(effect, over=self._over(effect.request_id)))
            case Expire():
                self._leave(effect.request_id, late())
            case Drop():
                over = self._over(effect.request_id)
                self._leave(effect.request_id, too_late(effect.needs_s, effect.again_s, over=over))

    def _flows(self) -> list[Flow]:
        """Who waits here, in the batch that is next or behind it."""
        return [w.asker.flow for w in self._waiting.values() if not w.started]

    def _over(self, ticket: RequestId) -> bool:
        """Whether a request that is not taken is of a source that had more than its share."""
        waiter = self._waiting.get(ticket)
        if waiter is None:
            return False
        return self._parts.portions.is_over(waiter.asker.flow, trio.current_time())

    def _leave(self, ticket: RequestId, outcome: MeshnodeError) -> None:
        """A request leaves the queue without having started."""
        waiter = self._waiting.get(ticket)
        if waiter is not None:
            waiter.started = True  # the account is settled here, not when it wakes
            self._parts.meter.withdrawn(self._module, trio.current_time(), waiter.rows)
            waiter.finish(outcome)


class _Batch:
    """One batch, from its turn to its end. Its audience, too, for what is ready before."""

    def __init__(self, lane: Lane, tickets: tuple[RequestId, ...]) -> None:
        self._lane = lane
        self._tickets = tickets
        self._waiters: list[Queued] = []
        self._started = 0.0

    def start(self) -> None:
        """The lane has its turn: hand over to the worker what is still wanted."""
        self._started = trio.current_time()
        for ticket in self._tickets:
            waiter = self._lane.waiting_for(ticket, self._started)
            if waiter is not None:
                waiter.begin()
                self._waiters.append(waiter)
        if self._waiters:
            self._lane.begin(self._waiters, self._started)
            self._lane.work(self._run, self._done)
        else:
            self._lane.end(self._waiters, took_s=None)

    def wanted(self, index: int) -> bool:
        """See `Audience`; called in the worker's thread."""
        return not self._waiters[index].gone

    def answered(self, index: int, outcome: Arrays | MeshnodeError) -> None:
        """See `Audience`; called in the worker's thread."""
        self._lane.post(lambda: self._tell(self._waiters[index], outcome, model_us=0))

    def _run(self, loaded: LoadedModule) -> RunResult:
        return loaded.run(
            [w.arrays for w in self._waiters],
            [w.asker.source for w in self._waiters],
            self,
        )

    def _done(self, result: RunResult | BaseException) -> None:
        if isinstance(result, BaseException):  # the lane outlives whatever a module makes it meet
            _log.error("a module failed in an unexpected way", exc_info=result)
            internal = ModuleFailed(f"internal: {type(result).__name__}")
            result = RunResult([internal] * len(self._waiters), 0, 0, failed=True)
        self._lane.after_pretence(result.run_us, lambda: self._end(result))

    def _end(self, result: RunResult) -> None:
        took_s = trio.current_time() - self._started
        for waiter, outcome in zip(self._waiters, result.outcomes, strict=True):
            self._tell(waiter, outcome, result.model_us)
        self._lane.end(self._waiters, took_s=None if result.failed else took_s)

    def _tell(self, waiter: Queued, outcome: Arrays | MeshnodeError, model_us: int) -> None:
        waiter.batch = len(self._waiters)
        waiter.timing = Timing(
            queue_us=round((self._started - waiter.queued_at) * 1e6),
            run_us=round((trio.current_time() - self._started) * 1e6),
            model_us=model_us,
        )
        waiter.finish(outcome)


def _ignore(_: object) -> None:
    """What closing came to; there is nobody to tell."""
