import math

import cbor2
import pytest

from meshnode.errors import LocalProtocolError, RemoteProtocolError
from meshnode.wire import cbor


def loads(data: bytes) -> object:
    return cbor.loads(data, bytes_max=1 << 20)


def refused(data: bytes) -> str:
    with pytest.raises(RemoteProtocolError) as caught:
        loads(data)
    return caught.value.message


@pytest.mark.parametrize(
    "value",
    [None, True, 0, -1, 2**64 - 1, -(2**64), 1.5, -0.0, "", "Grüße", b"", [], {}, [[1], {"a": []}]],
    ids=repr,
)
def test_plain_values_come_back(value: object) -> None:
    assert loads(cbor.dumps(value)) == value


def test_equal_maps_give_equal_bytes() -> None:
    assert cbor.dumps({"b": 1, "a": 2, "aa": 3}) == cbor.dumps({"aa": 3, "a": 2, "b": 1})


@pytest.mark.parametrize("value", [{1, 2}, object(), "\ud800"], ids=["set", "object", "surrogate"])
def test_what_is_not_plain_cannot_be_sent(value: object) -> None:
    if isinstance(value, set):
        assert refused(cbor.dumps(value)), "a set becomes a tag, which no peer takes"
    else:
        with pytest.raises(LocalProtocolError):
            cbor.dumps(value)


def test_more_bytes_than_allowed_are_not_even_looked_at() -> None:
    with pytest.raises(RemoteProtocolError, match="limit 3"):
        cbor.loads(b"\x83\x01\x02\x03", bytes_max=3)


TAGS = (*range(6), 25, 28, 29, 30, 35, 36, 37, 40, 64, 85, 100, 256, 258, 260, 261, 1004, 55799)
"""All that cbor2 knows, and some that it does not."""


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("inner", ["00", "40", "60", "80", "4101", "6161", "820102", "8100"])
def test_no_tag_is_taken(tag: int, inner: str) -> None:
    head = bytearray(cbor2.dumps(tag))
    head[0] |= 0xC0
    refused(bytes(head) + bytes.fromhex(inner))
    refused(b"\x81" + bytes(head) + bytes.fromhex(inner))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("nothing", ""),
        ("trailing byte", "0000"),
        ("duplicate key", "a2616101616102"),
        ("unsorted keys", "a2616201616102"),
        ("number as key", "a10102"),
        ("bytes as key", "a1416101"),
        ("list as key", "a18001"),
        ("indefinite list", "9f01ff"),
        ("indefinite map", "bf616101ff"),
        ("indefinite text", "7f6161ff"),
        ("indefinite bytes", "5f4161ff"),
        ("long form of a number", "1800"),
        ("long form of a length", "580161"),
        ("long form of a float", "fb3ff8000000000000"),
        ("NaN", "f97e00"),
        ("infinity", "f97c00"),
        ("minus infinity", "f9fc00"),
        ("undefined", "f7"),
        ("simple value", "e0"),
        ("simple value 255", "f8ff"),
        ("break alone", "ff"),
        ("reserved head", "1c"),
        ("invalid UTF-8", "61ff"),
        ("cut short", "8201"),
        ("bignum", "c249010000000000000000"),
        ("declared 2**60 items", "9b1000000000000000"),
        ("declared 2**60 bytes", "5b1000000000000000"),
    ],
)
def test_what_is_refused(name: str, data: str) -> None:
    assert refused(bytes.fromhex(data)), name


def test_nesting_ends_at_the_limit() -> None:
    deepest = bytes.fromhex("81" * 8 + "00")
    refused(b"\x81" + deepest)
    refused(b"\x81" * 5000 + b"\x00")
    assert loads(b"\x81" * 7 + b"\x00") is not None


def test_colliding_keys_are_refused_at_the_first() -> None:
    """Bignum keys equal modulo 2**61-1 would take cbor2's defaults 28 s of a blocked loop here."""
    modulus = 2**61 - 1
    keys = [(modulus * (i + 2**70)).to_bytes(18, "big") for i in range(30_000)]
    head = b"\xb9" + len(keys).to_bytes(2, "big")
    assert refused(head + b"".join(b"\xc2\x52" + key + b"\x00" for key in keys))


def test_a_message_about_a_refusal_has_no_bytes_of_the_peer() -> None:
    assert "\x1b" not in refused(b"\xc0\x63\x1b[2")


def test_leading_numbers_are_read_without_the_rest() -> None:
    assert cbor.leading_uints(bytes.fromhex("8301190400"), 2) == (1, 1024)
    assert cbor.leading_uints(b"\x83\x01\x1a\x00\x10\x00\x00\xff\xff", 2) == (1, 2**20)


@pytest.mark.parametrize(
    "data", ["", "82", "8201", "820120", "8101", "a20102", "9f0102ff", "8201f5", "82011b00", "821c"]
)
def test_leading_numbers_that_are_none(data: str) -> None:
    with pytest.raises(RemoteProtocolError):
        cbor.leading_uints(bytes.fromhex(data), 2)


def test_finite_is_what_it_says() -> None:
    assert loads(cbor.dumps(1e308)) == 1e308
    refused(cbor2.dumps([math.nan], canonical=True))
