"""Reading a positional CBOR list field by field, each with its type and range.

Every method raises RemoteProtocolError and nothing else, whatever the list holds.
"""

from collections.abc import Iterator

from meshnode.errors import RemoteProtocolError
from meshnode.wire.cbor import Plain


class Reader:
    """Takes the fields of one list in order."""

    def __init__(self, plain: Plain) -> None:
        if not isinstance(plain, list):
            raise RemoteProtocolError("a list is expected")
        self._fields = plain
        self._next = 0

    def whole(self, low: int, high: int) -> int:
        """Return an integer from `low` to `high`, both inclusive; a bool is none."""
        value = self._take()
        if type(value) is not int or not low <= value <= high:
            raise RemoteProtocolError(f"a whole number from {low} to {high} is expected")
        return value

    def blob(self, size: int) -> bytes:
        """Return exactly `size` bytes."""
        value = self._take()
        if not isinstance(value, bytes) or len(value) != size:
            raise RemoteProtocolError(f"{size} bytes are expected")
        return value

    def blob_up_to(self, size_max: int) -> bytes:
        """Return 1 to `size_max` bytes."""
        value = self._take()
        if not isinstance(value, bytes) or not 1 <= len(value) <= size_max:
            raise RemoteProtocolError(f"1 to {size_max} bytes are expected")
        return value

    def text(self, chars_max: int, *, chars_min: int = 0) -> str:
        """Return text that can be shown: no control characters, no line ends."""
        value = self._take()
        if not isinstance(value, str) or not chars_min <= len(value) <= chars_max:
            raise RemoteProtocolError(f"text of {chars_min} to {chars_max} letters is expected")
        if not value.isprintable():
            raise RemoteProtocolError("text has characters that cannot be shown")
        return value

    def flag(self) -> bool:
        """Return a bool."""
        value = self._take()
        if not isinstance(value, bool):
            raise RemoteProtocolError("true or false is expected")
        return value

    def lists(self, count_max: int) -> Iterator["Reader"]:
        """Return readers of the lists in a list of at most `count_max`."""
        value = self._take()
        if not isinstance(value, list) or len(value) > count_max:
            raise RemoteProtocolError(f"a list of at most {count_max} is expected")
        return iter([Reader(item) for item in value])

    def end(self) -> None:
        """Insist that every field was read."""
        if self._next != len(self._fields):
            raise RemoteProtocolError("a list has fields that nobody asked for")

    def _take(self) -> Plain:
        if self._next >= len(self._fields):
            raise RemoteProtocolError("a list ends too early")
        self._next += 1
        return self._fields[self._next - 1]
