"""Promises: when somebody who was refused should come again, so that he then finds a place.

What is refused together would come back together if all were told the same; so each is given a
place of its own behind those that were told before. Every flow has its own row of places, beside
those of the others: who comes again and again without waiting only makes his own time longer, and
that is bounded.
"""

from collections import OrderedDict
from collections.abc import Hashable

FLOWS_MAX = 256
AGAIN_S_MAX = 30.0
"""Nobody is told to wait longer: until then everything has changed."""
AGAIN_S_MIN = 0.001


class Promises:
    """Places promised to those who were refused."""

    def __init__(self) -> None:
        self._until: OrderedDict[Hashable, float] = OrderedDict()
        """By flow: until when its places are promised."""

    def __len__(self) -> int:
        return len(self._until)

    def again_s(self, flow: Hashable, earliest_s: float, each_s: float, now: float) -> float:
        """Return in how many seconds to come again.

        There is room after `earliest_s` for a first one, and for one more each `each_s`, whosever
        it is.
        """
        before = self._until.pop(flow, 0.0)
        self._until = OrderedDict((f, until) for f, until in self._until.items() if until > now)
        others = len(self._until)
        latest = now + AGAIN_S_MAX
        first = now + max(AGAIN_S_MIN, earliest_s) + (0.0 if before > now else others * each_s)
        at = min(latest, max(first, before))
        self._until[flow] = min(latest, at + each_s * (others + 1))
        while len(self._until) > FLOWS_MAX:
            self._until.popitem(last=False)
        return at - now
