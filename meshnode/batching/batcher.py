"""Batcher: which requests of one module run together, and when.

Rules:

1. One batch runs at a time. While it runs, requests gather; when it ends, the oldest of them, at
   most `batch_max`, are the next batch. That is greedy batching: batches grow with load by
   themselves and a lone request on an idle lane never waits (unless a window is set).
2. With a window, an idle lane waits until the batch is full or some request has waited that long;
   no request gives more than half of its time to the window.
3. A request not started by its `run_by` is expired, not run: its asker has given up, and running
   it would only delay the others (placement.md section 2, "drop at dequeue").
4. A full queue refuses; it never drops what it once took.
5. A withdrawn request leaves the queue; if it is running already, nothing happens.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import TypeAlias

from meshnode.batching.settings import BatchingSettings
from meshnode.ids import RequestId


@dataclass(frozen=True, slots=True)
class Offer:
    """Input: a request arrived; it must have started by `run_by` (the machine's clock, s)."""

    request_id: RequestId
    run_by: float


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Input: whoever asked is gone; forget the request if it has not started."""

    request_id: RequestId


@dataclass(frozen=True, slots=True)
class RunFinished:
    """Input: the batch that was running is done."""


@dataclass(frozen=True, slots=True)
class Run:
    """Effect: run these together now."""

    request_ids: tuple[RequestId, ...]


@dataclass(frozen=True, slots=True)
class Refuse:
    """Effect: there is no room for this one."""

    request_id: RequestId


@dataclass(frozen=True, slots=True)
class Expire:
    """Effect: this one's time to start has passed."""

    request_id: RequestId


BatcherInput: TypeAlias = Offer | Withdraw | RunFinished
BatcherEffect: TypeAlias = Run | Refuse | Expire


@dataclass(frozen=True, slots=True)
class _Waiting:
    """One queued request: when its window closes, and when it is too late."""

    run_by: float
    window_until: float


class Batcher:
    """The queue of one lane."""

    def __init__(self, settings: BatchingSettings) -> None:
        if settings.batch_max < 1 or settings.queue_max < 1:
            raise ValueError("a lane needs room for at least one request")
        self._settings = settings
        self._waiting: OrderedDict[RequestId, _Waiting] = OrderedDict()
        self._running = False
        self._expiry = inf
        """No request expires before this. A lower bound, so that most steps need not look."""

    def __len__(self) -> int:
        """Return how many requests wait, without those running."""
        return len(self._waiting)

    def handle(self, event: BatcherInput, now: float) -> Sequence[BatcherEffect]:
        """See `Machine.handle`. An id that waits already is refused (ValueError: a bug)."""
        match event:
            case Offer():
                return self._offer(event, now)
            case Withdraw():
                self._waiting.pop(event.request_id, None)
            case RunFinished():
                assert self._running, "RunFinished without a batch running"
                self._running = False
        return self.tick(now)

    def tick(self, now: float) -> Sequence[BatcherEffect]:
        """Expire what is late; start a batch if none runs and one is due."""
        effects: list[BatcherEffect] = [*self._expire(now)]
        if self._running or not self._due(now):
            return effects
        count = min(self._settings.batch_max, len(self._waiting))
        batch = tuple(self._waiting.popitem(last=False)[0] for _ in range(count))
        self._running = True
        return [*effects, Run(batch)]

    def next_timer(self) -> float | None:
        """See `Machine.next_timer`: the next expiry, or the end of the first window."""
        if not self._waiting:
            return None
        if self._running:
            return self._expiry
        # Fewer than a batch wait on an idle lane, so this is short.
        return min(self._expiry, *(w.window_until for w in self._waiting.values()))

    def _offer(self, offer: Offer, now: float) -> Sequence[BatcherEffect]:
        if offer.request_id in self._waiting:
            raise ValueError("this request waits already")
        effects: list[BatcherEffect] = [*self._expire(now)]  # the late must not fill the queue
        if len(self._waiting) >= self._settings.queue_max:
            return [*effects, Refuse(offer.request_id)]
        window_s = min(self._settings.window_ms_max / 1000.0, (offer.run_by - now) / 2)
        self._waiting[offer.request_id] = _Waiting(offer.run_by, now + window_s)
        self._expiry = min(self._expiry, offer.run_by)
        return [*effects, *self.tick(now)]

    def _expire(self, now: float) -> list[Expire]:
        if now < self._expiry:
            return []
        late = [request_id for request_id, w in self._waiting.items() if w.run_by <= now]
        for request_id in late:
            del self._waiting[request_id]
        self._expiry = min((w.run_by for w in self._waiting.values()), default=inf)
        return [Expire(request_id) for request_id in late]

    def _due(self, now: float) -> bool:
        if len(self._waiting) >= self._settings.batch_max:
            return True
        return any(w.window_until <= now for w in self._waiting.values())
