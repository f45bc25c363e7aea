"""The host's room in a guest's memory.

A guest that exports `alloc` gives it; in any other the host grows the memory by pages of its own.
The room is kept between calls and only ever grows, by doubling, so that 10^5 calls leave the memory
as large as the first ones made it.
"""

from meshnode.errors import MeshnodeError, OutputLimit
from meshnode.runtime.abi import PAGE_BYTES
from meshnode.runtime.binding import NoMemory
from meshnode.runtime.sandbox import Sandbox

ALIGN = 64
"""A cache line: no kernel of onnxruntime or SIMD loop wants more."""


class Arena:
    """The host's room in the guest's memory."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._pointer = 0
        self._size = 0
        self.start = 0
        """Where the room begins, aligned."""

    def reserve(self, size: int) -> int:
        """Return the aligned address of at least this many bytes, or raise MemoryLimit."""
        size += ALIGN
        if size > self._size:
            wanted = max(size, 2 * self._size, PAGE_BYTES)
            try:
                self._take(wanted)
            except MeshnodeError:
                if wanted == size:
                    raise
                self._take(size)  # doubling was too much, the request itself may fit
            self.start = aligned(self._pointer)
        return self.start

    def _take(self, size: int) -> None:
        pages = -(-size // PAGE_BYTES)
        if self._sandbox.has("alloc"):
            pointer = self._sandbox.call("alloc", size) & 0xFFFF_FFFF
            if not pointer or self._sandbox.memory.slice(pointer, size) is None:
                raise self._sandbox.no_memory(size)
            self._pointer, self._size = pointer, size
            return
        memory = self._sandbox.memory
        # The room at the end of memory can be extended where it lies.
        at_end = self._size and self._pointer + self._size == memory.size
        more = pages - self._size // PAGE_BYTES if at_end else pages
        try:
            start = memory.grow(more)
        except NoMemory as error:
            raise self._sandbox.no_memory(size) from error
        self._pointer = self._pointer if at_end else start
        self._size = pages * PAGE_BYTES


def aligned(size: int) -> int:
    """Return a size, rounded up to whole lines."""
    return -(-size // ALIGN) * ALIGN


def too_much(size: int, sandbox: Sandbox) -> OutputLimit:
    """Return the error for outputs of so many bytes."""
    return OutputLimit(f"the outputs take {size} bytes, the limit is {sandbox.limits.output_bytes}")
