"""Records and frames: how a channel's bytes are sealed and cut (docs/protocol-channel.md).

    record = length u32 BE (clear) || ChaCha20-Poly1305(plaintext)      length counts the tag
    frame  = call id u32 || kind u8 || payload length u32 || payload

The plaintexts of consecutive records are one stream of frames. A frame lies whole inside one
record, except that the payload of a BODY frame may go on in the records after it. So a bulk chunk
is sealed straight from the sender's tensor and opened straight into the receiver's body: no copy
at either end. Nonces count from 0; every 2^20 records, and after each REKEY frame, the key moves on
by Noise's REKEY.
"""

from collections.abc import Callable, Sequence
from enum import IntEnum
from struct import Struct
from typing import Protocol

from meshnode.errors import LocalProtocolError, RemoteProtocolError
from meshnode.wire.limits import (
    CHUNK_BYTES_BULK,
    HEADER_BYTES_MAX,
    KIB,
    RECORD_BYTES_MAX,
)
from meshnode.wire.tensor import Buffer

LENGTH_BYTES = 4
TAG_BYTES = 16
RECORD_OVERHEAD_BYTES = LENGTH_BYTES + TAG_BYTES
REKEY_RECORDS = 2**20
"""Far inside ChaCha20-Poly1305's bounds; what was sent before cannot be opened with a later key."""
RECORDS_MAX = 2**64 - 1
"""Noise section 5.1: this nonce is REKEY's; a direction that came so far is used up."""
FRAME_HEAD = Struct(">IBI")
FRAME_HEAD_BYTES = FRAME_HEAD.size
REKEY_RECORD_BYTES = RECORD_OVERHEAD_BYTES + FRAME_HEAD_BYTES
GOODBYE_BYTES_MAX = 512
READ_BUFFER_BYTES_MIN = 2 * KIB
"""What a connection begins with: most never need more. It doubles when a read fills it, and grows
to the largest record; an idle connection keeps none."""
SCRATCH_BYTES_MIN = KIB
READ_BUFFER_BYTES_MAX = RECORD_BYTES_MAX + LENGTH_BYTES

_NONCE = Struct("<IQ")
_REKEY_NONCE = _NONCE.pack(0, 2**64 - 1)
_NOTHING = memoryview(b"")


class Kind(IntEnum):
    """What a frame is."""

    HEADER = 1
    """The CBOR header of a request or a reply."""
    BODY = 2
    """Bytes of the body that the header announced, in order."""
    CANCEL = 3
    """The caller gave the call up. Empty."""
    GOODBYE = 4
    """No new calls: last call id that was taken, u32, then a reason in UTF-8. Call id 0."""
    REKEY = 5
    """The records after this one are under the next key. The last frame of its record, empty."""


_HEADER, _HEADER_CODE = Kind.HEADER, int(Kind.HEADER)
_KINDS = {int(kind): kind for kind in Kind}
PAYLOAD_BYTES_MAX = {
    Kind.HEADER: HEADER_BYTES_MAX,
    Kind.BODY: CHUNK_BYTES_BULK,
    Kind.CANCEL: 0,
    Kind.GOODBYE: GOODBYE_BYTES_MAX,
    Kind.REKEY: 0,
}


class Cipher(Protocol):
    """An AEAD under one key; `identity.aead` has two."""

    def seal_into(self, nonce: bytes, plaintext: Buffer, out: memoryview) -> None:
        """Write ciphertext and tag into `out`, 16 bytes longer than the plaintext."""
        ...

    def open_into(self, nonce: bytes, sealed: Buffer, out: memoryview) -> None:
        """Write the plaintext into `out`, or raise RemoteProtocolError."""
        ...


MakeCipher = Callable[[bytes], Cipher]


class FrameReceiver(Protocol):
    """Takes what a FrameReader found; any method may raise RemoteProtocolError."""

    def frame(self, call_id: int, kind: Kind, payload: bytes) -> None:
        """Take a whole frame that is not BODY."""
        ...

    def body_space(self, call_id: int, size: int) -> memoryview | None:
        """Return where the next `size` bytes of this call's body go; None to drop them."""
        ...

    def body_filled(self, call_id: int) -> None:
        """The space given last is full."""
        ...


def frame_head(call_id: int, kind: Kind, size: int) -> bytes:
    """Return the 9 bytes in front of a payload of `size` bytes."""
    return FRAME_HEAD.pack(call_id, kind, size)


class RecordKey:
    """The key of one direction: uses each nonce once and moves the key on in time."""

    def __init__(
        self,
        key: bytes,
        make_cipher: MakeCipher,
        *,
        rekey_records: int = REKEY_RECORDS,
        first: int = 0,
    ) -> None:
        """`first` is the number of the first record; only tests begin elsewhere than at 0."""
        self._make_cipher = make_cipher
        self._key = key
        self._made: Cipher | None = None
        self._rekey_records = rekey_records
        self._count = first
        self._next_rekey = first - first % rekey_records + rekey_records

    def seal_into(self, plaintext: Buffer, out: memoryview) -> None:
        """Seal the next record; raise LocalProtocolError when the numbers are used up."""
        if self._count >= RECORDS_MAX:
            raise LocalProtocolError("a channel key is used up")
        self._cipher().seal_into(_NONCE.pack(0, self._count), plaintext, out)
        self._advance()

    def open_into(self, sealed: Buffer, out: memoryview) -> None:
        """Open the next record, or raise RemoteProtocolError and stay where it is."""
        if self._count >= RECORDS_MAX:
            raise RemoteProtocolError("a channel key is used up")
        self._cipher().open_into(_NONCE.pack(0, self._count), sealed, out)
        self._advance()

    def move_on(self) -> None:
        """Noise's REKEY: nothing sealed so far can be opened with the new key."""
        moved = bytearray(32 + TAG_BYTES)
        self._cipher().seal_into(_REKEY_NONCE, bytes(32), memoryview(moved))
        self._key, self._made = bytes(moved[:32]), None

    def shrink(self) -> None:
        """Give back OpenSSL's state, 2 KB; the next record makes it again in a few us."""
        self._made = None

    def _cipher(self) -> Cipher:
        if self._made is None:
            self._made = self._make_cipher(self._key)
        return self._made

    def _advance(self) -> None:
        self._count += 1
        if self._count == self._next_rekey:
            self._next_rekey += self._rekey_records
            self.move_on()


def sealed_size(plaintexts: Sequence[Buffer]) -> int:
    """Return how many bytes these records take on the wire."""
    return sum(map(len, plaintexts)) + RECORD_OVERHEAD_BYTES * len(plaintexts)


def seal_rekey(key: RecordKey, out: memoryview) -> int:
    """Write the record that says that the key moves on, and move it; return its size."""
    size = seal_records(key, [frame_head(0, Kind.REKEY, 0)], out)
    key.move_on()
    return size


def seal_records(key: RecordKey, plaintexts: Sequence[Buffer], out: memoryview) -> int:
    """Write one record for each plaintext into `out`; return how many bytes they take.

    `out` has at least `sealed_size(plaintexts)` bytes. Plaintexts are flat bytes, not empty.
    """
    at = 0
    for plaintext in plaintexts:
        size = len(plaintext) + TAG_BYTES
        out[at : at + LENGTH_BYTES] = size.to_bytes(LENGTH_BYTES, "big")
        at += LENGTH_BYTES
        key.seal_into(plaintext, out[at : at + size])
        at += size
    return at


class FrameReader:
    """Turns received bytes into frames, however the network split them.

    `space()` is where to receive into; `received(n)` says how much came. A length over the limit
    is refused when its four bytes are in, before any memory is taken for it. After a
    RemoteProtocolError the reader is of no further use.
    """

    def __init__(self, key: RecordKey, receiver: FrameReceiver) -> None:
        self._key = key
        self._receiver = receiver
        self._view = _NOTHING
        self._start = 0
        self._end = 0
        self._needed = LENGTH_BYTES
        self.filled = False
        """The last read took all the room there was: more is likely there."""
        self._scratch = _NOTHING
        self._body_left = 0
        self._body_call = 0
        self._body: memoryview | None = None

    def space(self) -> memoryview:
        """Return the free part of the buffer: at least the rest of the record at hand."""
        held = self._end - self._start
        if held == 0:
            self._start = self._end = 0
        size = len(self._view)
        if self._needed > size or self.filled:
            self.filled = False
            wanted = max(self._needed, 2 * size, READ_BUFFER_BYTES_MIN)
            self._move(held, min(wanted, READ_BUFFER_BYTES_MAX))
        elif self._start + self._needed > size:
            self._move(held, size)
        return self._view[self._end :]

    def received(self, count: int) -> None:
        """Take the next `count` bytes of `space()`; hand every whole frame to the receiver."""
        self._end += count
        self.filled = self._end == len(self._view) < READ_BUFFER_BYTES_MAX
        while True:
            held = self._end - self._start
            if held < LENGTH_BYTES:
                self._needed = LENGTH_BYTES
                return
            body = self._start + LENGTH_BYTES
            size = int.from_bytes(self._view[self._start : body], "big")
            if not TAG_BYTES < size <= RECORD_BYTES_MAX:
                raise RemoteProtocolError(f"a record of {size} bytes, limit {RECORD_BYTES_MAX}")
            if held < LENGTH_BYTES + size:
                self._needed = LENGTH_BYTES + size
                return
            self._open(self._view[body : body + size])
            self._start = body + size

    def shrink(self) -> None:
        """Give the buffers back. Only while nobody holds the view of `space()`."""
        if self._start == self._end:
            self._view = _NOTHING
            self._start = self._end = 0
            self.filled = False
        self._scratch = _NOTHING
        self._key.shrink()

    def _move(self, held: int, size: int) -> None:
        """Bring what is held to the front of a buffer of `size` bytes."""
        old = self._view
        if size != len(old):
            self._view = memoryview(bytearray(size))
        self._view[:held] = old[self._start : self._end]
        self._start, self._end = 0, held

    def _open(self, sealed: memoryview) -> None:
        size = len(sealed) - TAG_BYTES
        if self._body is not None and size <= self._body_left:
            self._key.open_into(sealed, self._body[:size])
            self._advance_body(size)
            return
        if size > len(self._scratch):
            self._scratch = memoryview(bytearray(max(size, SCRATCH_BYTES_MIN)))
        plain = self._scratch[:size]
        self._key.open_into(sealed, plain)
        self._parse(plain)

    def _parse(self, plain: memoryview) -> None:
        at, end = 0, len(plain)
        while at < end:
            if self._body_left:
                at += self._copy_body(plain[at:])
                continue
            if end - at < FRAME_HEAD_BYTES:
                raise RemoteProtocolError("a record ends inside the head of a frame")
            call_id, code, size = FRAME_HEAD.unpack_from(plain, at)
            at += FRAME_HEAD_BYTES
            if code == _HEADER_CODE and size <= HEADER_BYTES_MAX and size <= end - at:
                # nearly every frame is one; the rest of this is for all others
                self._receiver.frame(call_id, _HEADER, bytes(plain[at : at + size]))
                at += size
                continue
            kind = _kind(code, size)
            if kind is Kind.BODY:
                self._body_call, self._body_left = call_id, size
                self._body = self._receiver.body_space(call_id, size)
                continue
            if kind is Kind.REKEY:
                if call_id or at < end:
                    raise RemoteProtocolError("a REKEY frame that does not end its record")
                self._key.move_on()
                return
            if size > end - at:
                raise RemoteProtocolError(f"a {kind.name} frame goes on in another record")
            self._receiver.frame(call_id, kind, bytes(plain[at : at + size]))
            at += size

    def _copy_body(self, plain: memoryview) -> int:
        """Take what belongs to the body at hand from a record that holds more than it."""
        size = min(len(plain), self._body_left)
        if self._body is not None:
            self._body[:size] = plain[:size]
        self._advance_body(size)
        return size

    def _advance_body(self, size: int) -> None:
        self._body_left -= size
        if self._body is not None:
            self._body = self._body[size:]
        if self._body_left == 0:
            wanted, self._body = self._body is not None, None
            if wanted:
                self._receiver.body_filled(self._body_call)


def _kind(code: int, size: int) -> Kind:
    """Return the kind of a frame whose head is allowed, or raise RemoteProtocolError."""
    kind = _KINDS.get(code)
    if kind is None:
        raise RemoteProtocolError(f"a frame of unknown kind {code}")
    if size > PAYLOAD_BYTES_MAX[kind]:
        raise RemoteProtocolError(f"a {kind.name} frame of {size} bytes")
    if kind is Kind.BODY and size == 0:
        raise RemoteProtocolError("an empty BODY frame")
    return kind
