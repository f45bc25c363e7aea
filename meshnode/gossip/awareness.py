"""Lifeguard's local health multiplier: a node that is slow itself gives others more time.

0 is healthy. A failed probe whose helpers were not heard of either, a late timer and having to
refute raise it; acks lower it. Every timeout is multiplied by the score plus one.
"""


class Awareness:
    """The score of this node's own health."""

    def __init__(self, score_max: int) -> None:
        self._score_max = score_max
        self.score = 0

    def worse(self, by: int = 1) -> None:
        """Something went wrong that may be our own fault."""
        self.score = min(self._score_max, self.score + by)

    def better(self) -> None:
        """A probe was acked in time."""
        self.score = max(0, self.score - 1)

    def scaled(self, timeout_s: float) -> float:
        """Return a timeout for a node in our condition."""
        return timeout_s * (self.score + 1)
