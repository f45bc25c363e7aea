"""Batcher: which requests of one module run together, and when.

Rules:

1. One batch runs at a time. While it runs, requests gather; when it ends, the oldest of them and
   those of its kind are the next batch. That is greedy batching: batches grow with load by
   themselves and a lone request on an idle lane never waits (unless a window is set, and pays).
2. Requests of different kinds (shapes, sources) cannot be stacked: a batch has one kind, that of
   the oldest request, so none starves.
3. How many rows a batch has is learned for each kind (`sizing.py`), and bounded by bytes. Each
   request brings its rows; one that is larger than the bound runs alone.
4. A batch is cut short where one more row would make a request in it miss its deadline.
5. A request that would not be done by its `run_by`, as the learned curve has it, is refused when
   it comes, so that its asker can go elsewhere; never on an idle lane, and not by a guess.
6. A request not started by its `run_by` is expired, not run: its asker has given up, and running
   it would only delay the others (placement.md section 2, "drop at dequeue").
7. A full queue refuses; it never drops what it once took.
8. A withdrawn request leaves the queue; if it is running already, nothing happens.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from math import inf
from typing import TypeAlias

from meshnode.batching.settings import BatchingSettings
from meshnode.batching.sizing import Sizing
from meshnode.batching.window import Arrivals, wait_until
from meshnode.ids import RequestId

KINDS_MAX = 16
"""Kinds whose curves are remembered; the least recently run go first."""


@dataclass(frozen=True, slots=True)
class Offer:
    """Input: a request arrived; it must have started by `run_by` (the machine's clock, s)."""

    request_id: RequestId
    run_by: float
    rows: int = 1
    """Its size along the batch axis."""
    size: int = 0
    """Bytes it takes in a batch, outputs included."""
    kind: Hashable = None
    """Only requests of one kind run together. Whatever tells them apart: shapes, a source."""
    family: Hashable = None
    """Kinds of one family take the same time: they share a curve. The kind without its source."""


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Input: whoever asked is gone; forget the request if it has not started."""

    request_id: RequestId


@dataclass(frozen=True, slots=True)
class RunFinished:
    """Input: the batch that was running is done."""

    took_s: float | None = None
    """From its start to its end; None if it says nothing about the next one (it failed)."""


@dataclass(frozen=True, slots=True)
class Run:
    """Effect: run these together now."""

    request_ids: tuple[RequestId, ...]


@dataclass(frozen=True, slots=True)
class Refuse:
    """Effect: this one is not taken."""

    request_id: RequestId
    expected_s: float | None = None
    """When it would have been done, counted from now: later than its `run_by`. None: no room."""


@dataclass(frozen=True, slots=True)
class Expire:
    """Effect: this one's time to start has passed."""

    request_id: RequestId


BatcherInput: TypeAlias = Offer | Withdraw | RunFinished
BatcherEffect: TypeAlias = Run | Refuse | Expire


@dataclass(frozen=True, slots=True)
class _Running:
    """The batch that runs."""

    family: Hashable
    rows: int
    started: float


class Batcher:
    """The queue of one lane."""

    def __init__(
        self, settings: BatchingSettings, sizing: Callable[[int], Sizing] = Sizing
    ) -> None:
        """Take the bounds, and what makes the sizing of a kind from its `batch_max`."""
        if settings.batch_max < 1 or settings.queue_max < 1:
            raise ValueError("a lane needs room for at least one request")
        self._settings = settings
        self._new_sizing = sizing
        self._waiting: OrderedDict[RequestId, Offer] = OrderedDict()
        self._since: dict[RequestId, float] = {}
        self._rows: dict[Hashable, int] = {}
        """Rows waiting, by kind."""
        self._families: dict[Hashable, Hashable] = {}
        """Of each kind that waits."""
        self._sizings: OrderedDict[Hashable, Sizing] = OrderedDict()
        """By family."""
        self._rows_here = 0
        """Rows waiting or running."""
        self._arrivals = Arrivals()
        self._running: _Running | None = None
        self._expiry = inf
        """No request expires before this. A lower bound, so that most steps need not look."""

    def __len__(self) -> int:
        """Return how many requests wait, without those running."""
        return len(self._waiting)

    @property
    def bound(self) -> int:
        """Rows of a full batch of the kind that ran last; `batch_max` before anything ran."""
        newest = next(reversed(self._sizings.values()), None)
        return self._settings.batch_max if newest is None else newest.bound

    @property
    def expected_s(self) -> float | None:
        """What the batch that runs is expected to take; None if none runs, or nobody knows."""
        sizing = None if self._running is None else self._sizings.get(self._running.family)
        if self._running is None or sizing is None or not sizing.curve.sure:
            return None
        return sizing.curve.seconds(self._running.rows)

    def handle(self, event: BatcherInput, now: float) -> Sequence[BatcherEffect]:
        """See `Machine.handle`. An id that waits already is refused (ValueError: a bug)."""
        match event:
            case Offer():
                return self._offer(event, now)
            case Withdraw():
                if event.request_id in self._waiting:
                    self._rows_here -= self._take(event.request_id).rows
            case RunFinished():
                running, self._running = self._running, None
                assert running is not None, "RunFinished without a batch running"
                self._rows_here -= running.rows
                if event.took_s is not None:
                    self._sizing(running.family).learn(running.rows, event.took_s)
        return self.tick(now)

    def tick(self, now: float) -> Sequence[BatcherEffect]:
        """Expire what is late; start a batch if none runs and one is due."""
        effects: list[BatcherEffect] = [*self._expire(now)]
        if self._running is not None or self._due_at() > now:
            return effects
        return [*effects, Run(self._start(now))]

    def next_timer(self) -> float | None:
        """See `Machine.next_timer`: the next expiry, or the end of the window."""
        if not self._waiting:
            return None
        return self._expiry if self._running is not None else min(self._expiry, self._due_at())

    # ------------------------------------------------------------------ taking and letting go

    def _offer(self, offer: Offer, now: float) -> Sequence[BatcherEffect]:
        if offer.request_id in self._waiting:
            raise ValueError("this request waits already")
        self._arrivals.came(now)
        effects: list[BatcherEffect] = [*self._expire(now)]  # the late must not fill the queue
        if len(self._waiting) >= self._settings.queue_max:
            return [*effects, Refuse(offer.request_id)]
        if self._running is not None and self._may_be_late(offer, now):
            # An idle lane runs what comes: refusing there, nobody would ever learn better.
            expected_s = self._expected_s(offer, now)
            if now < offer.run_by < now + expected_s:
                return [*effects, Refuse(offer.request_id, expected_s)]
        self._waiting[offer.request_id] = offer
        self._since[offer.request_id] = now
        self._rows[offer.kind] = self._rows.get(offer.kind, 0) + offer.rows
        self._families[offer.kind] = offer.family
        self._rows_here += offer.rows
        self._expiry = min(self._expiry, offer.run_by)
        return [*effects, *self.tick(now)]

    def _may_be_late(self, offer: Offer, now: float) -> bool:
        """Whether it is worth reckoning: not if there were time for every row alone."""
        slowest_s = max(s.curve.seconds(1) for s in self._sizings.values())
        return now + slowest_s * (self._rows_here + offer.rows) > offer.run_by

    def _expected_s(self, offer: Offer, now: float) -> float:
        """Return how long until the request would be done; 0 if that is not known.

        What waits before it, its own kind included, in full batches and a rest, after what runs.
        """
        total = 0.0
        assert self._running is not None, "an idle lane is not asked"
        running = self._sizings.get(self._running.family)
        if running is not None and running.curve.sure:
            left_s = self._running.started + running.curve.seconds(self._running.rows) - now
            total = max(0.0, left_s)
        rows = {**self._rows, offer.kind: self._rows.get(offer.kind, 0) + offer.rows}
        for kind, waiting in rows.items():
            sizing = self._sizings.get(self._families.get(kind, offer.family))
            if sizing is None or not sizing.curve.sure:
                if kind == offer.kind:
                    return 0.0
                continue
            full, rest = divmod(waiting, sizing.bound)
            total += full * sizing.curve.seconds(sizing.bound) + sizing.curve.seconds(rest)
        return total

    def _take(self, request_id: RequestId) -> Offer:
        """Remove a request from the queue."""
        offer = self._waiting.pop(request_id)
        del self._since[request_id]
        left = self._rows[offer.kind] - offer.rows
        if left:
            self._rows[offer.kind] = left
        else:
            del self._rows[offer.kind], self._families[offer.kind]
        return offer

    def _expire(self, now: float) -> list[Expire]:
        if now < self._expiry:
            return []
        late = [request_id for request_id, o in self._waiting.items() if o.run_by <= now]
        for request_id in late:
            self._rows_here -= self._take(request_id).rows
        self._expiry = min((o.run_by for o in self._waiting.values()), default=inf)
        return [Expire(request_id) for request_id in late]

    # ------------------------------------------------------------------ starting a batch

    def _due_at(self) -> float:
        """Return when an idle lane should start a batch: at once, save that a window pays."""
        if not self._waiting:
            return inf
        window_s = self._settings.window_ms_max / 1000.0
        if not window_s:
            return -inf
        head = next(iter(self._waiting.values()))
        rows, sizing = self._rows[head.kind], self._sizing(head.family)
        until = wait_until(self._arrivals, sizing.curve, rows)
        if until is None or rows >= sizing.bound:
            return -inf
        own_s = sizing.curve.seconds(rows + 1)
        hasty = min(o.run_by for o in self._waiting.values()) - own_s
        return min(until, self._since[head.request_id] + window_s, hasty)

    def _start(self, now: float) -> tuple[RequestId, ...]:
        """Take the next batch from the queue."""
        head = next(iter(self._waiting.values()))
        sizing = self._sizing(head.family)
        most = sizing.next_bound(self._rows[head.kind])
        hasty = sizing.curve.sure and now + sizing.curve.seconds(most) > self._expiry
        batch: list[Offer] = []
        rows, size, run_by = 0, 0, inf
        for offer in self._waiting.values():
            if offer.kind != head.kind:
                continue
            total = rows + offer.rows
            size += offer.size
            done_at = now + sizing.curve.seconds(total) if hasty else now
            if batch and (
                total > most or size > self._settings.batch_bytes_max or done_at > run_by
            ):
                break
            batch.append(offer)
            rows = total
            if hasty and done_at <= offer.run_by:
                run_by = min(run_by, offer.run_by)  # one that is lost anyway cuts nothing short
            if rows >= most:
                break
        for offer in batch:
            self._take(offer.request_id)
        self._running = _Running(head.family, rows, now)
        return tuple(offer.request_id for offer in batch)

    def _sizing(self, family: Hashable) -> Sizing:
        sizing = self._sizings.get(family)
        if sizing is None:
            sizing = self._sizings[family] = self._new_sizing(self._settings.batch_max)
            while len(self._sizings) > KINDS_MAX:
                self._sizings.popitem(last=False)
        self._sizings.move_to_end(family)
        return sizing
