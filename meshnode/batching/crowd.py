"""Crowd: whether more waits at a machine than can be held, in all its queues together.

It is when what waits takes half of the most hurried one's time: from there on some would be late if
the oldest were always next. A queue that has the machine for itself half of the time knows only its
own half.
"""

from collections.abc import Callable
from typing import TypeAlias

CROWDED = 0.5
Pressure: TypeAlias = Callable[[float], tuple[float, float]]
"""Given `now`, returns how many seconds of work are in a queue, and in how many the most hurried
request there has to start; infinite if nothing waits."""


class Crowd:
    """The queues of one machine."""

    def __init__(self) -> None:
        self._queues: list[Pressure] = []

    def joined(self, queue: Pressure) -> None:
        """A queue was opened."""
        self._queues.append(queue)

    def left(self, queue: Pressure) -> None:
        """A queue was closed."""
        self._queues.remove(queue)

    def is_too_much(self, now: float) -> bool:
        """Return whether more waits than can be held."""
        pressures = [queue(now) for queue in self._queues]
        work_s = sum(work for work, _ in pressures)
        return work_s > CROWDED * min((left for _, left in pressures), default=0.0)
