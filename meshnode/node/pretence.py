"""Pretence: a device that plays a slower one, for demonstrations and benchmarks."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Pretence:
    """How slow it plays."""

    slowdown: float = 1.0
    """Every run takes this many times as long."""
    run_s: float = 0.0
    """And at least so long."""

    def extra_s(self, run_us: int) -> float:
        """Return how much longer than it took a run is made to seem."""
        took_s = run_us / 1e6
        return max(took_s * self.slowdown, self.run_s) - took_s


REAL = Pretence()
