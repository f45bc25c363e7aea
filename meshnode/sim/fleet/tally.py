"""Tally: what is counted of a run, after its warm-up."""

from collections import Counter
from dataclasses import dataclass, field
from statistics import fmean, pvariance

WINDOW_S = 0.1
UNANSWERED_MS = 10_000.0
"""What a request counts that was never answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One run in numbers."""

    policy: str
    nodes: int
    load: float
    """Offered over capacity."""
    capacity_per_s: float
    offered_per_s: float
    answered_per_s: float
    goodput_per_s: float
    """Answered within the SLA."""
    p50_ms: float
    p99_ms: float
    p999_ms: float
    slowest_ms: float
    late_share: float
    """Of the offered ones: over the SLA, refused or unanswered."""
    refused: int
    """At the door, or because their time ran out."""
    lost: int
    """Neither answered nor refused, though there was time."""
    requests: int
    hottest: float
    """The busiest node's utilisation."""
    hottest_p99_ms: float
    """p99 of what the busiest node was asked."""
    dispersion: float
    """Variance over mean of arrivals in 100 ms, per server; 1 is Poisson, more is herding."""
    stays: float
    """Share of frames that went where their camera's last one did."""
    messages_per_s: float
    """Of control, for each node."""
    bytes_per_s: float
    """Of control messages, for each node."""
    carried_per_s: float
    """Bytes of records and prices on requests and answers, for each node."""
    corrected: dict[str, float] = field(default_factory=dict)
    """By kind, for each request: refusals, moves and the like."""
    took_s: float = 0.0

    @property
    def control_per_s(self) -> float:
        """Bytes of control for each node, with everything counted."""
        return self.bytes_per_s + self.carried_per_s


@dataclass(slots=True)
class Tally:
    """Counts while a run goes on."""

    begins: float
    ends: float
    latencies: list[float] = field(default_factory=list)
    by_server: dict[int, list[float]] = field(default_factory=dict)
    offered: int = 0
    refused: int = 0
    messages: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    marks: Counter[str] = field(default_factory=Counter)
    windows: dict[int, Counter[int]] = field(default_factory=dict)
    stayed: int = 0
    answered: int = 0
    _last: dict[str, int] = field(default_factory=dict)

    def arrived(self, server: int, now: float) -> None:
        """A server was given a request."""
        if self.begins <= now < self.ends:
            self.windows.setdefault(server, Counter())[int((now - self.begins) / WINDOW_S)] += 1

    def answer(self, camera: str, server: int, born: float, now: float) -> None:
        """A request was answered."""
        if self.begins <= born < self.ends:
            took_ms = (now - born) * 1000
            self.latencies.append(took_ms)
            self.by_server.setdefault(server, []).append(took_ms)
            self.answered += 1
            self.stayed += self._last.get(camera) == server
        self._last[camera] = server

    def message(self, kind: str, size: int, now: float) -> None:
        """A control message was sent."""
        if self.begins <= now < self.ends:
            self.messages[kind] += 1
            self.bytes[kind] += size

    def carried(self, size: int, now: float) -> None:
        """A record rides on a request or an answer."""
        if self.begins <= now < self.ends:
            self.bytes["carried"] += size

    def mark(self, what: str, now: float) -> None:
        """Something else that is worth counting."""
        if self.begins <= now < self.ends:
            self.marks[what] += 1

    def dispersion(self, seconds: float) -> float:
        """Return the mean of the servers' variance over mean, weighted by what they were given."""
        count = int(seconds / WINDOW_S)
        weights = total = 0.0
        for counts in self.windows.values():
            row = [counts.get(i, 0) for i in range(count)]
            mean = fmean(row)
            if mean > 0:
                weights += mean
                total += pvariance(row, mean)
        return total / weights if weights else 0.0


def quantile(ordered: list[float], share: float) -> float:
    """Return a quantile of values in order; 0 if there are none."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
