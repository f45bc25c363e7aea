"""What a bench yields: samples of one figure, the baseline they are compared with, and a table."""

import statistics
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from time import perf_counter

Work = Callable[[], object]
HEAD = (
    f"  {'figure':<44}{'unit':>5} {'min':>9} {'p50':>9} {'p99':>9} {'n':>5}  against its baseline"
)
TIMES = ("us", "ms")
TAIL_SAMPLES_MIN = 30
"""With fewer a 99th percentile is only the largest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure."""

    what: str
    unit: str
    samples: Sequence[float]
    baseline: "Row | None" = None
    """Measured in the same minute, mostly interleaved with this."""
    note: str = ""

    @property
    def p50(self) -> float:
        """The median."""
        return statistics.median(self.samples)

    @property
    def ratio(self) -> float | None:
        """This median over the baseline's."""
        return self.p50 / self.baseline.p50 if self.baseline and self.baseline.p50 else None

    @property
    def p99(self) -> float:
        """The 99th percentile."""
        return _p99(sorted(self.samples))

    def facts(self) -> dict[str, object]:
        """Return the row as JSON has it."""
        ordered, base = sorted(self.samples), self.baseline
        return {
            "what": self.what,
            "unit": self.unit,
            "n": len(ordered),
            "min": ordered[0],
            "mean": statistics.fmean(ordered),
            "p50": self.p50,
            "p99": _p99(ordered),
            "max": ordered[-1],
            "baseline": base.what if base else None,
            "ratio": self.ratio,
            "difference_p50": self.p50 - base.p50 if base else None,
            "difference_p99": self.p99 - base.p99 if base else None,
            "note": self.note,
        }

    def line(self) -> str:
        """Return the row as the table has it."""
        ordered = sorted(self.samples)
        numbers = "".join(f" {_short(v):>9}" for v in (ordered[0], self.p50, _p99(ordered)))
        against = ""
        if self.baseline is not None and self.ratio is not None:
            apart = _short(self.p50 - self.baseline.p50, "+")
            if self.unit in TIMES and len(ordered) >= TAIL_SAMPLES_MIN:
                apart += f", p99 {_short(self.p99 - self.baseline.p99, '+')}"
            against = f"x{self.ratio:.3g} ({apart}) of {self.baseline.what}"
        tail = "; ".join(part for part in (against, self.note) if part)
        return f"  {self.what:<44}{self.unit:>5}{numbers} {len(ordered):>5}  {tail}".rstrip()


def interleaved(
    works: Mapping[str, Work],
    *,
    rounds: int,
    budget_s: float,
    warm_up: int = 3,
    per_s: float = 1000,
    warm_each: bool = False,
) -> dict[str, list[float]]:
    """Time each work once a round, in turn, until the rounds or the budget are over.

    In ms, or whatever `per_s` makes of seconds. With `warm_each` a run that is not timed goes
    before each that is: otherwise whoever comes first in a round pays for loading the weights.
    """
    for work in list(works.values()) * warm_up:
        work()
    times: dict[str, list[float]] = {name: [] for name in works}
    ends = perf_counter() + budget_s
    for _ in range(rounds):
        for name, work in works.items():
            if warm_each:
                work()
            times[name].append(timed(work) * per_s)
        if perf_counter() > ends:
            break
    return times


def timed(work: Work) -> float:
    """Return how long a work takes, in s."""
    started = perf_counter()
    work()
    return perf_counter() - started


def rates(works: Sequence[Work], *, seconds: float, slices: int = 8) -> list[float]:
    """Repeat each work in a thread of its own; return how many ended a second, slice by slice.

    The first failure of any of them is raised.
    """
    ended: list[float] = []
    failures: list[Exception] = []
    started = perf_counter()

    def repeat(work: Work) -> None:
        try:
            while perf_counter() - started < seconds and not failures:
                work()
                ended.append(perf_counter() - started)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=repeat, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    width = seconds / slices
    return [sum(i * width <= t < (i + 1) * width for t in ended) / width for i in range(slices)]


def _p99(ordered: Sequence[float]) -> float:
    return ordered[max(0, ceil(len(ordered) * 0.99) - 1)]


def _short(value: float, sign: str = "") -> str:
    size = abs(value)
    digits = 0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 1 else 3
    return f"{value:{sign},.{digits}f}"
