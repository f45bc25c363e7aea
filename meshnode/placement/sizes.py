"""How much longer requests of one size run than a module's usual one, on any node.

A node publishes one time for a request of a module; requests of 1 and of 64 images are not one
time. Whoever sends them sees both sizes and times, and learns the factor for each power of two.
"""

from collections import OrderedDict
from dataclasses import dataclass
from math import exp, log

from meshnode.ids import ContentHash

GAIN = 0.1
"""How fast a factor follows, after as many measurements as make that a plain mean."""
FACTOR_MAX = 100.0
SIZES_MAX = 1024
"""Modules times sizes."""


@dataclass(slots=True)
class _Size:
    log_factor: float = 0.0
    count: int = 0


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
        size = self._sizes.pop(key, None) or _Size()
        self._sizes[key] = size
        size.count += 1
        seen = log(min(FACTOR_MAX, max(1 / FACTOR_MAX, run_ms / usual_ms)))
        size.log_factor += max(GAIN, 1 / size.count) * (seen - size.log_factor)
        while len(self._sizes) > SIZES_MAX:
            self._sizes.popitem(last=False)

    def factor(self, module: ContentHash, payload_bytes: int) -> float:
        """Return how many times the usual a request of this size runs; 1 if none was seen."""
        size = self._sizes.get((module, payload_bytes.bit_length()))
        return 1.0 if size is None else exp(size.log_factor)
