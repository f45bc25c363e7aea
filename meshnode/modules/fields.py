"""Reads a plain map field by field, refusing whatever is not exactly as declared.

Used for metadata that strangers wrote, whether it came as CBOR or as TOML. Every refusal is a
`BadMetadata` that names the field by its path (`inputs[0].dtype`), what is wrong, and the
nearest key where one is unknown.
"""

import math
import re
from collections.abc import Iterator, Sequence

from meshnode.errors import BadMetadata
from meshnode.modules.names import hint
from meshnode.wire.cbor import Plain


class Fields:
    """One map: each reader takes a key, checks its value and returns it."""

    def __init__(self, plain: Plain, keys: Sequence[str], *, path: str = "") -> None:
        """Take a map that may have these keys and no others; `path` names it in messages."""
        self._path = path
        if not isinstance(plain, dict):
            raise BadMetadata(f"{path or 'the metadata'} is not a map of fields")
        self._plain: dict[str, Plain] = plain
        for key in plain:
            if key not in keys:
                raise BadMetadata(f"{self._at(key)}: no such field{hint(str(key), keys)}")

    def has(self, key: str) -> bool:
        """Return whether the field is given."""
        return key in self._plain

    def wrong(self, key: str, reason: str) -> BadMetadata:
        """Return (not raise) the error for this field."""
        return BadMetadata(f"{self._at(key)}: {reason}")

    def text(self, key: str, *, chars_max: int, chars_min: int = 0) -> str:
        """Return a printable string of bounded length."""
        value = self._get(key, str, "text")
        assert isinstance(value, str)
        if not chars_min <= len(value) <= chars_max:
            bounds = f"at most {chars_max}" if not chars_min else f"{chars_min} to {chars_max}"
            raise self.wrong(key, f"has {len(value)} characters, allowed are {bounds}")
        if not value.isprintable():
            raise self.wrong(key, "has characters that cannot be printed")
        return value

    def pattern(self, key: str, pattern: re.Pattern[str], meaning: str, chars_max: int) -> str:
        """Return a string that matches the whole pattern."""
        value = self.text(key, chars_max=chars_max)
        if not pattern.fullmatch(value):
            raise self.wrong(key, f"'{value}' is not {meaning}")
        return value

    def choice(self, key: str, choices: Sequence[str]) -> str:
        """Return one of a few words."""
        value = self.text(key, chars_max=64)
        if value not in choices:
            raise self.wrong(
                key, f"'{value}' is none of {', '.join(choices)}{hint(value, choices)}"
            )
        return value

    def integer(self, key: str, low: int, high: int) -> int:
        """Return a whole number within bounds, both included."""
        value = self._get(key, int, "a whole number")
        assert isinstance(value, int)
        if not low <= value <= high:
            raise self.wrong(key, f"is {value}, allowed are {low} to {high}")
        return value

    def boolean(self, key: str) -> bool:
        """Return true or false."""
        value = self._get(key, bool, "true or false")
        assert isinstance(value, bool)
        return value

    def number(self, key: str, low: float, high: float) -> float:
        """Return a finite float within bounds."""
        value = self._get(key, float, "a number with a decimal point")
        assert isinstance(value, float)
        if not math.isfinite(value) or not low <= value <= high:
            raise self.wrong(key, f"is {value}, allowed are {low} to {high}")
        return value

    def octets(self, key: str, *, sizes: Sequence[int]) -> bytes:
        """Return bytes of one of these lengths."""
        value = self._get(key, bytes, "bytes")
        assert isinstance(value, bytes)
        if len(value) not in sizes:
            raise self.wrong(key, f"has {len(value)} bytes, not {sizes[-1]}")
        return value

    def items(self, key: str, *, count_max: int) -> list[Plain]:
        """Return a list of bounded length; its items are still unchecked."""
        value = self._get(key, list, "a list")
        assert isinstance(value, list)
        if len(value) > count_max:
            raise self.wrong(key, f"has {len(value)} entries, at most {count_max} are allowed")
        return value

    def maps(self, key: str, keys: Sequence[str], *, count_max: int) -> Iterator["Fields"]:
        """Yield each map of a list of maps."""
        for i, item in enumerate(self.items(key, count_max=count_max)):
            yield Fields(item, keys, path=f"{self._at(key)}[{i}]")

    def map(self, key: str, keys: Sequence[str]) -> "Fields":
        """Return the map in a field."""
        return Fields(self._get(key, dict, "a map"), keys, path=self._at(key))

    def texts(self, key: str, *, count_max: int, chars_max: int) -> dict[str, str]:
        """Return a map of free text keys to text."""
        value = self._get(key, dict, "a map")
        assert isinstance(value, dict)
        if len(value) > count_max:
            raise self.wrong(key, f"has {len(value)} entries, at most {count_max} are allowed")
        inner = Fields(value, list(value), path=self._at(key))
        for name in value:
            if not 0 < len(name) <= chars_max or not name.isprintable():
                raise self.wrong(
                    key, f"has a key that is not 1 to {chars_max} printable characters"
                )
        return {name: inner.text(name, chars_max=chars_max) for name in value}

    def _get(self, key: str, kind: type, meaning: str) -> Plain:
        if key not in self._plain:
            raise BadMetadata(f"{self._at(key)}: is missing")
        value = self._plain[key]
        # `bool` is an `int` in Python; in metadata the two are different things.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.wrong(key, f"is not {meaning}")
        return value

    def _at(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else str(key)
