import pytest

from meshnode.errors import BadSignature
from meshnode.ids import PublicKey
from meshnode.modules.signatures import (
    SignatureRecord,
    SignedHashes,
    decode,
    encode,
    key_id_of,
    signed_message,
)
from tests.unit.modules.samples import PUBLISHER

RECORD = SignatureRecord(bytes(12), bytes(64))
ONE = SignedHashes((b"a" * 32, b"b" * 32), (RECORD,))
DATA = encode([ONE])


def read(data: bytes) -> tuple[SignedHashes, ...]:
    return decode(memoryview(data))


def test_sets_come_back() -> None:
    two = [ONE, SignedHashes((b"c" * 32,), (RECORD, SignatureRecord(b"", b"s" * 64)))]
    assert read(encode(two)) == tuple(two)
    assert read(encode([])) == ()


def test_the_bytes_are_those_of_wasmsign2() -> None:
    # One hash, no key id: the example that wasmsign2 0.2.6 writes.
    plain = SignedHashes((b"h" * 32,), (SignatureRecord(b"", b"s" * 64),))
    assert encode([plain]).hex(" ", 1).startswith("01 01 01 01 66 01 68")
    assert encode([plain])[3 + 1 + 1 + 1 + 32 :][:5].hex(" ") == "01 43 00 01 40"


def test_what_is_signed_begins_with_the_domain() -> None:
    assert signed_message([b"x"]) == b"wasmsig\x01\x01\x01x"
    assert ONE.message == b"wasmsig\x01\x01\x01" + b"a" * 32 + b"b" * 32


def test_a_key_id_is_twelve_bytes_of_the_key() -> None:
    assert key_id_of(PUBLISHER.public_key).hex() == "a87b10d4934d3a04633a3faf"
    assert key_id_of(PublicKey(bytes(32))) != key_id_of(PUBLISHER.public_key)


def test_an_unknown_algorithm_is_left_out_and_the_rest_stands() -> None:
    other = DATA.replace(b"\x0c" + bytes(12) + b"\x01\x40", b"\x0c" + bytes(12) + b"\x02\x40")
    assert read(other) == (SignedHashes(ONE.hashes, ()),)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "unknown version"),
        (b"\x02\x01\x01\x00", "unknown version"),
        (b"\x01\x02\x01\x00", "unknown version"),
        (b"\x01\x01\x02\x00", "unknown version"),
        (b"\x01\x01\x01", "damaged"),
        (DATA + b"\0", "belong to nothing"),
        (DATA[:-1], "cut off"),
        (b"\x01\x01\x01\x41", "count of 65"),
        (b"\x01\x01\x01\x80\x00", "padded length"),
        (b"\x01\x01\x01\x01\x03\x00\x00\x00", "belong to nothing"),
        (b"\x01\x01\x01\x01\x01\x41", "count of 65"),
        (encode([SignedHashes((), (SignatureRecord(b"", b"short"),))]), "wrong length"),
        (encode([SignedHashes((), (SignatureRecord(b"id", bytes(64)),))]), "wrong length"),
        (bytes(20_000), "has 20000 bytes"),
    ],
)
def test_every_byte_is_accounted_for(data: bytes, reason: str) -> None:
    with pytest.raises(BadSignature, match=reason):
        read(data)
