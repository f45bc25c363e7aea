"""The wait that requests met at this node, beside the mean over time.

Where requests come at random the two are the same. Where one is sent when the one before was
answered, all meet nothing, though the node is never idle.
"""

from math import exp, inf, sqrt

WAIT_MEMORY_S = 2.0
"""Time constant of the published mean and sigma of w."""
LESS = 0.5
"""What requests met counts if it is less than this share of the mean over time: else the two are
the same but for noise, and the mean over time has less of that."""
SHARE_MIN = 0.005
"""Of one request, when many come at once."""


class Met:
    """Moments of the waits that the last requests met."""

    def __init__(self) -> None:
        self._at = -inf
        self._mean_ms = 0.0
        self._square_ms = 0.0

    def asked(self, wait_ms: float, now: float) -> None:
        """A request came, whether it is taken or not."""
        share = max(SHARE_MIN, 1.0 - exp((self._at - now) / WAIT_MEMORY_S))
        self._at = now
        self._mean_ms += share * (wait_ms - self._mean_ms)
        self._square_ms += share * (wait_ms * wait_ms - self._square_ms)

    def expected(self, mean_ms: float, square_ms: float) -> tuple[float, float]:
        """Return mean and sigma of what a request will meet, given the moments over time."""
        if self._at > -inf and self._mean_ms < LESS * mean_ms:
            mean_ms, square_ms = self._mean_ms, self._square_ms
        return mean_ms, sqrt(max(0.0, square_ms - mean_ms * mean_ms))
