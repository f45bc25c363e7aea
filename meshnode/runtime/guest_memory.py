"""A guest's linear memory, as bytes that the host may touch: every access is checked first.

Which of wasmtime's interfaces tells its length, and where it lies, is the business of a binding.
"""

from abc import ABC, abstractmethod

import numpy as np

from meshnode.runtime.abi import PAGE_BYTES


class NoMemory(Exception):
    """The limiter refused pages that the host asked for in the guest's memory."""


class GuestMemory(ABC):
    """The guest's linear memory as bytes; every access is checked against its current length."""

    def __init__(self) -> None:
        self._view = np.empty(0, np.uint8)
        self._closed = False
        self.base = 0
        """Its address in this process; it never moves. 0 while the memory has no bytes."""
        self._refresh()

    @property
    def size(self) -> int:
        """Its length in bytes, now; 0 once the instance was closed."""
        return 0 if self._closed else self._length()

    @abstractmethod
    def _length(self) -> int:
        """Return the length in bytes."""

    @abstractmethod
    def _bytes(self, size: int) -> tuple[int, memoryview]:
        """Return the address and a writable view of the first `size` bytes."""

    @abstractmethod
    def _grow(self, pages: int) -> int:
        """Add pages and return how many there were, or raise NoMemory."""

    def slice(self, pointer: int, size: int) -> np.ndarray | None:
        """Return a writable view of `size` bytes at `pointer`, or None if any lies outside.

        Touching memory beyond its length would be a real segmentation fault.
        """
        end = pointer + size
        if end > len(self._view):
            # Memory only grows and never moves, so a length once seen stays good.
            self._refresh()
            if end > len(self._view):
                return None
        return self._view[pointer:end]

    def grow(self, pages: int) -> int:
        """Add pages for the host's own use and return where they begin, or raise NoMemory."""
        assert not self._closed, "the instance was closed"
        return self._grow(pages) * PAGE_BYTES

    def close(self) -> None:
        """The instance is about to go: nothing lies inside any more."""
        self._closed = True
        self._view = np.empty(0, np.uint8)

    def _refresh(self) -> None:
        size = self.size
        if size:
            base, view = self._bytes(size)
            assert self.base in (0, base), "the engine's memories do not move"
            self.base = base
            self._view = np.frombuffer(view, dtype=np.uint8)
