"""Lanes: one queue for each warm module, in front of its instance. Pairs with `batching/`.

One batch runs at a time on a node: onnxruntime uses every core for it, two at once would slow
each other, and the published waiting time stays a plain sum.
"""

import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count

import numpy as np
import trio

from meshnode.batching.batcher import (
    Batcher,
    BatcherEffect,
    BatcherInput,
    Expire,
    Offer,
    Refuse,
    Run,
    RunFinished,
    Withdraw,
)
from meshnode.batching.settings import BatchingSettings
from meshnode.errors import (
    CannotRunHere,
    DeadlineExceeded,
    MeshnodeError,
    ModuleFailed,
    NodeStopping,
    Overloaded,
)
from meshnode.ids import ContentHash, RequestId, short
from meshnode.modules.manifest import Manifest
from meshnode.node.driver import Driver
from meshnode.node.library import Library
from meshnode.placement.observe import LoadMeter
from meshnode.runtime.runtime import LoadedModule, RunResult, Runtime
from meshnode.wire.messages import Timing

_log = logging.getLogger(__name__)
Arrays = Mapping[str, np.ndarray]


@dataclass(slots=True)
class _Waiter:
    """One request in a lane."""

    arrays: Arrays
    queued_at: float
    done: trio.Event = field(default_factory=trio.Event)
    started: bool = False
    outcome: Arrays | MeshnodeError | None = None
    timing: Timing = field(default_factory=Timing)
    batch: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a lane gives back for one request."""

    arrays: Arrays
    timing: Timing
    batch: int


class Lane:
    """The queue of one module."""

    def __init__(
        self,
        module: ContentHash,
        loaded: LoadedModule,
        lanes: "Lanes",
        settings: BatchingSettings,
    ) -> None:
        self._module = module
        self._loaded = loaded
        self._lanes = lanes
        self._waiting: dict[RequestId, _Waiter] = {}
        self._tickets = count(1)
        self._driver: Driver[BatcherInput, BatcherEffect] = Driver(Batcher(settings), self._perform)

    async def run(self) -> None:
        """Serve the batcher's timer until cancelled."""
        await self._driver.run()

    async def predict(self, arrays: Arrays, *, run_by: float) -> Answer:
        """Queue a request and wait for its answer.

        Raises Overloaded when the queue is full, DeadlineExceeded when `run_by` passed before it
        started, or what the module did wrong. Cancelled while it waits, it leaves the queue.
        """
        ticket = RequestId(next(self._tickets).to_bytes(16, "big"))
        waiter = self._waiting[ticket] = _Waiter(arrays, trio.current_time())
        self._lanes.meter.enqueued(self._module, waiter.queued_at)
        try:
            self._driver.handle(Offer(ticket, run_by))
            await waiter.done.wait()
        finally:
            del self._waiting[ticket]
            if not waiter.done.is_set() and not waiter.started:
                self._driver.handle(Withdraw(ticket))
                self._lanes.meter.withdrawn(self._module, trio.current_time())
            self._lanes.note_finished()
        if isinstance(waiter.outcome, MeshnodeError):
            raise waiter.outcome
        assert waiter.outcome is not None, "a waiter is woken only with an outcome"
        return Answer(waiter.outcome, waiter.timing, waiter.batch)

    @property
    def idle(self) -> bool:
        """Whether nothing waits or runs here."""
        return not self._waiting

    @property
    def memory_bytes(self) -> int:
        """What the instance holds."""
        return self._loaded.memory_bytes

    def close(self) -> None:
        """Let go of the instance; call only when idle."""
        self._loaded.close()

    def _perform(self, effect: BatcherEffect) -> None:
        match effect:
            case Run():
                self._lanes.nursery.start_soon(self._run_batch, effect.request_ids)
            case Refuse():
                self._finish(effect.request_id, Overloaded("the queue of this module is full here"))
            case Expire():
                late = DeadlineExceeded("the deadline passed while the request waited its turn")
                self._finish(effect.request_id, late)

    def _finish(self, ticket: RequestId, outcome: MeshnodeError) -> None:
        waiter = self._waiting.get(ticket)
        if waiter is not None:
            waiter.outcome = outcome
            self._lanes.meter.withdrawn(self._module, trio.current_time())
            waiter.done.set()

    async def _run_batch(self, tickets: tuple[RequestId, ...]) -> None:
        """Run a batch in a worker thread and wake each waiter with its own outcome."""
        try:
            async with self._lanes.slot:
                # Those who left meanwhile are gone from the table.
                waiters = [self._waiting[t] for t in tickets if t in self._waiting]
                if waiters:
                    await self._run_waiters(waiters)
        finally:
            self._driver.handle(RunFinished())

    async def _run_waiters(self, waiters: list[_Waiter]) -> None:
        started = trio.current_time()
        for waiter in waiters:
            waiter.started = True
        self._lanes.meter.started(self._module, len(waiters), started)
        try:
            result: RunResult = await trio.to_thread.run_sync(
                self._loaded.run, [w.arrays for w in waiters], limiter=self._lanes.threads
            )
            # The label says it: this device is simulated to be slower than it is.
            if self._lanes.slowdown > 1:
                await trio.sleep(result.run_us / 1e6 * (self._lanes.slowdown - 1))
        except Exception as error:  # the lane must outlive whatever a module makes it meet
            _log.exception("module %s failed in an unexpected way", self._module.hex()[:12])
            result = RunResult(
                [ModuleFailed(f"internal: {type(error).__name__}")] * len(waiters), 0, 0
            )
        finished = trio.current_time()
        self._lanes.meter.finished(self._module, len(waiters), finished)
        for waiter, outcome in zip(waiters, result.outcomes, strict=True):
            waiter.outcome = outcome
            waiter.batch = len(waiters)
            waiter.timing = Timing(
                queue_us=round((started - waiter.queued_at) * 1e6),
                run_us=round((finished - started) * 1e6),
                model_us=result.model_us,
            )
            waiter.done.set()


class Lanes:
    """The lanes of this node. Opening one is the cold start: fetch, compile, init, self-test."""

    def __init__(
        self,
        library: Library,
        runtime: Runtime,
        meter: LoadMeter,
        *,
        nursery: trio.Nursery,
        settings: BatchingSettings,
        instances_max: int,
        memory_bytes_max: int,
        slowdown: float,
    ) -> None:
        self.meter = meter
        self.nursery = nursery
        self.slowdown = slowdown
        self.slot = trio.Lock()
        self.threads = trio.CapacityLimiter(1)
        self._library = library
        self._runtime = runtime
        self._settings = settings
        self._instances_max = instances_max
        self._memory_bytes_max = memory_bytes_max
        self._open: OrderedDict[ContentHash, Lane] = OrderedDict()
        self._scopes: dict[ContentHash, trio.CancelScope] = {}
        self._opening: dict[ContentHash, trio.Event] = {}
        self._pinned: set[ContentHash] = set()
        self._finished = trio.Event()
        self._stopping = False

    @property
    def warm(self) -> tuple[ContentHash, ...]:
        """The modules that are ready to run, least recently used first."""
        return tuple(self._open)

    @property
    def memory_bytes(self) -> int:
        """What all instances together hold."""
        return sum(lane.memory_bytes for lane in self._open.values())

    @property
    def busy(self) -> bool:
        """Whether any lane has work."""
        return any(not lane.idle for lane in self._open.values())

    async def wait_idle(self) -> None:
        """Wait until no lane has work; with `stop_taking` before it, the end of a drain."""
        while self.busy:
            self._finished = trio.Event()
            await self._finished.wait()

    def note_finished(self) -> None:
        """A request has left its lane."""
        self._finished.set()

    def stop_taking(self) -> None:
        """Refuse new requests from now on; what is queued is finished."""
        self._stopping = True

    async def get(self, module: ContentHash) -> tuple[Lane, int]:
        """Return the module's lane and how long opening it took (us, 0 if it was warm).

        Several callers share one cold start; if it fails, each gets the reason.
        """
        if self._stopping:
            raise NodeStopping("this node is stopping")
        cold_from: float | None = None
        while (lane := self._open.get(module)) is None:
            cold_from = trio.current_time() if cold_from is None else cold_from
            opening = self._opening.get(module)
            if opening is not None:
                await opening.wait()
                continue
            self._opening[module] = trio.Event()
            try:
                lane = await self._cold_start(module)
            finally:
                self._opening.pop(module).set()
        self._open.move_to_end(module)
        return lane, 0 if cold_from is None else round((trio.current_time() - cold_from) * 1e6)

    def pin(self, module: ContentHash) -> None:
        """Never close this module's lane to make room."""
        self._pinned.add(module)

    async def close_all(self) -> None:
        """Let go of every instance; nothing may be queued any more."""
        for module in list(self._open):
            self._close(module)

    async def _cold_start(self, module: ContentHash) -> Lane:
        present = await self._library.ensure(module)
        self._check_budget(present.info.manifest)
        loaded = await trio.to_thread.run_sync(
            self._runtime.load, present.wasm, present.info.manifest, present.models
        )
        lane = Lane(module, loaded, self, self._settings)
        self._open[module] = lane
        scope = self._scopes[module] = trio.CancelScope()
        self.nursery.start_soon(self._serve, lane, scope)
        _log.info("module %s is warm", present.info.label)
        return lane

    async def _serve(self, lane: Lane, scope: trio.CancelScope) -> None:
        with scope:
            await lane.run()

    def _check_budget(self, manifest: Manifest) -> None:
        """Make room by closing idle lanes, least recently used first, or raise CannotRunHere."""
        need = manifest.limits.memory_bytes
        if need > self._memory_bytes_max:
            raise CannotRunHere(
                f"the module may use {need >> 20} MiB, this node gives modules "
                f"{self._memory_bytes_max >> 20} MiB in all",
                try_="raise budget.memory in node.toml",
            )
        for module in list(self._open):
            full = len(self._open) >= self._instances_max
            if not full and self.memory_bytes + need <= self._memory_bytes_max:
                return
            if self._open[module].idle and module not in self._pinned:
                self._close(module)
        if len(self._open) >= self._instances_max:
            raise Overloaded(f"all {self._instances_max} module instances of this node are busy")

    def _close(self, module: ContentHash) -> None:
        lane = self._open.pop(module)
        self._scopes.pop(module).cancel()
        lane.close()
        self.meter.forget(module)
        _log.info("module %s is cold again", short(module))
