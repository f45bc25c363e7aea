"""Turns: which lanes may run a batch now. Plain bookkeeping, first come, first served.

A batch that runs models takes every core, because onnxruntime does; two of them beside each other
would only slow each other down. A batch of a pure Wasm module takes one core, so there is room for
as many of those as there are cores. See decisions/0008.
"""

from collections import deque
from collections.abc import Callable


class Turns:
    """Shares the cores among lanes."""

    def __init__(self, cores: int) -> None:
        self.cores = max(1, cores)
        self._free = self.cores
        self._waiting: deque[tuple[int, Callable[[], None]]] = deque()

    def ask(self, cores: int, start: Callable[[], None]) -> None:
        """Call `start` when so many cores are free: at once, or from a later `give_back`."""
        self._waiting.append((min(cores, self.cores), start))
        self._grant()

    def give_back(self, cores: int) -> None:
        """A batch that had its turn is done."""
        self._free += min(cores, self.cores)
        assert self._free <= self.cores, "more turns were given back than were given"
        self._grant()

    def _grant(self) -> None:
        # In order, though a small one behind a large one might fit: else a module that needs all
        # cores might never get them.
        while self._waiting and self._waiting[0][0] <= self._free:
            cores, start = self._waiting.popleft()
            self._free -= cores
            start()
