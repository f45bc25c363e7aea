"""How much longer requests of one size run than their rows say, on any node.

A node publishes what one row takes and what each further one adds. Where a module has no rows, or
what they take is no straight line, whoever sends its requests sees sizes and times, and learns what
is left as a factor for each power of two of the bytes.
"""

from collections import OrderedDict
from dataclasses import dataclass
from math import exp, log

from meshnode.ids import ContentHash

GAIN = 0.05
"""How fast a factor follows, after as many measurements as make that a plain mean."""
USUAL = log(1.6)
"""A first measurement no further off is noise until more say so; one that is, is taken."""
DOUBT = 4
"""So many measurements weigh as much as the assumption that the rows say it all."""
EARLY = 3
STEP_MAX = 0.5
"""One run moves a factor as if it had been off by no more than this, in logarithms."""
FACTOR_MAX = 100.0
SIZES_MAX = 1024
"""Modules times sizes."""


@dataclass(slots=True)
class _Size:
    log_factor: float = 0.0
    count: int = DOUBT


class Sizes:
    """Factors by module and size; the least recently learned are forgotten first."""

    def __init__(self) -> None:
        self._sizes: OrderedDict[tuple[ContentHash, int], _Size] = OrderedDict()

    def learn(
        self, module: ContentHash, payload_bytes: int, run_ms: float, usual_ms: float
    ) -> None:
        """A request of so many bytes ran alone for `run_ms` where a usual one takes `usual_ms`."""
        if run_ms <= 0.0 or usual_ms <= 0.0:
            return
        key = module, payload_bytes.bit_length()
        size = self._sizes.pop(key, None)
        seen = log(min(FACTOR_MAX, max(1 / FACTOR_MAX, run_ms / usual_ms)))
        if size is None:
            size = _Size() if abs(seen) <= USUAL else _Size(seen, 1)
        elif size.count <= EARLY and seen < size.log_factor - USUAL:
            size = _Size(seen, 1)  # those before met cold caches
        else:
            size.count += 1
            step = min(STEP_MAX, max(-STEP_MAX, seen - size.log_factor))
            size.log_factor += max(GAIN, 1 / size.count) * step
        self._sizes[key] = size
        while len(self._sizes) > SIZES_MAX:
            self._sizes.popitem(last=False)

    def factor(self, module: ContentHash, payload_bytes: int) -> float:
        """Return how many times the usual a request of this size runs; 1 if none was seen."""
        size = self._sizes.get((module, payload_bytes.bit_length()))
        return 1.0 if size is None else exp(size.log_factor)
