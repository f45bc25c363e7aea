"""CBOR from a peer is a plain value in its one encoding, or RemoteProtocolError."""

from collections.abc import Callable
from contextlib import suppress

import cbor2
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from meshnode.errors import RemoteProtocolError
from meshnode.wire import cbor

SETTINGS = settings(max_examples=200, deadline=None)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
    | st.floats(allow_nan=False, allow_infinity=False)
)
PLAIN = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text("abc"), inner), max_leaves=9
)


def depth(value: object) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@given(PLAIN.filter(lambda value: depth(value) <= 7))
@SETTINGS
def test_plain_values_come_back_as_they_were(value: object) -> None:
    data = cbor.dumps(value)
    again = cbor.loads(data, bytes_max=len(data))
    assert again == value
    assert cbor.dumps(again) == data


@given(st.binary(max_size=200))
@SETTINGS
def test_any_bytes_are_the_canonical_form_or_refused(data: bytes) -> None:
    with suppress(RemoteProtocolError):
        assert cbor.dumps(cbor.loads(data, bytes_max=200)) == data


@given(PLAIN, st.integers(0, 63) | st.integers(64, 70000))
@SETTINGS
def test_a_tag_is_refused_wherever_it_stands(value: object, tag: int) -> None:
    inner = cbor2.dumps(value)
    tagged = _tag_head(tag) + inner
    for data in (tagged, b"\x81" + tagged, b"\xa1\x61a" + tagged):
        with pytest.raises(RemoteProtocolError):
            cbor.loads(data, bytes_max=len(data))


@given(st.binary(max_size=40), st.integers(0, 4))
@SETTINGS
def test_leading_numbers_are_what_the_whole_says(data: bytes, count: int) -> None:
    try:
        whole = cbor.loads(data, bytes_max=40)
    except RemoteProtocolError:
        with suppress(RemoteProtocolError):
            cbor.leading_uints(data, count)
        return
    numbers = isinstance(whole, list) and [n for n in whole[:count] if type(n) is int and n >= 0]
    if isinstance(numbers, list) and len(numbers) == count:
        assert list(cbor.leading_uints(data, count)) == numbers
    else:
        with pytest.raises(RemoteProtocolError):
            cbor.leading_uints(data, count)


@given(PLAIN.filter(lambda value: depth(value) <= 7), st.integers(0, 60), st.integers(0, 3))
@SETTINGS
def test_a_head_longer_than_need_be_is_refused_wherever_it_stands(
    value: object, place: int, longer: int
) -> None:
    """An encoder of its own, which makes the head at one place longer by one to four steps."""
    place %= _heads(value)
    head_sizes = iter(range(_heads(value)))
    data = _encoded(value, lambda: longer + 1 if next(head_sizes) == place else 0)
    assume(data != cbor.dumps(value))  # no head is longer than nine bytes
    with pytest.raises(RemoteProtocolError):
        cbor.loads(data, bytes_max=len(data))


@given(PLAIN.filter(lambda value: depth(value) <= 7))
@SETTINGS
def test_the_shortest_heads_are_the_canonical_form(value: object) -> None:
    assert _encoded(value, lambda: 0) == cbor.dumps(value)


def _heads(value: object) -> int:
    """Return how many heads an encoding has; a float is its own."""
    if isinstance(value, dict):
        return 1 + sum(_heads(key) + _heads(item) for key, item in value.items())
    return 1 + sum(map(_heads, value)) if isinstance(value, list) else 1


def _encoded(value: object, longer: Callable[[], int]) -> bytes:
    """Encode as RFC 8949 section 3 says; `longer` tells how many steps longer the next head is."""
    if value is None or isinstance(value, bool | float):
        longer()
        return cbor.dumps(value)
    if isinstance(value, int):
        major, argument = (0, value) if value >= 0 else (1, -1 - value)
        return _head(major, argument, longer())
    if isinstance(value, bytes | str):
        raw = value if isinstance(value, bytes) else value.encode()
        return _head(2 if isinstance(value, bytes) else 3, len(raw), longer()) + raw
    if isinstance(value, list):
        head = _head(4, len(value), longer())
        return head + b"".join(_encoded(item, longer) for item in value)
    assert isinstance(value, dict)
    head = _head(5, len(value), longer())
    keys = sorted(value, key=lambda key: (len(cbor.dumps(key)), cbor.dumps(key)))
    return head + b"".join(_encoded(key, longer) + _encoded(value[key], longer) for key in keys)


def _head(major: int, argument: int, longer: int) -> bytes:
    shortest = next(n for n, most in enumerate((24, 2**8, 2**16, 2**32, 2**64)) if argument < most)
    step = min(shortest + longer, 4)
    if step == 0:
        return bytes([major << 5 | argument])
    return bytes([major << 5 | 23 + step]) + argument.to_bytes(1 << step - 1, "big")


def _tag_head(tag: int) -> bytes:
    """Return major type 6 with this argument."""
    head = bytearray(cbor2.dumps(tag))
    head[0] |= 0xC0
    return bytes(head)
