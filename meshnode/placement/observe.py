"""LoadMeter: what a node knows of its own load, and publishes about itself.

placement.md section 2: w = rem + (q div B) * s(B) + (q mod B) * b, where s(n) = A + b*n is a
module's service curve (`service.py`), learned from its measured batches, q the rows that wait, and
rem what is left of the running batch (in overrun: half of the overrun). Completion = w + s(rows) is
then exact for batching lanes too. A request of B rows or more is a batch of its own.
A batch that runs models takes every core, so the waits of such modules add up; those of pure Wasm
modules, which take one, are shared among the cores (`node/turns.py`).
"""

from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import exp

from meshnode.ids import ContentHash, NodeId, tag_of
from meshnode.placement.listed import Listed, shown
from meshnode.placement.met import WAIT_MEMORY_S, Met
from meshnode.placement.score import UNIT_MS, step_of
from meshnode.placement.service import ServiceCurve
from meshnode.wire.excerpts import bits
from meshnode.wire.messages import LoadRecord, ModuleLoad, Rest

REST_MS = 0.05
"""Half of the unit that is published."""
PRIOR_MS = 20.0
"""One request of a module that never ran here: while its first batch runs, waiting is not free."""
CURVES_MAX = 256
"""Modules whose curves are remembered; the least recently run go first."""
TIME_MAX = 2**31 - 1
"""Bound of a published time in 0.1 ms (59 hours)."""
IN_FLIGHT_MAX = 2**16 - 1
SEQUENCE_SHIFT = 18
"""A restarted node's sequences are above its old ones: seconds of its start in the high bits. With
18 below them a sequence takes seven bytes until 2038."""


@dataclass(slots=True)
class _Running:
    """A batch that runs now."""

    size: int
    """Requests."""
    started_at: float
    expected_ms: float


@dataclass(slots=True)
class _Queue:
    """What waits for a module."""

    requests: int = 0
    rows: int = 0


class LoadMeter:
    """Follows enqueue, start and finish of this node's lanes. Times are `now` in seconds."""

    def __init__(
        self, node: NodeId, *, speed: int, batch_max: int = 8, started_unix_s: int = 0
    ) -> None:
        self._tag = tag_of(node)
        self._speed = speed
        self._batch_max = batch_max
        self._sequence = started_unix_s << SEQUENCE_SHIFT
        self._queues: dict[ContentHash, _Queue] = {}
        self._curves: OrderedDict[ContentHash, ServiceCurve] = OrderedDict()
        self._running: dict[ContentHash, _Running] = {}
        self._bounds: dict[ContentHash, int] = {}
        """Rows of a full batch, where less than `batch_max` was found to pay."""
        self._narrow: dict[ContentHash, int] = {}
        """Modules that take one core, and how many cores there are."""
        self._loads: dict[ContentHash, _Running] = {}
        """Modules that are being loaded by work that keeps the whole machine."""
        self._said: dict[ContentHash, ModuleLoad] = {}
        """What was published of a module last; it holds until its curve or its bound moves."""
        self._listed = Listed()
        self._seen_at: float | None = None
        self._wait_ms = 0.0
        self._mean_ms = 0.0
        self._square_ms = 0.0
        self._met = Met()

    # ------------------------------------------------------------------ what the lanes tell

    def opened(self, module: ContentHash, *, cores: int, of: int) -> None:
        """A lane was opened whose batches take so many cores of all."""
        if cores < of:
            self._narrow[module] = of

    def asked(self, now: float) -> None:
        """A request came, whether it is taken or not: remember the wait that it met."""
        self._met.asked(self.wait_ms(now), now)

    def enqueued(self, module: ContentHash, now: float, rows: int = 1) -> None:
        """A request joined a lane."""
        self._advance(now)
        queue = self._queues.get(module)
        if queue is None:
            queue = self._queues[module] = _Queue()
        queue.requests += 1
        queue.rows += rows
        self._wait_ms = self.wait_ms(now)

    def withdrawn(self, module: ContentHash, now: float, rows: int = 1) -> None:
        """A request left a lane without being started."""
        self._advance(now)
        self._leave(module, 1, rows)
        self._wait_ms = self.wait_ms(now)

    def started(
        self,
        module: ContentHash,
        count: int,
        now: float,
        *,
        rows: int | None = None,
        batch_max: int | None = None,
    ) -> None:
        """A batch of `count` requests left the lane and runs, with so many rows; None: one each.

        A full one has `batch_max` rows at present.
        """
        rows = count if rows is None else rows
        if batch_max is not None:
            if self._bounds.get(module) != batch_max:
                self._said.pop(module, None)
            self._bounds[module] = batch_max
        self._advance(now)
        self._leave(module, count, rows)
        curve = self._curves.get(module)
        expected_ms = PRIOR_MS * count if curve is None else curve.batch_ms(rows)
        self._running[module] = _Running(count, now, expected_ms)
        self._wait_ms = self.wait_ms(now)

    def finished(
        self, module: ContentHash, count: int, now: float, *, rows: int | None = None
    ) -> None:
        """The module's running batch is done; its time is learned."""
        self._advance(now)
        running = self._running.pop(module, None)
        if running is not None:
            curve = self._curves.setdefault(module, ServiceCurve())
            self._curves.move_to_end(module)
            curve.learn(
                max(1, count if rows is None else rows), max(0.0, now - running.started_at) * 1000
            )
            self._said.pop(module, None)
            while len(self._curves) > CURVES_MAX:
                self._curves.popitem(last=False)
        self._wait_ms = self.wait_ms(now)

    def load_began(self, module: ContentHash, expected_ms: float, now: float) -> None:
        """The machine loads a module and runs nothing until `load_ended`: that is waiting too."""
        self._advance(now)
        self._loads[module] = _Running(0, now, expected_ms)
        self._wait_ms = self.wait_ms(now)

    def load_ended(self, module: ContentHash, now: float) -> None:
        """A load that began is over, well or not."""
        self._advance(now)
        self._loads.pop(module, None)
        self._wait_ms = self.wait_ms(now)

    def forget(self, module: ContentHash) -> None:
        """The module's lane is closed. Its curve is kept: it holds when the lane opens again."""
        self._queues.pop(module, None)
        self._narrow.pop(module, None)
        self._bounds.pop(module, None)
        self._said.pop(module, None)

    # ------------------------------------------------------------------ what is known

    @property
    def at_rest(self) -> bool:
        """Whether there is no work, and there was none for so long that it shows in no record."""
        busy = self._queues or self._running or self._loads
        return not busy and self._mean_ms < REST_MS and self._square_ms < REST_MS * REST_MS

    def has_moved(self, since: float) -> bool:
        """Return whether anything came, began or ended after a record was made at `since`."""
        return self._seen_at != since

    def wait_ms(self, now: float) -> float:
        """Return w: how long a request that arrives now would wait before its batch starts."""
        modules = self._queues.keys() | self._running.keys()
        alone = len(modules) == 1
        if alone and not self._loads:
            return self._work_ms(next(iter(modules)), now, True)
        wide_ms = sum(_left_ms(load, now) for load in self._loads.values())
        narrow_ms = longest_ms = 0.0
        cores = 1
        for module in modules:
            work_ms = self._work_ms(module, now, alone)
            if module in self._narrow:
                cores = self._narrow[module]
                narrow_ms += work_ms
                longest_ms = max(longest_ms, work_ms)
            else:
                wide_ms += work_ms
        # Its own lane's work is before a request, whatever the other cores do.
        return wide_ms + max(longest_ms, narrow_ms / cores)

    def completes_ms(self, module: ContentHash, before: int, now: float, rows: int = 1) -> float:
        """Return when a request would be done that has so many rows before it in its queue.

        What other modules have waiting is left out: then it is later than this.
        """
        running = self._running.get(module)
        left_ms = 0.0
        if running is not None:
            left_ms = max(0.0, running.expected_ms - (now - running.started_at) * 1000)
        curve, bound = self._curve(module), self._bound(module)
        full = before // bound
        queue = self._queues.get(module)
        behind = 0 if queue is None else queue.rows - full * bound
        batch = max(rows, min(bound, behind))
        return left_ms + full * curve.batch_ms(bound) + curve.batch_ms(batch)

    def _work_ms(self, module: ContentHash, now: float, alone: bool) -> float:
        """Return how long a module's running batch and its queue take."""
        total = 0.0
        running = self._running.get(module)
        if running is not None:
            total = _left_ms(running, now)
        queue = self._queues.get(module)
        if queue is None:
            return total
        curve = self._curves.get(module)
        if curve is None:
            return total + PRIOR_MS * queue.requests
        batches = queue.rows // self._bound(module)
        if batches >= queue.requests:
            batches = queue.requests
        elif not alone and batches * self._bound(module) < queue.rows:
            batches += 1  # a request of the only busy module joins the last one; another's waits
        return total + batches * curve.base_ms + queue.rows * curve.each_ms

    def _bound(self, module: ContentHash) -> int:
        return self._bounds.get(module, self._batch_max)

    def more_ms(self, module: ContentHash) -> float:
        """Return what one more row in a batch of a module adds."""
        return self._curve(module).each_ms

    def first_ms(self, module: ContentHash, rows: int = 1) -> float | None:
        """Return what a request takes on an empty lane, or None if the module never ran here."""
        curve = self._curves.get(module)
        return curve.batch_ms(rows) if curve is not None and curve.measured else None

    def record(
        self,
        now: float,
        *,
        held: Sequence[ContentHash],
        warm: Collection[ContentHash],
        draining: bool,
    ) -> LoadRecord:
        """Return what this node says about itself now; each record has a higher sequence.

        At most `MODULES_PER_LOAD_MAX` modules fit: the warm ones first, then those run last. One
        that is being loaded counts as warm: what is left of the load is in the wait already, and
        whoever added it once more would load the module at a second node, and a third.
        """
        ready = self._ready(warm)
        modules = self._listed.keep(shown(held, ready, self._curves))
        told = tuple(self._module_load(m, m in ready) for m in modules)
        return self._record(now, draining, told, None)

    def word(
        self,
        now: float,
        about: ContentHash | None,
        *,
        held: Sequence[ContentHash],
        warm: Collection[ContentHash],
        draining: bool,
    ) -> LoadRecord:
        """Return the excerpt of a record that tells one module, as it rides on calls; None: none.

        A record of one module is whole.
        """
        ready = self._ready(warm)
        modules = self._listed.keep(shown(held, ready, self._curves))
        place = modules.index(about) if about in modules else None
        told: tuple[ModuleLoad, ...] = ()
        if place is not None:
            told = (self._module_load(modules[place], modules[place] in ready),)
        if len(modules) == len(told):
            return self._record(now, draining, told, None)
        rest = Rest(
            listed=self._listed.checksum,
            at=place or 0,
            warm=bits([m in ready for m in modules]),
            waits=bits([m in self._queues for m in modules]),
        )
        return self._record(now, draining, told, rest)

    # ------------------------------------------------------------------ parts

    def _ready(self, warm: Collection[ContentHash]) -> Collection[ContentHash]:
        return (*warm, *self._loads) if self._loads else warm

    def _record(
        self, now: float, draining: bool, told: tuple[ModuleLoad, ...], rest: Rest | None
    ) -> LoadRecord:
        self._advance(now)
        self._sequence += 1
        mean_ms, sigma_ms = self._met.expected(self._mean_ms, self._square_ms)
        here = sum(batch.size for batch in self._running.values())
        here += sum(queue.requests for queue in self._queues.values())
        return LoadRecord(
            node=self._tag,
            sequence=self._sequence,
            age_ms=0,
            wait=_units(self._wait_ms),
            wait_mean=_units(mean_ms),
            wait_sigma=_units(sigma_ms),
            in_flight=min(IN_FLIGHT_MAX, here),
            draining=draining,
            speed=self._speed,
            modules=told,
            rest=rest,
        )

    def _module_load(self, module: ContentHash, warm: bool) -> ModuleLoad:
        said = self._said.get(module)
        if said is None or said.warm is not warm or said.waits is not (module in self._queues):
            said = self._said[module] = self._new_load(module, warm)
            if len(self._said) > CURVES_MAX:
                self._said.pop(next(iter(self._said)))
        return said

    def _new_load(self, module: ContentHash, warm: bool) -> ModuleLoad:
        curve, bound = self._curves.get(module), self._bound(module)
        waits = module in self._queues
        if curve is None or not curve.measured:
            return ModuleLoad(module=tag_of(module), warm=warm, first=0, unit=0, waits=waits)
        return ModuleLoad(
            module=tag_of(module),
            warm=warm,
            first=max(1, _units(curve.batch_ms(1))),
            unit=max(1, _units(curve.batch_ms(bound) / bound)),
            each=step_of(curve.each_ms),
            waits=waits,
        )

    def _curve(self, module: ContentHash) -> ServiceCurve:
        return self._curves.get(module) or _UNKNOWN

    def _leave(self, module: ContentHash, count: int, rows: int) -> None:
        """Take requests off a queue; never below none, whatever the caller counted twice."""
        queue = self._queues.get(module)
        if queue is None:
            return
        queue.requests -= count
        queue.rows -= rows
        if queue.requests <= 0:
            del self._queues[module]
        elif queue.rows < queue.requests:
            queue.rows = queue.requests  # each has one at least

    def _advance(self, now: float) -> None:
        """Fold the time since the last look into the mean and variance of w.

        w falls in a straight line between events, so the middle stands for the whole interval.
        Every event leaves w as of its own moment, so a second one at once has nothing to fold.
        """
        if now == self._seen_at:
            return
        ended_ms = self.wait_ms(now)
        if self._seen_at is not None and now > self._seen_at:
            share = 1.0 - exp((self._seen_at - now) / WAIT_MEMORY_S)
            middle_ms = (self._wait_ms + ended_ms) / 2
            self._mean_ms += share * (middle_ms - self._mean_ms)
            self._square_ms += share * (middle_ms * middle_ms - self._square_ms)
        self._seen_at = now
        self._wait_ms = ended_ms


def _left_ms(running: _Running, now: float) -> float:
    """Return what is left of a batch or a load; of one that overran, half of the overrun."""
    left_ms = running.expected_ms - (now - running.started_at) * 1000
    return left_ms if left_ms >= 0 else -left_ms / 2


_UNKNOWN = ServiceCurve(PRIOR_MS)


def _units(ms: float) -> int:
    return min(TIME_MAX, round(ms / UNIT_MS))
