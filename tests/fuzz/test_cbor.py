"""CBOR from a peer is a plain value in its one encoding, or RemoteProtocolError."""

from contextlib import suppress

import cbor2
import pytest
from hypothesis import given, settings
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


def _tag_head(tag: int) -> bytes:
    """Return major type 6 with this argument."""
    head = bytearray(cbor2.dumps(tag))
    head[0] |= 0xC0
    return bytes(head)
