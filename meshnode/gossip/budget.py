"""Budget: the bytes a node may send for gossip, as a token bucket.

Probes and their answers are small and must not wait, so they may overdraw it by a second's worth,
but not take more than half of the rate where it is scarce: a node that two hundred newcomers ping
must still be able to tell them of each other. All else is only composed while there is room, and
what waits for room is bounded where it waits.
"""

from math import inf


class Budget:
    """`rate` bytes a second, `burst` saved up at most; a rate of infinity is no limit."""

    def __init__(self, *, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._urgent = rate
        """What urgent messages have left of their half."""
        self._seen_at = -inf
        self.refused = 0
        """Messages that were not sent for want of room."""

    def room(self, now: float) -> float:
        """Return how many bytes may be sent at once now."""
        self._refill(now)
        return self._tokens

    def charge(self, size: int, now: float) -> None:
        """Count bytes that are sent after a look at `room`."""
        self._refill(now)
        self._tokens -= size

    def spare(self, size: int, now: float) -> bool:
        """Count bytes that may be left out, if there is room for them; return whether there was."""
        self._refill(now)
        if self._tokens < size:
            self.refused += 1
            return False
        self._tokens -= size
        return True

    def urgent(self, size: int, now: float) -> bool:
        """Count bytes that must not wait; False if the overdraft, or their half, is used up."""
        self._refill(now)
        plenty = self._tokens >= self._burst / 2
        if not plenty and min(self._urgent, self._tokens + self._rate) < size:
            self.refused += 1
            return False
        self._tokens -= size
        self._urgent = max(0.0, self._urgent - size)
        return True

    def when(self, size: int, now: float) -> float:
        """Return when there will be room for so many bytes."""
        self._refill(now)
        return now + max(0.0, size - self._tokens) / self._rate

    def _refill(self, now: float) -> None:
        if self._seen_at == -inf:
            self._seen_at = now
        else:
            gained = max(0.0, now - self._seen_at) * self._rate
            self._tokens = min(self._burst, self._tokens + gained)
            self._urgent = min(self._rate, self._urgent + gained / 2)
            self._seen_at = now  # also if the clock was set back
