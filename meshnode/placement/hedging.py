"""How many requests may be sent twice: hedging is load, and most harmful where there is most of it.

A token bucket of shares, as in "The Tail at Scale" (Dean and Barroso 2013): a second copy is worth
little more than its cost where a few in a hundred are late, and makes a slow mesh slower where all
are.
"""

SHARE = 0.1
"""Of the requests for which hedging was asked, so many may be sent twice."""
BURST = 10.0
"""So many at once, after a quiet while."""


class HedgeBudget:
    """What is left for second copies."""

    def __init__(self) -> None:
        self._left = BURST

    def began(self) -> None:
        """A request began that may be hedged."""
        self._left = min(BURST, self._left + SHARE)

    def take(self) -> bool:
        """Return whether one more may be sent twice, and count it."""
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
