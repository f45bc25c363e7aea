"""Portions: who had how much lately, to tell a source that asks too much from one that is unlucky.

Amounts fade with a time constant of seconds. A source is over its share if others had some of it
too, and it had clearly more than an even part: then it is refused for what it asks itself, and else
because nobody's work finds room.
"""

from collections import OrderedDict
from collections.abc import Hashable
from math import exp

MEMORY_S = 5.0
SHARERS_MAX = 256
LEAST = 0.02
"""Who had less than this part of all does not count as one who shares."""
CLEARLY = 1.25
"""Times an even part; below it, it is chance."""


class Portions:
    """What each sharer had, as of when it had it last. Times are `now` in seconds."""

    def __init__(self) -> None:
        self._had: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._had)

    def had(self, sharer: Hashable, amount: float, now: float) -> None:
        """Somebody was given something: run time, or a request's passage."""
        before, at = self._had.pop(sharer, (0.0, now))
        self._had[sharer] = before * exp(-max(0.0, now - at) / MEMORY_S) + amount, now
        while len(self._had) > SHARERS_MAX:
            self._had.popitem(last=False)

    def is_over(self, sharer: Hashable, now: float) -> bool:
        """Return whether somebody had clearly more than an even part of what was shared lately."""
        left = {
            each: amount * exp(-max(0.0, now - at) / MEMORY_S)
            for each, (amount, at) in self._had.items()
        }
        total = sum(left.values())
        sharers = sum(amount > LEAST * total for amount in left.values())
        return sharers > 1 and left.get(sharer, 0.0) * sharers > CLEARLY * total
