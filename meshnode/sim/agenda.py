"""Agenda: what is due in a world, in order of time and then of coming.

One heap of tens of thousands of entries walks through cold memory at each push. Nearly all of what
is pushed lies further ahead than a millisecond: it waits unsorted in the list of its moment, and
only the moment that has come is a heap.
"""

from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")
MOMENTS_PER_S = 1024


class Agenda(Generic[ItemT]):
    """Entries are (when, order, item); the orders are all different, so items are not compared."""

    def __init__(self) -> None:
        self._moment = -1
        """The moment that has come."""
        self._now: list[tuple[float, int, ItemT]] = []
        """A heap: everything of that moment and, pushed late, of earlier ones."""
        self._later: dict[int, list[tuple[float, int, ItemT]]] = {}
        self._moments: list[int] = []
        """A heap of the keys of `_later`."""
        self._count = 0

    def __len__(self) -> int:
        """Return how many entries there are."""
        return self._count

    def push(self, when: float, order: int, item: ItemT) -> None:
        """Add an entry."""
        self._count += 1
        moment = int(when * MOMENTS_PER_S)
        if moment <= self._moment:
            heappush(self._now, (when, order, item))
            return
        waiting = self._later.get(moment)
        if waiting is None:
            self._later[moment] = [(when, order, item)]
            heappush(self._moments, moment)
        else:
            waiting.append((when, order, item))

    def pop(self, until: float) -> tuple[float, int, ItemT] | None:
        """Take the first entry off, or return None if it lies after `until`."""
        now = self._now
        if not now:
            if not self._moments or self._moments[0] > until * MOMENTS_PER_S:
                return None
            self._moment = heappop(self._moments)
            now = self._now = self._later.pop(self._moment)
            heapify(now)
        if now[0][0] > until:
            return None
        self._count -= 1
        return heappop(now)
