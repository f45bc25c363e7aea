"""The data of a `signature` section: wasmsign2's byte format, read strictly.

    01 01 01                      format version, content "module", hash SHA-256
    uleb n, n * slice(SET)        slice(x) = uleb(len x), x
    SET = uleb n, n * 32 bytes of hash, uleb n, n * slice(SIG)
    SIG = slice(key id), 01 (Ed25519), slice(64 bytes)

The two inner lengths are what wasmsign2 0.2.6 writes and reads, though the tool-conventions page
(`Signatures.md`) does not show them. Everything here is about bytes; `signing.py` says which
signatures count.
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from meshnode.errors import BadSignature, MalformedModule
from meshnode.ids import PublicKey
from meshnode.modules.sections import leb, read_leb

SECTION_NAME = "signature"
DELIMITER_NAME = "signature_delimiter"
DELIMITER_BYTES = 16
KEY_ID_BYTES = 12
HASH_BYTES = 32
SIGNATURE_BYTES = 64

SETS_MAX = 64
HASHES_MAX = 64
SIGNATURES_MAX = 256
SIGNATURE_SECTION_BYTES_MAX = 16 * 1024
"""Some hundred signatures; more would only be work for whoever verifies."""

_PREFIX = b"\x01\x01\x01"
_DOMAIN = b"wasmsig"
ED25519 = 1


@dataclass(frozen=True, slots=True)
class SignatureRecord:
    """One signature over a set of hashes."""

    key_id: bytes
    """12 bytes, or empty if the signer left it out."""
    signature: bytes


@dataclass(frozen=True, slots=True)
class SignedHashes:
    """A sequence of hashes and the signatures over it."""

    hashes: tuple[bytes, ...]
    records: tuple[SignatureRecord, ...]

    @property
    def message(self) -> bytes:
        """The bytes that each record signs."""
        return signed_message(self.hashes)


def signed_message(hashes: Sequence[bytes]) -> bytes:
    """Return what Ed25519 signs: the domain, the three prefix bytes, then the hashes."""
    return _DOMAIN + _PREFIX + b"".join(hashes)


def key_id_of(public_key: PublicKey) -> bytes:
    """Return the 12 bytes by which a signature names its key."""
    return hmac.digest(public_key, b"key_id", "sha256")[:KEY_ID_BYTES]


def encode(sets: Sequence[SignedHashes]) -> bytes:
    """Return the data of a signature section."""
    return _PREFIX + leb(len(sets)) + b"".join(_slice(_encode_set(s)) for s in sets)


def decode(data: memoryview) -> tuple[SignedHashes, ...]:
    """Return the signed sets, or raise BadSignature where a byte is not as the format says.

    Records of an algorithm other than Ed25519 are left out; their lengths are checked all the same.
    """
    if len(data) > SIGNATURE_SECTION_BYTES_MAX:
        raise BadSignature(f"the signature section has {len(data)} bytes")
    if data[:3] != _PREFIX:
        raise BadSignature("the signature section has an unknown version, content or hash type")
    reader = _Reader(data, 3)
    sets = tuple(_decode_set(reader.slice()) for _ in range(reader.count(SETS_MAX)))
    reader.finish()
    return sets


def _encode_set(signed: SignedHashes) -> bytes:
    records = (
        _slice(_slice(r.key_id) + bytes([ED25519]) + _slice(r.signature)) for r in signed.records
    )
    hashes = b"".join(signed.hashes)
    return leb(len(signed.hashes)) + hashes + leb(len(signed.records)) + b"".join(records)


def _decode_set(data: memoryview) -> SignedHashes:
    reader = _Reader(data)
    hashes = tuple(reader.take(HASH_BYTES) for _ in range(reader.count(HASHES_MAX)))
    records = [_decode_record(reader.slice()) for _ in range(reader.count(SIGNATURES_MAX))]
    reader.finish()
    return SignedHashes(hashes, tuple(r for r in records if r is not None))


def _decode_record(data: memoryview) -> SignatureRecord | None:
    """Return the record, or None if it is of an algorithm that this node does not know."""
    reader = _Reader(data)
    key_id = bytes(reader.slice())
    algorithm = reader.take(1)[0]
    signature = bytes(reader.slice())
    reader.finish()
    if algorithm != ED25519:
        return None
    if len(signature) != SIGNATURE_BYTES or len(key_id) not in (0, KEY_ID_BYTES):
        raise BadSignature("a signature or key id in the signature section has a wrong length")
    return SignatureRecord(key_id, signature)


def _slice(data: bytes) -> bytes:
    return leb(len(data)) + data


class _Reader:
    """Walks through a view; every overrun is BadSignature."""

    def __init__(self, data: memoryview, position: int = 0) -> None:
        self._data = data
        self._position = position

    def take(self, size: int) -> bytes:
        return bytes(self._view(size))

    def slice(self) -> memoryview:
        return self._view(self._number())

    def count(self, most: int) -> int:
        value = self._number()
        if value > most:
            raise BadSignature(f"the signature section has a count of {value}, at most {most}")
        return value

    def finish(self) -> None:
        if self._position != len(self._data):
            raise BadSignature("the signature section has bytes that belong to nothing")

    def _number(self) -> int:
        start = self._position
        try:
            value, self._position = read_leb(self._data, start, len(self._data))
        except MalformedModule as error:
            raise BadSignature(f"the signature section is damaged: {error}") from error
        # The section is not covered by its own signature, so two encodings of one content would
        # give one signed module two hashes.
        if self._position - start != len(leb(value)):
            raise BadSignature("the signature section has a padded length")
        return value

    def _view(self, size: int) -> memoryview:
        end = self._position + size
        if end > len(self._data):
            raise BadSignature("the signature section is cut off")
        view = self._data[self._position : end]
        self._position = end
        return view
