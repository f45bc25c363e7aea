"""A cursor over the bytes of one Wasm section; every read is bounds-checked.

WebAssembly Core Specification 2.0, chapter 5.
"""

from meshnode.errors import MalformedModule
from meshnode.modules.sections import read_leb

NAME_BYTES_MAX = 1024
"""Of an import or export; toolchains mangle names up to some hundreds."""


class Reader:
    """Walks forward through a section; raises MalformedModule naming the section."""

    __slots__ = ("_data", "_what", "position")

    def __init__(self, data: memoryview, what: str) -> None:
        self._data = data
        self._what = what
        self.position = 0

    @property
    def data(self) -> memoryview:
        """The whole section's payload."""
        return self._data

    def byte(self) -> int:
        """Return the next byte."""
        if self.position >= len(self._data):
            raise self.wrong("is cut off")
        self.position += 1
        return self._data[self.position - 1]

    def take(self, size: int) -> bytes:
        """Return a copy of the next `size` bytes."""
        end = self.position + size
        if end > len(self._data):
            raise self.wrong("is cut off")
        self.position, start = end, self.position
        return bytes(self._data[start:end])

    def u32(self) -> int:
        """Return the next LEB128 number."""
        value, self.position = read_leb(self._data, self.position, len(self._data))
        return value

    def u32s(self, count: int) -> tuple[int, ...]:
        """Return the next `count` LEB128 numbers."""
        short = bytes(self._data[self.position : self.position + count])
        if len(short) == count and short.isascii():  # each has one byte, as is usual
            self.position += count
            return tuple(short)
        return tuple(self.u32() for _ in range(count))

    def count(self, most: int, what: str) -> int:
        """Return a vector's length, or raise if it is more than `most`."""
        value = self.u32()
        if value > most:
            raise MalformedModule(f"the module has {value} {what}, at most {most} are accepted")
        return value

    def name(self) -> str:
        """Return a length-prefixed UTF-8 name."""
        size = self.u32()
        if size > NAME_BYTES_MAX:
            raise self.wrong(f"has a name of {size} bytes")
        try:
            return self.take(size).decode()
        except UnicodeDecodeError as error:
            raise self.wrong("has a name that is not UTF-8") from error

    def end(self) -> None:
        """Raise unless everything was consumed."""
        if self.position != len(self._data):
            raise self.wrong("has bytes after its last entry")

    def wrong(self, what: str) -> MalformedModule:
        """Return the error to raise: the section's name and what is wrong with it."""
        return MalformedModule(f"the {self._what} section {what}")
