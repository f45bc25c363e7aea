"""Server: one machine of a fleet: a lane for each module, one batch at a time.

The queue of each lane is the shipped `Batcher`; lanes take turns as in `node/turns.py`. A batch
of n takes (A + b * n) times the machine's slowness, times a noise of mean one.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Protocol

from meshnode.batching.batcher import (
    Batcher,
    BatcherEffect,
    Drop,
    Expire,
    Offer,
    Refuse,
    Run,
    RunFinished,
    Withdraw,
)
from meshnode.batching.settings import BatchingSettings
from meshnode.batching.sizing import Sizing
from meshnode.ids import RequestId
from meshnode.machine import Random
from meshnode.sim.fleet.request import Request
from meshnode.sim.fleet.shape import Shape, Spot

QUEUE_MAX = 100_000
"""A policy that drowns a node is to be seen drowning it, not refused."""


class Clock(Protocol):
    """Whose time it is."""

    now: float

    def call(self, when: float, act: Callable[..., object], *arguments: object) -> None:
        """Do something later."""
        ...


class Ears(Protocol):
    """Who is told what a server does; the policy."""

    def enqueued(self, server: "Server", request: Request) -> None:
        """A request waits in a lane."""

    def withdrawn(self, server: "Server", request: Request) -> None:
        """It left without having started."""

    def started(self, server: "Server", module: int, batch: list[Request]) -> None:
        """A batch runs."""

    def finished(self, server: "Server", module: int, batch: list[Request]) -> None:
        """It is done."""

    def answers(self, server: "Server", batch: list[Request]) -> None:
        """Its answers go out; the next batch has started."""

    def loads(self, server: "Server", module: int, cold_ms: float) -> None:
        """A module is being loaded, which takes the whole machine."""

    def loaded(self, server: "Server", module: int) -> None:
        """It is warm."""

    def refused(self, server: "Server", request: Request) -> None:
        """A lane did not take a request, or its time ran out there."""

    def dry(self, server: "Server") -> None:
        """Nothing waits or runs here."""


class Greedy(Sizing):
    """Batches as large as what waits: for machines that are known to gain by every row."""

    @property
    def bound(self) -> int:
        """See `Sizing`."""
        return self._batch_max

    def next_bound(self, waiting: int) -> int:
        """See `Sizing`."""
        return self._batch_max

    def learn(self, rows: int, took_s: float) -> None:
        """See `Sizing`: the curve moves, the bound does not."""
        self.curve.learn(rows, took_s)


class Server:
    """One machine."""

    def __init__(self, spot: Spot, clock: Clock, ears: Ears, shape: Shape, seed: int) -> None:
        self.index = spot.index
        self.site = spot.site
        self.kind = spot.kind
        self.slowness = spot.slowness
        self.held = 0
        """Requests waiting or running."""
        self.served = 0
        self.busy_s = 0.0
        self.ends_at = 0.0
        """When the running batch is expected to end: noise is known to nobody."""
        self.busy = False
        self.hung = False
        self.warm: OrderedDict[int, None] = OrderedDict()
        self.loading: int | None = None
        self.loads = 0
        self.waiting: dict[RequestId, Request] = {}
        self.lanes: dict[int, Batcher] = {}
        self._clock = clock
        self._ears = ears
        self._noise = shape.noise
        self._sizing = Sizing if shape.learned_batches else Greedy
        self._rng = Random(f"server {seed} {spot.index}")
        self._turns: deque[tuple[int, tuple[RequestId, ...]]] = deque()
        self._life = 0

    def warm_up(self, modules: Sequence[int]) -> None:
        """Have the first of these modules in memory, as many as fit."""
        for module in modules[: self.kind.warm_max]:
            self.warm[module] = None

    def batch_ms(self, n: int) -> float:
        """Return the expected time of a batch here."""
        return self.kind.batch_ms(n) * self.slowness

    def wait_ms(self) -> float:
        """Return the expected time until a request that arrives now would start."""
        left_s = max(0.0, self.ends_at - self._clock.now) if self.busy else 0.0
        full, rest = divmod(len(self.waiting), self.kind.batch_max)
        queue_ms = full * self.kind.batch_ms(self.kind.batch_max) + rest * self.kind.each_ms
        return left_s * 1000 + queue_ms * self.slowness

    def lane(self, module: int) -> Batcher:
        """Return a module's queue."""
        lane = self.lanes.get(module)
        if lane is None:
            settings = BatchingSettings(batch_max=self.kind.batch_max, queue_max=QUEUE_MAX)
            lane = self.lanes[module] = Batcher(settings, self._sizing)
        return lane

    # ------------------------------------------------------------------ what comes

    def take(self, request: Request) -> None:
        """Queue a request."""
        self.waiting[request.id] = request
        self.held += 1
        self._ears.enqueued(self, request)
        now = self._clock.now
        offer = Offer(request.id, request.run_by, age_s=now - request.born)
        self._perform(request.module, self.lane(request.module).handle(offer, now))

    def withdraw(self, request: Request) -> bool:
        """Let a request go that waits; return whether it did."""
        if self.hung or self.waiting.pop(request.id, None) is None:
            return False
        self.held -= 1
        self._perform(
            request.module,
            self.lane(request.module).handle(Withdraw(request.id), self._clock.now),
        )
        self._ears.withdrawn(self, request)
        return True

    def hang(self) -> None:
        """Fall silent: what runs and waits here is never answered."""
        self.hung = True
        self._life += 1

    def revive(self) -> None:
        """Be a new process of the same machine; what it had is gone."""
        self.hung = self.busy = False
        self.loading = None
        self.held = 0
        self.lanes.clear()
        self.waiting.clear()
        self._turns.clear()

    # ------------------------------------------------------------------ batches

    def _perform(self, module: int, effects: Sequence[BatcherEffect]) -> None:
        for effect in effects:
            if isinstance(effect, Run):
                self._turns.append((module, effect.request_ids))
                self._next()
            elif isinstance(effect, Refuse | Expire | Drop):
                self._lose(effect.request_id)

    def _lose(self, request_id: RequestId) -> None:
        request = self.waiting.pop(request_id, None)
        if request is not None:
            self.held -= 1
            self._ears.withdrawn(self, request)
            self._ears.refused(self, request)

    def _next(self) -> None:
        if self.busy or not self._turns:
            return
        module, ids = self._turns.popleft()
        if module not in self.warm:
            self._load(module, ids)
            return
        self.warm.move_to_end(module)
        now = self._clock.now
        for request_id in ids:
            waits = self.waiting.get(request_id)
            if waits is not None and waits.run_by <= now:
                self._lose(request_id)
        batch = [self.waiting.pop(i) for i in ids if i in self.waiting]
        if not batch:
            self._end(module, None)
            return
        self.busy = True
        expected_s = self.batch_ms(len(batch)) / 1000
        factor = (
            self._rng.lognormvariate(-(self._noise**2) / 2, self._noise) if self._noise else 1.0
        )
        took_s = expected_s * factor
        self.ends_at = now + expected_s
        self.busy_s += took_s
        self._ears.started(self, module, batch)
        self._clock.call(now + took_s, self._finish, self._life, module, batch, took_s)

    def _finish(self, life: int, module: int, batch: list[Request], took_s: float) -> None:
        if life != self._life:
            return
        self.held -= len(batch)
        self.served += len(batch)
        self.busy = False
        self._ears.finished(self, module, batch)
        self._end(module, took_s)
        self._ears.answers(self, batch)
        if not self.held:
            self._ears.dry(self)

    def _end(self, module: int, took_s: float | None) -> None:
        self._perform(module, self.lane(module).handle(RunFinished(took_s), self._clock.now))
        self._next()

    def _load(self, module: int, ids: tuple[RequestId, ...]) -> None:
        """Load a module, which takes the whole machine; the least recently used makes room."""
        self.busy = True
        self.loading = module
        self.loads += 1
        while len(self.warm) >= self.kind.warm_max:
            idle = next((m for m in self.warm if not len(self.lane(m))), next(iter(self.warm)))
            del self.warm[idle]
        cold_s = self.kind.cold_ms / 1000
        self.ends_at = self._clock.now + cold_s
        self._ears.loads(self, module, self.kind.cold_ms)
        self._clock.call(self.ends_at, self._loaded, self._life, module, ids)

    def _loaded(self, life: int, module: int, ids: tuple[RequestId, ...]) -> None:
        if life != self._life:
            return
        self.busy = False
        self.loading = None
        self.warm[module] = None
        self._ears.loaded(self, module)
        self._turns.appendleft((module, ids))
        self._next()
