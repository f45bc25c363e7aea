"""Batcher: which requests of one module run together, and when.

Rules:

1. One batch runs at a time. While it runs, requests gather; when it ends, the oldest of them (by
   its age in the mesh, `line.py`) and those of its kind are the next batch. That is greedy
   batching: batches grow with load by themselves and a lone request on an idle lane never waits
   (unless a window is set, and pays).
2. Requests of different kinds (shapes, sources) cannot be stacked: a batch has one kind, that of
   the oldest request, so none starves.
3. How many rows a batch has is learned for each kind (`sizing.py`), and bounded by bytes. Each
   request brings its rows; one that is larger than the bound runs alone.
4. A batch is cut short where one more row would make a request in it miss its deadline.
5. A request that would not be done by its `run_by`, as the learned curve has it, is refused when
   it comes, so that its asker can go elsewhere; never on an idle lane, and not by a guess. Who is
   refused is told when there will be room.
6. A request not started by its `run_by` is expired, not run: its asker has given up. One that
   waited until it cannot be done in time any more is dropped before it costs a run (placement.md
   section 2, "drop at dequeue").
7. Where what waits is more than can be held, the oldest are not next but those whose flow has had
   least (`fairness.py`). A full queue refuses the newest of the flow that has most there.
8. A withdrawn request leaves the queue; if it is running already, nothing happens.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from math import inf

from meshnode.batching.crowd import Crowd
from meshnode.batching.events import BatcherEffect as BatcherEffect
from meshnode.batching.events import BatcherInput as BatcherInput
from meshnode.batching.events import Drop as Drop
from meshnode.batching.events import Expire as Expire
from meshnode.batching.events import Offer as Offer
from meshnode.batching.events import Refuse as Refuse
from meshnode.batching.events import Run as Run
from meshnode.batching.events import RunFinished as RunFinished
from meshnode.batching.events import Withdraw as Withdraw
from meshnode.batching.fairness import Flow, Shares
from meshnode.batching.line import WEIGHT, Line
from meshnode.batching.returning import Promises
from meshnode.batching.settings import BatchingSettings
from meshnode.batching.sizing import Sizing
from meshnode.batching.window import Arrivals, wait_until
from meshnode.ids import RequestId

KINDS_MAX = 16
"""Kinds whose curves are remembered; the least recently run go first."""


@dataclass(frozen=True, slots=True)
class _Running:
    """The batch that runs."""

    family: Hashable
    rows: int
    started: float
    offers: Sequence[Offer]


class Batcher:
    """The queue of one lane."""

    def __init__(
        self,
        settings: BatchingSettings,
        sizing: Callable[[int], Sizing] = Sizing,
        *,
        shares: Shares | None = None,
        promises: Promises | None = None,
        crowd: Crowd | None = None,
    ) -> None:
        """Take the bounds, and what makes the sizing of a kind from its `batch_max`.

        `shares`, `promises` and `crowd` are those of the machine, if it has several lanes.
        """
        if settings.batch_max < 1 or settings.queue_max < 1:
            raise ValueError("a lane needs room for at least one request")
        self._settings = settings
        self._new_sizing = sizing
        self._shares = Shares() if shares is None else shares
        self._promises = Promises() if promises is None else promises
        self._crowd = Crowd() if crowd is None else crowd
        self._crowd.joined(self.pressure)
        self._waiting = Line(self._shares)
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

    @property
    def alone_s(self) -> float:
        """What one row of the kind that runs takes alone; 0 if nobody knows."""
        sizing = None if self._running is None else self._sizings.get(self._running.family)
        return sizing.curve.seconds(1) if sizing is not None and sizing.curve.sure else 0.0

    def pressure(self, now: float) -> tuple[float, float]:
        """See `crowd.Pressure`."""
        return self._total_s(now), self._expiry - now

    def again_s(self, flow: Flow, now: float) -> float | None:
        """Return in how many seconds somebody who is refused after all finds a place."""
        return self._promised_s(flow, self._total_s(now), 1, now)

    def foresee(self, offer: Offer, now: float) -> Refuse | None:
        """Return the refusal that a request would get if it came now; it is not taken."""
        full = len(self._waiting) >= self._settings.queue_max
        if full and self._waiting.crowder(offer.flow) is None:
            return Refuse(offer.request_id, again_s=self.again_s(offer.flow, now))
        return self._late_refusal(offer, now)

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
                    self._charge(running, event.took_s)
        return self.tick(now)

    def tick(self, now: float) -> Sequence[BatcherEffect]:
        """Let go of what is late; start a batch if none runs and one is due."""
        effects: list[BatcherEffect] = [*self._expire(now)]
        if self._running is not None or self._due_at() > now:
            return effects
        effects += self._drop(now)
        if not self._waiting:
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
        if self._running is None and not self._waiting and self._runs_at_once(offer, now):
            return [Run((offer.request_id,))]
        effects: list[BatcherEffect] = [*self._expire(now)]  # the late must not fill the queue
        if len(self._waiting) >= self._settings.queue_max:
            crowder = self._waiting.crowder(offer.flow)
            gone = offer if crowder is None else self._take(crowder)
            if crowder is not None:
                self._rows_here -= gone.rows
            room_s = self._total_s(now) / max(1, len(self._waiting))
            again_s = self._promised_s(gone.flow, room_s, gone.rows, now)
            effects.append(Refuse(gone.request_id, again_s=again_s))
            if crowder is None:
                return effects
        refusal = self._late_refusal(offer, now)
        if refusal is not None:
            return [*effects, refusal]
        self._waiting.add(offer, now)
        self._rows[offer.kind] = self._rows.get(offer.kind, 0) + offer.rows
        self._families[offer.kind] = offer.family
        self._rows_here += offer.rows
        self._expiry = min(self._expiry, offer.run_by)
        return [*effects, *self.tick(now)]

    def _late_refusal(self, offer: Offer, now: float) -> Refuse | None:
        """Return the refusal of a request that would be late, as far as is known."""
        if self._running is None or not self._may_be_late(offer, now):
            return None  # an idle lane runs what comes: else nobody would ever learn better
        expected_s = self._expected_s(offer, now)
        if not now < offer.run_by < now + expected_s:
            return None
        over_s = expected_s - (offer.run_by - now)
        again_s = self._promised_s(offer.flow, over_s, offer.rows, now)
        return Refuse(offer.request_id, expected_s, again_s)

    def _runs_at_once(self, offer: Offer, now: float) -> bool:
        """Run what comes to an idle lane, unless it is too late or a window is set."""
        if offer.run_by <= now or self._settings.window_ms_max:
            return False
        self._sizing(offer.family).next_bound(offer.rows)
        self._rows_here += offer.rows
        self._running = _Running(offer.family, offer.rows, now, (offer,))
        return True

    def _may_be_late(self, offer: Offer, now: float) -> bool:
        """Whether it is worth reckoning: not if there were time for every row alone."""
        slowest_s = max(s.curve.seconds(1) for s in self._sizings.values())
        return now + slowest_s * (self._rows_here + offer.rows) > offer.run_by

    def _expected_s(self, offer: Offer, now: float) -> float:
        """Return how long until the request would be done; 0 if that is not known.

        What waits before it, its own kind included, in full batches and a rest, after what runs;
        of other flows only what their shares put before it.
        """
        own = self._sizings.get(offer.family)
        if own is None or not own.curve.sure:
            return 0.0
        total_s = self._total_s(now, offer)
        foreign = len(self._waiting.flows.keys() | {offer.flow}) > 1
        if not foreign or now + total_s <= offer.run_by:
            return total_s
        each_s = own.curve.seconds(own.bound) / own.bound
        ahead_s = self._shares.ahead_s(offer.flow, self._waiting.flows, each_s)
        return min(total_s, self._left_s(now) + ahead_s + own.curve.seconds(offer.rows))

    def _left_s(self, now: float) -> float:
        """Return what is left of the batch that runs, as far as that is known."""
        running = self._running
        sizing = None if running is None else self._sizings.get(running.family)
        if running is None or sizing is None or not sizing.curve.sure:
            return 0.0
        return max(0.0, running.started + sizing.curve.seconds(running.rows) - now)

    def _total_s(self, now: float, more: Offer | None = None) -> float:
        """Return how long all that is here takes, and one more, as far as that is known."""
        total_s = self._left_s(now)
        rows = dict(self._rows)
        if more is not None:
            rows[more.kind] = rows.get(more.kind, 0) + more.rows
        for kind, waiting in rows.items():
            family = more.family if more is not None and kind == more.kind else None
            sizing = self._sizings.get(self._families.get(kind, family))
            if sizing is not None and sizing.curve.sure:
                full, rest = divmod(waiting, sizing.bound)
                total_s += full * sizing.curve.seconds(sizing.bound) + sizing.curve.seconds(rest)
        return total_s

    def _promised_s(self, flow: Flow, earliest_s: float, rows: int, now: float) -> float | None:
        """Return when somebody who is refused should come again: when a place is his."""
        newest = next(reversed(self._sizings.values()), None)
        if newest is None or not newest.curve.sure:
            return None
        return self._promises.again_s(flow, earliest_s, newest.curve.seconds(rows), now)

    def _take(self, request_id: RequestId) -> Offer:
        """Remove a request from the queue."""
        offer = self._waiting.take(request_id)
        left = self._rows[offer.kind] - offer.rows
        if left:
            self._rows[offer.kind] = left
        else:
            del self._rows[offer.kind], self._families[offer.kind]
        return offer

    def _expire(self, now: float) -> list[Expire]:
        if now < self._expiry:
            return []
        late = [offer.request_id for offer in self._waiting if offer.run_by <= now]
        for request_id in late:
            self._rows_here -= self._take(request_id).rows
        self._expiry = self._waiting.run_by
        return [Expire(request_id) for request_id in late]

    def _drop(self, now: float) -> list[Drop]:
        """Let go of what waited and cannot be done in time any more.

        Not of what has just come: an idle lane runs that, and learns if it is faster than it was.
        """
        slowest_s = max((s.curve.seconds(1) for s in self._sizings.values()), default=0.0)
        if now + slowest_s <= self._expiry:
            return []
        lost: list[tuple[Offer, float]] = []
        for offer in self._waiting:
            sizing = self._sizings.get(offer.family)
            needs_s = 0.0
            if sizing is not None and sizing.curve.sure:
                needs_s = sizing.curve.seconds(offer.rows)
            if now + needs_s > offer.run_by and self._waiting.since(offer.request_id) < now:
                lost.append((offer, needs_s))
        for offer, _ in lost:
            self._rows_here -= self._take(offer.request_id).rows
        if lost:
            self._expiry = self._waiting.run_by
        total_s = self._total_s(now)
        return [
            Drop(o.request_id, needs_s, self._promised_s(o.flow, total_s, o.rows, now))
            for o, needs_s in lost
        ]

    # ------------------------------------------------------------------ starting a batch

    def _due_at(self) -> float:
        """Return when an idle lane should start a batch: at once, save that a window pays."""
        if not self._waiting:
            return inf
        window_s = self._settings.window_ms_max / 1000.0
        if not window_s:
            return -inf
        head = self._waiting.head
        rows, sizing = self._rows[head.kind], self._sizing(head.family)
        until = wait_until(self._arrivals, sizing.curve, rows)
        if until is None or rows >= sizing.bound:
            return -inf
        own_s = sizing.curve.seconds(rows + 1)
        hasty = self._waiting.run_by - own_s
        return min(until, self._waiting.since(head.request_id) + window_s, hasty)

    def _start(self, now: float) -> tuple[RequestId, ...]:
        """Take the next batch from the queue."""
        line: Iterable[Offer] = self._waiting
        head = self._waiting.head
        if self._waiting.mixed and self._crowded(now):
            newest = next(reversed(self._sizings.values()), None)
            each_s = 0.0 if newest is None else newest.curve.seconds(newest.bound) / newest.bound
            head = next(self._waiting.fair(each_s))
            line = self._waiting.fair(each_s)
        batch, rows = self._gathered(head, line, now)
        for offer in batch:
            self._take(offer.request_id)
        self._running = _Running(head.family, rows, now, batch)
        return tuple([offer.request_id for offer in batch])

    def _gathered(self, head: Offer, line: Iterable[Offer], now: float) -> tuple[list[Offer], int]:
        """Return the head and those of its kind that run with it, and how many rows they are."""
        sizing = self._sizing(head.family)
        most = sizing.next_bound(self._rows[head.kind])
        hasty = sizing.curve.sure and now + sizing.curve.seconds(most) > self._expiry
        batch: list[Offer] = []
        rows, size, run_by = 0, 0, inf
        for offer in line:
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
        return batch, rows

    def _crowded(self, now: float) -> bool:
        """Whether more waits than can be held."""
        if 2 * len(self._waiting) >= self._settings.queue_max:
            return True
        return self._crowd.is_too_much(now)

    def _charge(self, running: _Running, took_s: float) -> None:
        """Charge a batch's run time to the flows whose rows it had."""
        weighed: dict[Flow, float] = {}
        for offer in running.offers:
            rows = offer.rows * WEIGHT[offer.priority]
            weighed[offer.flow] = weighed.get(offer.flow, 0.0) + rows
        for flow, rows in weighed.items():
            self._shares.charge(flow, took_s * rows / running.rows)

    def _sizing(self, family: Hashable) -> Sizing:
        sizing = self._sizings.get(family)
        if sizing is None:
            sizing = self._sizings[family] = self._new_sizing(self._settings.batch_max)
            while len(self._sizings) > KINDS_MAX:
                self._sizings.popitem(last=False)
        self._sizings.move_to_end(family)
        return sizing
