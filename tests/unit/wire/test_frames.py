"""Records and frames: any split of the bytes gives the same frames, and damage ends it."""

import pytest

from meshnode.errors import LocalProtocolError, RemoteProtocolError
from meshnode.identity.aead import make_cipher
from meshnode.wire.codec import decode_call
from meshnode.wire.frames import (
    READ_BUFFER_BYTES_MIN,
    RECORD_OVERHEAD_BYTES,
    RECORDS_MAX,
    REKEY_RECORD_BYTES,
    REKEY_RECORDS,
    FrameReader,
    Kind,
    RecordKey,
    frame_head,
    seal_records,
    seal_rekey,
    sealed_size,
)
from meshnode.wire.limits import CHUNK_BYTES_BULK, RECORD_BYTES_MAX
from meshnode.wire.messages import ListModules
from tests.unit.wire.plumbing import vector

KEY = bytes(range(32))


class Taken:
    """A receiver that keeps what it gets."""

    def __init__(self, *, wanted: bool = True) -> None:
        self.frames: list[tuple[int, Kind, bytes]] = []
        self.spaces: list[bytearray] = []
        self.filled: list[int] = []
        self.wanted = wanted

    def frame(self, call_id: int, kind: Kind, payload: bytes) -> None:
        self.frames.append((call_id, kind, payload))

    def body_space(self, call_id: int, size: int) -> memoryview | None:
        if not self.wanted:
            return None
        self.spaces.append(bytearray(size))
        return memoryview(self.spaces[-1])

    def body_filled(self, call_id: int) -> None:
        self.filled.append(call_id)


def sealed(*plaintexts: bytes, key: RecordKey | None = None) -> bytes:
    out = bytearray(sealed_size(plaintexts))
    assert seal_records(key or RecordKey(KEY, make_cipher), plaintexts, memoryview(out)) == len(out)
    return bytes(out)


def feed(reader: FrameReader, data: bytes, step: int) -> None:
    while data:
        space = reader.space()
        count = min(len(space), step, len(data))
        space[:count] = data[:count]
        del space
        reader.received(count)
        data = data[count:]


def reader_of(taken: Taken) -> FrameReader:
    return FrameReader(RecordKey(KEY, make_cipher), taken)


def frame(call_id: int, kind: Kind, payload: bytes = b"") -> bytes:
    return frame_head(call_id, kind, len(payload)) + payload


@pytest.mark.parametrize("step", [1, 3, 17, 10_000])
def test_frames_arrive_however_the_bytes_are_split(step: int) -> None:
    taken = Taken()
    data = sealed(
        frame(1, Kind.HEADER, b"one") + frame(3, Kind.HEADER, b"two") + frame(1, Kind.CANCEL),
        frame(0, Kind.GOODBYE, b"\0\0\0\0bye"),
    )
    feed(reader_of(taken), data, step)
    assert taken.frames == [
        (1, Kind.HEADER, b"one"),
        (3, Kind.HEADER, b"two"),
        (1, Kind.CANCEL, b""),
        (0, Kind.GOODBYE, b"\0\0\0\0bye"),
    ]


@pytest.mark.parametrize("step", [1000, 70_000, 10**6])
@pytest.mark.parametrize("wanted", [True, False])
def test_a_body_goes_on_in_the_records_after_its_head(step: int, wanted: bool) -> None:
    body = bytes(range(256)) * 400
    data = sealed(
        frame(1, Kind.HEADER, b"h") + frame_head(1, Kind.BODY, len(body)) + body[:10],
        body[10:60_000],
        body[60_000:] + frame(1, Kind.HEADER, b"next"),
    )
    taken = Taken(wanted=wanted)
    feed(reader_of(taken), data, step)
    assert [payload for _, _, payload in taken.frames] == [b"h", b"next"]
    assert taken.spaces == ([body] if wanted else [])
    assert taken.filled == ([1] if wanted else [])


def test_the_buffer_grows_for_a_large_record_and_shrinks_again() -> None:
    taken = Taken()
    reader = reader_of(taken)
    body = b"x" * CHUNK_BYTES_BULK
    feed(reader, sealed(frame_head(1, Kind.BODY, len(body)), body), 50_000)
    assert taken.spaces == [body]
    assert len(reader.space()) > CHUNK_BYTES_BULK
    reader.shrink()
    assert (len(reader._view), len(reader._scratch)) == (0, 0), "an idle one keeps nothing"
    assert len(reader.space()) == READ_BUFFER_BYTES_MIN


@pytest.mark.parametrize("size", [0, 16, RECORD_BYTES_MAX + 1, 2**32 - 1])
def test_a_length_out_of_bounds_is_refused_before_its_record_comes(size: int) -> None:
    with pytest.raises(RemoteProtocolError):
        feed(reader_of(Taken()), size.to_bytes(4, "big"), 4)


@pytest.mark.parametrize(
    "plaintext",
    [
        b"short",
        frame_head(1, Kind.HEADER, 10) + b"too few",
        frame_head(1, Kind.HEADER, 70_000),
        frame_head(1, Kind.CANCEL, 1) + b"x",
        frame_head(1, Kind.BODY, 0),
        frame_head(1, Kind.BODY, CHUNK_BYTES_BULK + 1),
        b"\0\0\0\x01\x09\0\0\0\0",
    ],
    ids=["cut", "spread", "long header", "cancel with payload", "empty body", "long body", "kind"],
)
def test_frames_that_are_not_allowed_are_refused(plaintext: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        feed(reader_of(Taken()), sealed(plaintext), 10**6)


def test_reordered_repeated_and_damaged_records_do_not_open() -> None:
    key = RecordKey(KEY, make_cipher)
    first = sealed(frame(1, Kind.HEADER, b"a"), key=key)
    second = sealed(frame(3, Kind.HEADER, b"b"), key=key)
    damaged = first[:-1] + bytes([first[-1] ^ 1])
    for data in (second, first + first, damaged):
        with pytest.raises(RemoteProtocolError):
            feed(reader_of(Taken()), data, 10**6)


def opened(key: RecordKey, record: bytes) -> bytes:
    out = bytearray(len(record) - RECORD_OVERHEAD_BYTES)
    key.open_into(record[4:], memoryview(out))
    return bytes(out)


def test_both_sides_move_their_key_on_at_the_same_record() -> None:
    sending = RecordKey(KEY, make_cipher, rekey_records=3)
    taken = Taken()
    reader = FrameReader(RecordKey(KEY, make_cipher, rekey_records=3), taken)
    for number in range(10):
        feed(reader, sealed(frame(number, Kind.HEADER, b"x"), key=sending), 100)
    assert len(taken.frames) == 10


@pytest.mark.parametrize("late", [3, 2**20])
def test_who_moves_on_at_another_record_understands_no_more(late: int) -> None:
    sending, receiving = (
        RecordKey(KEY, make_cipher, rekey_records=2),
        RecordKey(KEY, make_cipher, rekey_records=late),
    )
    for number in range(2):
        assert opened(receiving, sealed(bytes([number]), key=sending)) == bytes([number])
    with pytest.raises(RemoteProtocolError, match="tag"):
        opened(receiving, sealed(b"2", key=sending))


def test_the_key_moves_on_after_two_to_the_twentieth_record() -> None:
    last = REKEY_RECORDS - 1
    ours, plain = (
        RecordKey(KEY, make_cipher, first=last),
        RecordKey(KEY, make_cipher, first=last, rekey_records=2**40),
    )
    assert sealed(b"before", key=ours) == sealed(b"before", key=plain)
    assert sealed(b"after", key=ours) != sealed(b"after", key=plain)


def test_the_moved_key_is_noise_rekey() -> None:
    key = RecordKey(KEY, make_cipher, rekey_records=1)
    sealed(b"first", key=key)
    moved, theirs = bytearray(48), bytearray(21)
    make_cipher(KEY).seal_into(bytes(4) + b"\xff" * 8, bytes(32), memoryview(moved))
    nonce = bytes(4) + (1).to_bytes(8, "little")
    make_cipher(bytes(moved[:32])).seal_into(nonce, b"hello", memoryview(theirs))
    assert sealed(b"hello", key=key)[4:] == theirs


def test_a_rekey_frame_moves_the_key_on_both_sides() -> None:
    sending, taken = RecordKey(KEY, make_cipher), Taken()
    reader = reader_of(taken)
    for number in range(3):
        feed(reader, sealed(frame(number, Kind.HEADER, b"x"), key=sending), 100)
        out = bytearray(REKEY_RECORD_BYTES)
        assert seal_rekey(sending, memoryview(out)) == len(out)
        feed(reader, bytes(out), 7)
    assert [call_id for call_id, _, _ in taken.frames] == [0, 1, 2]


@pytest.mark.parametrize(
    "plaintext",
    [
        frame(1, Kind.REKEY),
        frame(0, Kind.REKEY) + frame(1, Kind.HEADER, b"x"),
        frame_head(0, Kind.REKEY, 1) + b"x",
    ],
    ids=["of a call", "not the last", "with payload"],
)
def test_a_rekey_frame_ends_its_record_and_is_bare(plaintext: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        feed(reader_of(Taken()), sealed(plaintext), 10**6)


def test_a_record_that_does_not_open_does_not_move_the_number() -> None:
    sending, receiving = RecordKey(KEY, make_cipher), RecordKey(KEY, make_cipher)
    first = sealed(b"one", key=sending)
    for _ in range(3):
        with pytest.raises(RemoteProtocolError, match="tag"):
            opened(receiving, first[:-1] + bytes([first[-1] ^ 1]))
    assert opened(receiving, first) == b"one"


def test_the_last_nonce_is_never_used() -> None:
    near = {"first": RECORDS_MAX - 1, "rekey_records": 2**63}
    sending = RecordKey(KEY, make_cipher, **near)
    receiving = RecordKey(KEY, make_cipher, **near)
    last = sealed(b"last", key=sending)
    with pytest.raises(LocalProtocolError, match="used up"):
        sealed(b"one more", key=sending)
    assert opened(receiving, last) == b"last"
    with pytest.raises(RemoteProtocolError, match="used up"):
        opened(receiving, last)


def test_sealed_size_says_what_seal_records_needs() -> None:
    assert sealed_size([b"ab", b"c"]) == 3 + 2 * RECORD_OVERHEAD_BYTES


def test_the_bytes_shown_in_the_page() -> None:
    page = vector("channel")
    head = page["frame HEADER of call 1"]
    last = page["frame CANCEL of call 1"] + page["frame GOODBYE"]
    assert head == frame(1, Kind.HEADER, page["header"])
    assert last == frame(1, Kind.CANCEL) + frame(0, Kind.GOODBYE, bytes(4) + b"bye")
    assert page["key"] == KEY
    records = page["record 0, the HEADER"] + page["record 1, the CANCEL and the GOODBYE"]
    assert sealed(head, last) == records
    assert decode_call(page["header"], None) == ListModules()
    moved = bytearray(48)
    make_cipher(KEY).seal_into(bytes(4) + b"\xff" * 8, bytes(32), memoryview(moved))
    assert page["key after one REKEY"] == moved[:32]
