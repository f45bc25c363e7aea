"""What is said on the LAN while somebody lets others in."""

from hypothesis import given
from hypothesis import strategies as st

from meshnode.reach import beacon
from meshnode.reach.opening import Opening, decode, encode


@given(st.integers(1, 65535), st.text(max_size=60).filter(str.isprintable))
def test_it_round_trips_and_a_long_name_is_cut(port: int, name: str) -> None:
    read = decode(encode(Opening(port, name)))
    assert read is not None
    assert (read.port, name.startswith(read.mesh_name)) == (port, True)


@given(st.binary(max_size=80))
def test_any_bytes_are_one_or_none(data: bytes) -> None:
    for prefix in (b"", beacon.MAGIC + b"\x03"):
        read = decode(prefix + data)
        assert read is None or encode(read) == prefix + data


def test_a_beacon_and_a_question_are_none_and_the_other_way_round() -> None:
    assert decode(beacon.question()) is None
    assert beacon.decode(encode(Opening(1, "home"))) is None
