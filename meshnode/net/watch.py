"""One task that keeps the time of any number of connections: deadlines, idling, stalls, keys.

A task for each connection would cost every idle peer 4 KB.
"""

from math import inf
from typing import Protocol

import trio


class Watched(Protocol):
    """A connection, as the watch sees it."""

    def tick(self, now: float) -> float:
        """Do what is due; return when to be asked again, later than `now`."""
        ...


class Watch:
    """Ticks each connection when its time has come; `run` must be going."""

    def __init__(self) -> None:
        self._due: dict[Watched, float] = {}
        self._wakes_at = inf
        self._earlier = trio.Event()

    def __len__(self) -> int:
        return len(self._due)

    def add(self, connection: Watched, first: float) -> None:
        """Begin with a connection, whose first tick is due at `first`."""
        self._due[connection] = inf
        self.wake_by(connection, first)

    def remove(self, connection: Watched) -> None:
        """Leave a connection alone."""
        self._due.pop(connection, None)

    def wake_by(self, connection: Watched, time: float) -> None:
        """Something of this connection is due at `time`."""
        if time < self._due.get(connection, 0.0):
            self._due[connection] = time
            if time < self._wakes_at:
                self._wakes_at = time
                self._earlier.set()

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            self._earlier = trio.Event()
            with trio.move_on_at(self._wakes_at):
                await self._earlier.wait()
                continue
            self._tick(trio.current_time())

    def _tick(self, now: float) -> None:
        for connection, due in list(self._due.items()):
            if due <= now and connection in self._due:
                self._due[connection] = connection.tick(now)
        self._wakes_at = min(self._due.values(), default=inf)
