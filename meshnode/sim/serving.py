"""Serving: what a node runs for others, with a model of service times in place of a runtime.

The batcher of each lane and the load meter are the real ones; a batch of n rows takes
`fixed + each * n` milliseconds, times a lognormal noise. Batches that run models take their turns,
as in `node/turns.py`.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from meshnode.batching.batcher import Batcher, Drop, Expire, Offer, Refuse, Run, RunFinished
from meshnode.batching.settings import BatchingSettings
from meshnode.ids import ContentHash, NodeId, RequestId
from meshnode.machine import Random
from meshnode.placement.observe import LoadMeter
from meshnode.sim.clocks import Clock
from meshnode.sim.world import Slot, World
from meshnode.wire.messages import LoadRecord

SPEED = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceModel:
    """How long batches of one module take on one machine, and how long until it is warm."""

    fixed_ms: float = 4.0
    each_ms: float = 10.0
    noise: float = 0.1
    """Sigma of the logarithm; the mean stays the same."""
    cold_ms: float = 300.0
    batch_max: int = 4

    def batch_ms(self, rows: int) -> float:
        """Return the expected time of a batch."""
        return self.fixed_ms + self.each_ms * rows


@dataclass(frozen=True, slots=True)
class Served:
    """What became of a request at the node that it was given to."""

    error: str
    """Empty for an answer; else "overloaded", "late" or "stopping"."""
    queue_ms: float = 0.0
    run_ms: float = 0.0
    cold_ms: float = 0.0
    batch: int = 0


Then = Callable[[Served], None]


@dataclass(slots=True)
class _Waiter:
    run_by: float
    queued_at: float
    cold_ms: float
    then: Then


@dataclass(slots=True)
class _Lane:
    module: ContentHash
    model: ServiceModel
    batcher: Batcher
    slot: "Slot[Any, Any] | None" = None
    warm_at: float = 0.0
    waiters: dict[RequestId, _Waiter] = field(default_factory=dict)


class Serving:
    """All lanes of one node, and its meter."""

    def __init__(
        self,
        world: World[Any, Any],
        rng: Random,
        node: NodeId,
        *,
        lives: int,
        clock: Clock | None = None,
        speed: int = SPEED,
    ) -> None:
        self.meter = LoadMeter(node, speed=speed, started_unix_s=lives)
        self.on_offer: Callable[[RequestId, float], None] = lambda request, left_s: None
        """Told of every request that comes, and how long it has left by the node's clock."""
        self.on_begin: Callable[[RequestId], None] = lambda request: None
        """Told of every request whose batch begins."""
        self.draining = False
        self.on_work: Callable[[], None] = lambda: None
        """Told when there is work after a time without."""
        self.models: dict[ContentHash, ServiceModel] = {}
        """What this node holds, with how fast it is at it."""
        self._world = world
        self._rng = rng
        self.clock = clock
        self._lanes: dict[ContentHash, _Lane] = {}
        self._turns: deque[Callable[[], None]] = deque()
        self._busy = False
        self._stopped = False

    def hold(self, module: ContentHash, model: ServiceModel, *, warm: bool = False) -> None:
        """Have a module on disk; `warm` opens its lane at once, without a cold start."""
        self.models[module] = model
        if warm:
            self._open(module, model, self.now)

    @property
    def now(self) -> float:
        """What the node's own clock says; every time below is on it."""
        world_now = self._world.now
        return world_now if self.clock is None else self.clock.local(world_now)

    @property
    def world_now(self) -> float:
        """The world's time, for those who watch."""
        return self._world.now

    def rearm(self) -> None:
        """The node's clock has jumped."""
        for lane in self._lanes.values():
            self._world.rearm(lane.batcher)

    @property
    def warm(self) -> tuple[ContentHash, ...]:
        """Modules whose lanes are ready."""
        now = self.now
        return tuple(m for m, lane in self._lanes.items() if lane.warm_at <= now)

    def record(self, now: float) -> LoadRecord:
        """Return what the node says of its load."""
        return self.meter.record(
            now, held=tuple(self.models), warm=self.warm, draining=self.draining
        )

    def offer(self, request: RequestId, module: ContentHash, run_by: float, then: Then) -> None:
        """Queue a request; `then` is called once with what became of it."""
        model = self.models.get(module)
        if model is None or self._stopped or self.draining:
            then(Served("stopping" if model is not None else "not held"))
            return
        self.on_offer(request, run_by - self.now)
        lane = self._lanes.get(module)
        if lane is None:
            lane = self._open(module, model, self.now + model.cold_ms / 1000)
        cold_s = max(0.0, lane.warm_at - self.now)
        waiter = _Waiter(run_by, self.now + cold_s, cold_s * 1000, then)
        if cold_s:
            self._world.call(self._world.now + cold_s, lambda: self._queue(lane, request, waiter))
        else:
            self._queue(lane, request, waiter)

    def stop(self) -> None:
        """The process is gone: nothing more is answered."""
        self._stopped = True
        for lane in self._lanes.values():
            lane.waiters.clear()
            self._world.remove(lane.batcher)

    # ------------------------------------------------------------------ one lane

    def _open(self, module: ContentHash, model: ServiceModel, warm_at: float) -> _Lane:
        batcher = Batcher(BatchingSettings(batch_max=model.batch_max))
        lane = self._lanes[module] = _Lane(module, model, batcher, warm_at=warm_at)
        lane.slot = self._world.add(
            batcher, lambda effect: self._perform(lane, effect), clock=self.clock
        )
        self.meter.opened(module, cores=1, of=1)
        return lane

    def _queue(self, lane: _Lane, request: RequestId, waiter: _Waiter) -> None:
        if self._stopped or lane.slot is None:
            return
        now = self.now
        lane.waiters[request] = waiter
        if self.meter.at_rest:
            self.on_work()
        self.meter.enqueued(lane.module, now)
        self._world.give(self._world.now, lane.slot, Offer(request, waiter.run_by))

    def _perform(self, lane: _Lane, effect: object) -> None:
        match effect:
            case Run():
                self._turns.append(lambda: self._start(lane, effect.request_ids))
                self._next_turn()
            case Refuse():
                self._leave(lane, effect.request_id, "overloaded")
            case Expire():
                self._leave(lane, effect.request_id, "late")
            case Drop():
                self._leave(lane, effect.request_id, "overloaded")
            case _:
                raise AssertionError(f"a batcher does not ask for {effect}")

    def _leave(self, lane: _Lane, request: RequestId, error: str) -> None:
        waiter = lane.waiters.pop(request, None)
        if waiter is not None:
            self.meter.withdrawn(lane.module, self.now)
            waiter.then(Served(error))

    # ------------------------------------------------------------------ batches

    def _next_turn(self) -> None:
        if not self._busy and self._turns:
            self._busy = True
            self._turns.popleft()()

    def _start(self, lane: _Lane, requests: tuple[RequestId, ...]) -> None:
        now = self.now
        for request in requests:
            if lane.waiters[request].run_by <= now:  # its time ran out before its turn came
                self._leave(lane, request, "late")
        begun = [request for request in requests if request in lane.waiters]
        batch = [lane.waiters.pop(request) for request in begun]
        if not batch:
            self._end(lane, None)
            return
        for request in begun:
            self.on_begin(request)
        self.meter.started(lane.module, len(batch), now, batch_max=lane.batcher.bound)
        noise = lane.model.noise
        factor = self._rng.lognormvariate(-noise * noise / 2, noise) if noise else 1.0
        took_s = int(lane.model.batch_ms(len(batch)) * factor * 1000) / 1e6
        self._world.call(self._world.now + took_s, lambda: self._finish(lane, batch, took_s))

    def _finish(self, lane: _Lane, batch: list[_Waiter], took_s: float) -> None:
        if self._stopped:
            return
        now = self.now
        self.meter.finished(lane.module, len(batch), now)
        for waiter in batch:
            queue_ms = (now - took_s - waiter.queued_at) * 1000
            waiter.then(Served("", queue_ms, took_s * 1000, waiter.cold_ms, len(batch)))
        self._end(lane, took_s)

    def _end(self, lane: _Lane, took_s: float | None) -> None:
        self._busy = False
        if lane.slot is not None:
            self._world.give(self._world.now, lane.slot, RunFinished(took_s))
        self._next_turn()
