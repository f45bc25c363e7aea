"""Control frames: what is written is read, and what is not a frame is refused."""

import pytest

from meshnode.errors import NoCandidate, RemoteProtocolError
from meshnode.wire.control import error_fields, error_from, frame, header_bytes, parse_header


def test_a_frame_is_read_back() -> None:
    raw = frame({"op": "ping"}, 7)
    assert header_bytes(raw[:4], bytes_max=100) == len(raw) - 4
    assert parse_header(raw[4:]) == ({"op": "ping"}, 7)


def test_an_oversized_header_is_refused_before_it_is_received() -> None:
    with pytest.raises(RemoteProtocolError, match="limit 100"):
        header_bytes(b"\xff\xff\xff\xff", bytes_max=100)


@pytest.mark.parametrize(
    "raw", [b"[]", b"{", b"\xff", b'{"body":-1}', b'{"body":true}', b'{"body":"1"}', b"[" * 9999]
)
def test_headers_that_are_not_objects_are_refused(raw: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_header(raw)


def test_an_error_survives_the_way() -> None:
    error = NoCandidate("nobody", because=["mac: draining"], try_="meshnode peers")
    again = error_from(error_fields(error))
    assert isinstance(again, NoCandidate)
    assert (again.message, again.because, again.try_) == ("nobody", error.because, error.try_)
    with pytest.raises(RemoteProtocolError):
        error_from("text")
