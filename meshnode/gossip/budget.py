"""Budget: the bytes a node may send for gossip in any one second, counted over a sliding window.

A bucket that saves up lets a second go out that is as large as what was saved; here no second is
larger than another, wherever it begins. Probes and their answers are small and must not wait, so
two fifths of the second are kept for them: while they are refused, who waits for them accuses us.
But they may not take more than three quarters: a node that two hundred newcomers ping must still be
able to tell them of each other. All else is only composed while there is room, and what waits for
room is bounded where it waits.
"""

from collections import deque
from math import inf

WINDOW_S = 1.0
BULK_SHARE = 0.6
URGENT_SHARE = 0.75
ROUNDING_S = 1e-6


class Budget:
    """`bytes_per_s` in any second; infinity is no limit. Each message counts with `headers_bytes`
    more than its own.
    """

    def __init__(self, bytes_per_s: float, *, headers_bytes: int = 0) -> None:
        self.headers_bytes = headers_bytes
        self._bytes_max = bytes_per_s * WINDOW_S
        self._bulk_max = self._bytes_max * BULK_SHARE
        self._urgent_max = self._bytes_max * URGENT_SHARE
        self._sent: deque[tuple[float, int, bool]] = deque()
        """When, how many bytes, and whether they were urgent: the last second's, oldest first. A
        datagram has at least a hundred bytes, so there are eighty."""
        self._bulk = self._urgent = 0
        """Their sums."""
        self._seen_at = -inf
        self.refused = 0
        """Messages that were not sent for want of room."""

    def room(self, now: float) -> float:
        """Return how many bytes of one message that may wait can be sent now."""
        self._expire(now)
        return self._room(self._bulk, self._bulk + self._urgent)

    def is_plenty(self, now: float) -> bool:
        """Return whether less than half of what may wait was sent in the last second."""
        return self.room(now) > self._bulk_max / 2

    def charge(self, size: int, now: float) -> None:
        """Count bytes that are sent after a look at `room`."""
        size += self.headers_bytes
        self._bulk += size
        self._sent.append((now, size, False))

    def spare(self, size: int, now: float) -> bool:
        """Count bytes that may be left out, if there is room for them; return whether there was."""
        if self.room(now) < size:
            self.refused += 1
            return False
        self.charge(size, now)
        return True

    def urgent(self, size: int, now: float) -> bool:
        """Count bytes that must not wait; False if the second, or their part of it, is used up."""
        self._expire(now)
        size += self.headers_bytes
        total = self._bulk + self._urgent
        if min(self._urgent_max - self._urgent, self._bytes_max - total) < size:
            self.refused += 1
            return False
        self._urgent += size
        self._sent.append((now, size, True))
        return True

    def when(self, size: int, now: float) -> float:
        """Return when there will be room for so many bytes that may wait."""
        room = self.room(now)
        bulk, total = self._bulk, self._bulk + self._urgent
        for at, sent, urgent in self._sent:
            if room >= size:
                break
            total -= sent
            bulk -= 0 if urgent else sent
            room = self._room(bulk, total)
            now = max(now, at + WINDOW_S)
        return now

    def _room(self, bulk: int, total: int) -> float:
        return min(self._bulk_max - bulk, self._bytes_max - total) - self.headers_bytes

    def _expire(self, now: float) -> None:
        """Forget what was sent a second ago."""
        if now < self._seen_at - ROUNDING_S:  # the clock was set back, and with it what we remember
            back = self._seen_at - now
            self._sent = deque((at - back, size, urgent) for at, size, urgent in self._sent)
        self._seen_at = now
        sent = self._sent
        while sent and sent[0][0] <= now - WINDOW_S:
            _, size, urgent = sent.popleft()
            if urgent:
                self._urgent -= size
            else:
                self._bulk -= size
