"""A FrameReader survives any bytes with only its own error, and loses nothing to any split."""

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.errors import RemoteProtocolError
from meshnode.wire.frames import FrameReader, Kind, RecordKey, frame_head, seal_records, sealed_size
from tests.unit.wire.plumbing import PlainCipher, feed
from tests.unit.wire.test_frames import Taken

FRAMES = st.lists(
    st.tuples(
        st.integers(0, 2**32 - 1),
        st.sampled_from([Kind.HEADER, Kind.BODY, Kind.GOODBYE]),
        st.binary(min_size=1, max_size=300),
    ),
    min_size=1,
    max_size=12,
)


def reader_of(taken: Taken) -> FrameReader:
    return FrameReader(RecordKey(b"", PlainCipher), taken)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=2000), step=st.integers(1, 300))
def test_any_bytes_give_frames_or_the_protocol_error(data: bytes, step: int) -> None:
    with contextlib.suppress(RemoteProtocolError):
        feed(reader_of(Taken()), data, step)


@settings(max_examples=200, deadline=None)
@given(plain=st.lists(st.binary(min_size=1, max_size=200), max_size=8), wanted=st.booleans())
def test_any_authentic_plaintext_gives_frames_or_the_protocol_error(
    plain: list[bytes], wanted: bool
) -> None:
    data = bytearray(sealed_size(plain))
    seal_records(RecordKey(b"", PlainCipher), plain, memoryview(data))
    with contextlib.suppress(RemoteProtocolError):
        feed(reader_of(Taken(wanted=wanted)), bytes(data))


@settings(max_examples=100, deadline=None)
@given(frames=FRAMES, cuts=st.lists(st.integers(0, 299), max_size=20), step=st.integers(1, 500))
def test_frames_survive_any_cut_of_their_bodies_and_any_split_of_the_stream(
    frames: list[tuple[int, Kind, bytes]], cuts: list[int], step: int
) -> None:
    records: list[bytes] = [b""]
    for number, (call_id, kind, payload) in enumerate(frames):
        cut = cuts[number] if kind is Kind.BODY and number < len(cuts) else len(payload)
        records[-1] += frame_head(call_id, kind, len(payload)) + payload[:cut]
        if payload[cut:]:
            records.append(payload[cut:])
    data = bytearray(sealed_size(records))
    seal_records(RecordKey(b"", PlainCipher), records, memoryview(data))
    taken = Taken()
    feed(reader_of(taken), bytes(data), step)
    assert taken.frames == [f for f in frames if f[1] is not Kind.BODY]
    assert taken.spaces == [payload for _, kind, payload in frames if kind is Kind.BODY]
    assert taken.filled == [call_id for call_id, kind, _ in frames if kind is Kind.BODY]
