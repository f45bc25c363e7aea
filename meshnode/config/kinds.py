"""The kinds of value a setting may have: how each is read, refused and shown as TOML.

A kind reads what TOML gives (str, int, float, bool, list) and what an environment variable or a
flag gives (always text). It raises ValueError; `load` turns that into a ConfigError with the
name of the key and the sentence in `allowed`.
"""

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from meshnode.caps import Caps, parse_caps
from meshnode.config.units import parse_duration, parse_size
from meshnode.errors import UsageError
from meshnode.ids import Address, Contact, parse_address, parse_contact, to_text
from meshnode.labels import LABELS_MAX, Labels, labels_from_texts, labels_of
from meshnode.modules.names import parse_reference
from meshnode.wire.limits import NAME_CHARS_MAX

T = TypeVar("T")
_NAME = re.compile(rf"[\w.-]{{1,{NAME_CHARS_MAX}}}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(Generic[T]):
    """One kind of value."""

    allowed: str
    """Completes the sentence "KEY must be ..."."""
    read: Callable[[object], T]
    """Raises ValueError (or TypeError) for anything else."""
    show: Callable[[T], str]
    """The value as TOML; what `docs/operating.md` lists as the default."""


def whole(low: int, high: int) -> Kind[int]:
    """Return the kind of whole numbers from `low` to `high`."""

    def read(raw: object) -> int:
        number = int(raw) if isinstance(raw, str) else raw
        if not isinstance(number, int) or isinstance(number, bool) or not low <= number <= high:
            raise ValueError("outside the range")
        return number

    return Kind(allowed=f"a whole number from {low} to {high}", read=read, show=str)


def factor(low: float, high: float) -> Kind[float]:
    """Return the kind of numbers from `low` to `high`."""

    def read(raw: object) -> float:
        if isinstance(raw, bool) or not isinstance(raw, str | int | float):
            raise TypeError("not a number")
        number = float(raw)
        if not math.isfinite(number) or not low <= number <= high:
            raise ValueError("outside the range")
        return number

    return Kind(allowed=f"a number from {low:g} to {high:g}", read=read, show=repr)


def size(low: int, high: int) -> Kind[int]:
    """Return the kind of byte counts from `low` to `high`."""

    def read(raw: object) -> int:
        if isinstance(raw, bool) or not isinstance(raw, str | int):
            raise TypeError("not a size")
        count = parse_size(raw)
        if not low <= count <= high:
            raise ValueError("outside the range")
        return count

    return Kind(
        allowed=f'a size such as "64MiB", from {_exact(low)} to {_exact(high)}',
        read=read,
        show=lambda count: json.dumps(_exact(count)),
    )


def milliseconds(low: int, high: int) -> Kind[int]:
    """Return the kind of durations in whole milliseconds, both bounds in milliseconds."""

    def read(raw: object) -> int:
        if not isinstance(raw, str):
            raise TypeError("not a duration")
        span = round(parse_duration(raw) * 1000)
        if not low <= span <= high:
            raise ValueError("outside the range")
        return span

    return Kind(
        allowed=f'a duration such as "500ms" or "2s", from {low} ms to {high} ms',
        read=read,
        show=lambda span: json.dumps(
            f"{span}ms" if span % 1000 or not span else f"{span // 1000}s"
        ),
    )


def choice(*words: str) -> Kind[str]:
    """Return the kind of a fixed set of words."""

    def read(raw: object) -> str:
        if raw not in words:
            raise ValueError("unknown word")
        return str(raw)

    quoted = [json.dumps(w) for w in words]
    return Kind(allowed=f"{', '.join(quoted[:-1])} or {quoted[-1]}", read=read, show=json.dumps)


def _exact(count: int) -> str:
    for unit, bytes_each in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count and count % bytes_each == 0:
            return f"{count // bytes_each}{unit}"
    return f"{count}B"


def _texts(raw: object) -> list[str]:
    """Return a list of texts; one text (an environment variable) is split at commas."""
    if isinstance(raw, str):
        return [part.strip() for part in raw.strip("[] ").split(",") if part.strip(" \"'")]
    if not isinstance(raw, list | tuple) or not all(isinstance(item, str) for item in raw):
        raise TypeError("not a list of texts")
    return list(raw)


def _list_toml(items: Sequence[object]) -> str:
    return json.dumps([str(item) for item in items])


def _flag(raw: object) -> bool:
    if isinstance(raw, bool):
        return raw
    if raw not in ("true", "false"):
        raise ValueError("neither true nor false")
    return raw == "true"


def _name(raw: object) -> str:
    if not isinstance(raw, str) or not (raw == "" or _NAME.fullmatch(raw)):
        raise ValueError("not a name")
    return raw


def _text(raw: object) -> str:
    if not isinstance(raw, str) or not raw.isprintable():
        raise TypeError("not a text")
    return raw


def _address(raw: object) -> Address:
    if not isinstance(raw, str):
        raise TypeError("not an address")
    return parse_address(raw)


def _door(raw: object) -> Address | None:
    return None if raw == "off" else _address(raw)


def _caps_or_auto(raw: object) -> Caps | None:
    return None if raw in ("auto", ["auto"]) else parse_caps(_texts(raw))


def _references(raw: object) -> tuple[str, ...]:
    found = tuple(text.strip("\"'") for text in _texts(raw))
    for text in found:
        try:
            parse_reference(text)
        except UsageError as error:
            raise ValueError(error.message) from error
    return found


def _contacts(raw: object) -> tuple[Contact, ...]:
    return tuple(parse_contact(text.strip("\"'")) for text in _texts(raw))


def _labels(raw: object) -> Labels:
    if not isinstance(raw, dict):
        return labels_from_texts(text.strip("\"'") for text in _texts(raw))
    if not all(isinstance(value, str) for value in raw.values()):
        raise TypeError("a label's value is a text")
    return labels_of(raw)


FLAG: Kind[bool] = Kind(
    allowed="true or false", read=_flag, show=lambda value: "true" if value else "false"
)
NAME: Kind[str] = Kind(
    allowed=f"1 to {NAME_CHARS_MAX} letters, digits, dots, dashes or underscores",
    read=_name,
    show=json.dumps,
)
TEXT: Kind[str] = Kind(allowed="a text on one line", read=_text, show=json.dumps)
REFERENCES: Kind[tuple[str, ...]] = Kind(
    allowed='a list of module references such as ["detect", "ocr@1.2.0"]',
    read=_references,
    show=_list_toml,
)
ADDRESS: Kind[Address] = Kind(
    allowed='an address such as "0.0.0.0:6174" or "[::]:6174"',
    read=_address,
    show=lambda address: json.dumps(str(address)),
)
ADDRESSES: Kind[tuple[Address, ...]] = Kind(
    allowed='a list of addresses such as ["203.0.113.7:6174"]',
    read=lambda raw: tuple(parse_address(text.strip("\"'")) for text in _texts(raw)),
    show=_list_toml,
)
DOOR: Kind[Address | None] = Kind(
    allowed='an address such as "127.0.0.1:6180", or "off"',
    read=_door,
    show=lambda address: json.dumps(str(address or "off")),
)
CONTACTS: Kind[tuple[Contact, ...]] = Kind(
    allowed='a list of KEY@HOST:PORT, KEY as "meshnode bootstrap" prints it',
    read=_contacts,
    show=lambda found: _list_toml([f"{to_text(c.public_key)}@{c.address}" for c in found]),
)
LABELS: Kind[Labels] = Kind(
    allowed=f'at most {LABELS_MAX} labels such as {{ site = "hall-3", tier = "edge" }}',
    read=_labels,
    show=lambda labels: (
        "{ " + ", ".join(f"{key} = {json.dumps(value)}" for key, value in labels) + " }"
        if labels
        else "{}"
    ),
)
CAPS_OR_AUTO: Kind[Caps | None] = Kind(
    allowed=f'"auto" or a list of {", ".join(Caps(~0).names())}',
    read=_caps_or_auto,
    show=lambda caps: '"auto"' if caps is None else json.dumps(caps.names()),
)
CAPS: Kind[Caps] = Kind(
    allowed=f"a list of {', '.join(Caps(~0).names())}",
    read=lambda raw: parse_caps(text.strip("\"'") for text in _texts(raw)),
    show=lambda caps: json.dumps(caps.names()),
)
