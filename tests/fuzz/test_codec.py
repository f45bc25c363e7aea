"""Every message survives the way there and back; any bytes give a message or our own error."""

from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.errors import LocalProtocolError, RemoteProtocolError
from meshnode.wire import codec, limits
from tests.fuzz.messages import calls, envelopes

SETTINGS = settings(max_examples=200, deadline=None)


def view_of(body: tuple) -> memoryview | None:
    joined = b"".join(body)
    return memoryview(joined) if joined else None


@st.composite
def damaged(draw, whole: bytes) -> bytes:
    """Flip, drop, insert or repeat bytes in a few places."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.integers(0, 3)):
            case 0 if data:
                data[at] ^= 1 << draw(st.integers(0, 7))
            case 1:
                del data[at : at + draw(st.integers(1, 4))]
            case 2:
                data[at:at] = draw(st.binary(min_size=1, max_size=9))
            case _:
                data[at:at] = data[at : at + draw(st.integers(1, 40))]
    return bytes(data)


@given(envelopes())
@SETTINGS
def test_every_datagram_comes_back_as_it_was(envelope: codec.Envelope) -> None:
    try:
        data = codec.encode_datagram(envelope)
    except LocalProtocolError as error:
        refused = error.message
    else:
        assert len(data) <= limits.MESSAGE_BYTES_MAX
        assert codec.decode_datagram(data) == envelope
        return
    assert "limit 1128" in refused, "only its length may stand against it"


@given(calls())
@SETTINGS
def test_every_call_comes_back_as_it_was(message) -> None:
    header, body = codec.encode_call(message)
    view = view_of(body)
    assert codec.body_size_of(header) == sum(map(len, body))
    assert codec.decode_call(header, view) == message


@given(st.binary(max_size=1300))
@SETTINGS
def test_any_bytes_are_a_datagram_or_refused(data: bytes) -> None:
    with suppress(RemoteProtocolError):
        codec.decode_datagram(data)


@given(st.binary(max_size=1300), st.binary(max_size=64))
@SETTINGS
def test_any_bytes_are_a_call_or_refused(header: bytes, body: bytes) -> None:
    with suppress(RemoteProtocolError):
        assert 0 <= codec.body_size_of(header) <= limits.BODY_BYTES_MAX
    with suppress(RemoteProtocolError):
        codec.decode_call(header, memoryview(body))


@given(envelopes(), st.data())
@SETTINGS
def test_a_damaged_datagram_is_refused_or_another_valid_one(envelope, data) -> None:
    with suppress(LocalProtocolError):
        broken = data.draw(damaged(codec.encode_datagram(envelope)))
        with suppress(RemoteProtocolError):
            codec.encode_datagram(codec.decode_datagram(broken))


@given(calls(), st.data())
@SETTINGS
def test_a_damaged_call_is_refused_or_another_valid_one(message, data) -> None:
    header, body = codec.encode_call(message)
    broken = data.draw(damaged(header))
    with suppress(RemoteProtocolError):
        codec.body_size_of(broken)
    with suppress(RemoteProtocolError):
        again = codec.decode_call(broken, view_of(body))
        assert codec.encode_call(again)[0] == broken, "one encoding for each message"
