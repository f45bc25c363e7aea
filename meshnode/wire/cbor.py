"""Strict CBOR: the only file that imports cbor2.

One encoder (canonical, so equal values give equal bytes) and one decoder with every limit on.
Decoding is total: any bytes give plain values or `RemoteProtocolError`, never anything else.
Plain values are int, str, bytes, bool, None, finite float, list and dict with text keys.
"""

import math
from typing import Any, Never

import cbor2

from meshnode.errors import LocalProtocolError, RemoteProtocolError
from meshnode.wire.limits import CBOR_DEPTH_MAX

Plain = Any
"""int | str | bytes | bool | None | float | list[Plain] | dict[str, Plain]"""


def dumps(value: Plain) -> bytes:
    """Return the canonical encoding (RFC 8949 section 4.2.3 order) of a plain value."""
    try:
        return cbor2.dumps(value, canonical=True)
    except (cbor2.CBOREncodeError, ValueError, OverflowError) as error:
        raise LocalProtocolError(f"cannot encode: {error}") from error


def loads(data: bytes | bytearray | memoryview, *, bytes_max: int) -> Plain:
    """Return the one plain value in `data`, or raise RemoteProtocolError.

    Refused: more than `bytes_max` bytes, nesting deeper than 8, tags, indefinite lengths,
    duplicate or non-text map keys, trailing bytes, any encoding but the canonical one, and
    floats that are not finite.
    """
    if len(data) > bytes_max:
        raise RemoteProtocolError(f"CBOR of {len(data)} bytes, limit {bytes_max}")
    raw = data if type(data) is bytes else bytes(data)
    try:
        value = cbor2.loads(
            raw,
            max_depth=CBOR_DEPTH_MAX,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
            tag_hook=_refuse_tag,
            semantic_decoders=_NO_TAGS,
        )
    except RemoteProtocolError:
        raise
    except Exception as error:
        raise RemoteProtocolError(f"not the CBOR we accept: {type(error).__name__}") from error
    size = _list_bytes(value) if type(value) is list else _UNCOUNTED
    if size < 0:
        _check_plain(value)
        size = len(raw) if cbor2.dumps(value, canonical=True) == raw else 0
    if size != len(raw):
        raise RemoteProtocolError("CBOR is not canonical, or bytes follow it")
    return value


def leading_uints(data: bytes | bytearray | memoryview, count: int) -> tuple[int, ...]:
    """Return the first `count` items of an array, which must be whole numbers from 0 up.

    Reads only them, so it costs a tenth of `loads`; whoever uses the rest calls that too.
    """
    if count == 2 and len(data) > 2 and data[0] >> 5 == _ARRAY and data[0] & 31 in _SHORT:
        number, size = data[1], data[2]
        if number < 24 and size < 24:  # each is its own head, as in nearly every header
            return number, size
    major, length, at = _head(data, 0)
    if major != _ARRAY or length < count:
        raise RemoteProtocolError(f"not an array of at least {count} items")
    found = []
    for _ in range(count):
        major, value, at = _head(data, at)
        if major != _UNSIGNED:
            raise RemoteProtocolError("an item that is not a whole number from 0 up")
        found.append(value)
    return tuple(found)


def _head(data: bytes | bytearray | memoryview, at: int) -> tuple[int, int, int]:
    """Return a data item's major type, its argument, and where its head ends (RFC 8949, 3)."""
    if at >= len(data):
        raise RemoteProtocolError("CBOR that ends too early")
    major, small = data[at] >> 5, data[at] & 31
    if small < 24:
        return major, small, at + 1
    if small > 27:
        raise RemoteProtocolError("an indefinite length or a reserved head")
    end = at + 1 + (1 << (small - 24))
    if end > len(data):
        raise RemoteProtocolError("CBOR that ends too early")
    return major, int.from_bytes(data[at + 1 : end], "big"), end


def _refuse_tag(*_: object) -> Never:
    raise RemoteProtocolError("CBOR tags are not part of the protocol")


_NO_TAGS = {tag: _refuse_tag for tag in range(64)}


_UNCOUNTED = -(2**60)
"""In place of a size: for what has maps, floats or strangers in it, which length does not judge."""


def _list_bytes(items: list[Plain]) -> int:
    """Return how many bytes the canonical encoding of a list takes; below 0 if that is uncounted.

    Of whole numbers, strings and lists without indefinite lengths, an encoding is canonical if and
    only if no head is longer than need be, and so if the whole is as short as that. Counting costs
    a third of encoding the value again and comparing.
    """
    size = _head_bytes(len(items))
    for item in items:
        kind = type(item)
        if kind is bytes:
            length = len(item)
            size += length + (1 if length < 24 else 2 if length < 256 else _head_bytes(length))
        elif kind is int:
            number = item if item >= 0 else -1 - item
            size += 1 if number < 24 else 2 if number < 256 else _head_bytes(number)
        elif kind is list:
            size += _list_bytes(item)
        elif item is None or kind is bool:
            size += 1
        elif kind is str:
            length = len(item) if item.isascii() else len(item.encode())
            size += length + _head_bytes(length)
        else:
            return _UNCOUNTED
    return size


def _head_bytes(argument: int) -> int:
    """Return how long the shortest head with this argument is (RFC 8949, section 3)."""
    if argument < 24:
        return 1
    if argument < 2**16:
        return 2 if argument < 2**8 else 3
    return 5 if argument < 2**32 else 9


_SCALARS = frozenset({int, str, bytes, bool, type(None)})
_SHORT = range(2, 24)
_UNSIGNED, _ARRAY = 0, 4
"""Major types of RFC 8949 section 3.1."""


def _check_plain(value: Plain) -> None:
    """Raise unless the value is made of plain types; depth is already bounded.

    By exact type and not by `match`: every datagram and header passes here.
    """
    kind = type(value)
    if kind in _SCALARS:
        return
    if kind is list:
        for item in value:
            if type(item) not in _SCALARS:
                _check_plain(item)
    elif kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise RemoteProtocolError("a map key is not text")
            _check_plain(item)
    elif kind is not float:
        raise RemoteProtocolError(f"{kind.__name__} is not part of the protocol")
    elif not math.isfinite(value):
        raise RemoteProtocolError("a number is not finite")
