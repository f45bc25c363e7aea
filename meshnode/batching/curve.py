"""ServiceCurve: what a batch of n rows takes on this machine, learned from the batches it ran.

Two things are kept apart, because they change at different speeds:

- `level_s`, what a row costs now: the median of the last few batches. It follows a machine that is
  shared, hot or throttled within three batches, and a single stalled batch does not move it.
- The shape: what a row costs in each size class (1, 2, 3-4, 5-8, ... rows) in terms of the class
  the batches stand on, the reference. It is a median of ratios, each taken against the level of
  its own moment, so that a size measured in a busy second is not held to be a bad size.

Through the classes goes a line, `level * (fixed + each * n)`, by least squares: it tells the sizes
that were not measured. The classes, not the line, say what pays: where a cache ends, the truth is
no line.
"""

from collections import deque
from dataclasses import dataclass, field
from statistics import median

RECENT = 5
"""Batches that make the level."""
KEPT = 9
"""Batches that a class remembers; its ratio moves when five agree."""
ANCHOR = 24
"""A ratio is only taken while the reference was measured within so many batches."""
SURE_AFTER = 8
"""Batches, after which the curve may be used to refuse work."""
HALF_LIFE = 64
"""A class weighs half as much in the line for so many batches in which it was not met."""


@dataclass(slots=True)
class SizeClass:
    """The batches of one size class."""

    rows: deque[int] = field(default_factory=lambda: deque(maxlen=KEPT))
    ratios: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))
    """What a row cost in each, over the level."""
    ratio: float = 1.0
    """Their median."""
    last: int = 0
    """The number of the batch that was measured last."""

    @property
    def doubtful(self) -> float:
        """The ratio that three quarters of its batches kept below."""
        return sorted(self.ratios)[3 * self.count // 4]

    @property
    def count(self) -> int:
        """How many batches are remembered."""
        return len(self.ratios)


class ServiceCurve:
    """How long a batch takes, by its rows."""

    def __init__(self) -> None:
        self.classes: dict[int, SizeClass] = {}
        """By `class_of`."""
        self.level_s = 0.0
        """What a row costs now in the reference class; 0 while nothing is known."""
        self.batches = 0
        """Batches measured so far, the first one included."""
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._reference: int | None = None
        self._anchored = 0
        self._fixed = 0.0
        self._each = 1.0

    @property
    def sure(self) -> bool:
        """Whether enough was measured to refuse work by it."""
        return self.batches >= SURE_AFTER

    @property
    def fixed_s(self) -> float:
        """What any batch takes, however small: the part that batching saves."""
        return self.level_s * self._fixed

    @property
    def each_s(self) -> float:
        """What one more row adds."""
        return self.level_s * self._each

    def seconds(self, rows: int) -> float:
        """Return the expected time of a batch; 0 while nothing is known."""
        return self.level_s * (self._fixed + self._each * rows) if rows > 0 else 0.0

    def learn(self, rows: int, took_s: float) -> None:
        """Take one measured batch. The first is only counted: it met cold caches."""
        self.batches += 1
        if self.batches == 1:
            return
        each_s, class_ = max(took_s, 1e-9) / rows, class_of(rows)
        if self._reference is None:
            self._reference, self.level_s = class_, each_s
        known = self.classes.setdefault(class_, SizeClass())
        known.last = self.batches
        if class_ == self._reference:
            self._anchored = self.batches
            known.rows.append(rows)
            known.ratios.append(1.0)
            self._recent.append(each_s)
        else:
            if self.batches - self._anchored <= ANCHOR or not known.count:
                known.rows.append(rows)
                known.ratios.append(each_s / self.level_s)
                known.ratio = median(known.ratios)
            self._recent.append(each_s / known.ratio)
        self.level_s = median(self._recent)
        self._fit()

    def refer_to(self, class_: int) -> None:
        """Make another class, which was measured, the reference."""
        if class_ == self._reference:
            return
        factor = self.classes[class_].ratio
        for known in self.classes.values():
            known.ratios = deque((r / factor for r in known.ratios), maxlen=KEPT)
            known.ratio /= factor
        new = self.classes[class_]
        new.ratios, new.ratio = deque([1.0] * new.count, maxlen=KEPT), 1.0
        self._recent = deque((s * factor for s in self._recent), maxlen=RECENT)
        self.level_s *= factor
        self._reference, self._anchored = class_, self.batches
        self._fit()

    def _fit(self) -> None:
        """Fit the line to the classes. With one class no gain from batching is assumed."""
        points = [
            (sum(c.rows) / c.count, c.ratio, 0.5 ** ((self.batches - c.last) / HALF_LIFE))
            for c in self.classes.values()
        ]
        total = sum(w for _, _, w in points)
        n = sum(w * x for x, _, w in points) / total
        took = sum(w * x * ratio for x, ratio, w in points) / total
        slope = took / n
        spread = sum(w * (x - n) ** 2 for x, _, w in points)
        if spread > 1e-9:
            slope = sum(w * (x - n) * (x * ratio - took) for x, ratio, w in points) / spread
        self._each = min(max(slope, 0.0), took / n)
        self._fixed = max(0.0, took - self._each * n)


def class_of(rows: int) -> int:
    """Return the number of the size class: 0 for one row, then doubling."""
    return max(rows - 1, 0).bit_length()
