"""A load record in 40 bytes: there and back, one way to write each, and nothing else is read."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.ids import NodeTag
from meshnode.wire import cbor
from meshnode.wire.excerpts import LISTED_BITS, excerpt
from meshnode.wire.limits import MODULES_PER_LOAD_MAX
from meshnode.wire.messages import UNNAMED, LoadRecord, Rest
from meshnode.wire.packed_load import BYTES_MAX, LoadField, SpokenLoadField
from meshnode.wire.schema import Misfit
from tests.fuzz.messages import loads
from tests.vectors.examples import LOAD, TOLD

FIELD, SPOKEN = LoadField(), SpokenLoadField()


@given(loads())
def test_what_is_packed_is_read_again(record: LoadRecord) -> None:
    packed = FIELD.pack(record)
    assert isinstance(packed, bytes)
    assert len(packed) <= BYTES_MAX
    assert FIELD.unpack(packed) == record


@given(st.binary(max_size=BYTES_MAX + 1))
def test_any_bytes_are_read_in_one_way_or_refused(data: bytes) -> None:
    try:
        record = FIELD.unpack(data)
    except Misfit:
        return
    assert FIELD.pack(record) == data


def test_a_busy_node_with_one_module_takes_at_most_forty_bytes() -> None:
    module = replace(LOAD.modules[0], first=1300, unit=1300, each=120)
    busy = replace(LOAD, wait=9000, wait_mean=4000, wait_sigma=2000, in_flight=30, speed=9000)
    assert len(cbor.dumps(FIELD.pack(replace(busy, modules=(module,))))) <= 40


@given(loads())
def test_in_a_call_it_has_no_name(record: LoadRecord) -> None:
    packed = SPOKEN.pack(record)
    assert isinstance(packed, bytes)
    assert record.node + packed == FIELD.pack(record)
    assert SPOKEN.unpack(packed) == replace(record, node=UNNAMED)
    with pytest.raises(Misfit):
        SPOKEN.unpack([packed])


def test_eight_modules_take_hardly_more_than_one() -> None:
    module = replace(LOAD.modules[0], first=1300, unit=1300, waits=True)
    busy = replace(LOAD, wait=9000, wait_mean=4000, wait_sigma=2000, in_flight=20, speed=9000)
    told = excerpt(replace(busy, modules=(module,) * 8), 7)
    assert len(cbor.dumps(FIELD.pack(told))) <= 46
    assert len(cbor.dumps(FIELD.pack(replace(told, modules=())))) <= 33


@pytest.mark.parametrize(
    "rest",
    [
        {"at": 8},
        {"at": -1},
        {"listed": 1 << LISTED_BITS},
        {"warm": 1 << MODULES_PER_LOAD_MAX},
        {"waits": -1},
    ],
)
def test_an_excerpt_speaks_of_eight_places(rest: dict[str, int]) -> None:
    assert TOLD.rest is not None
    with pytest.raises(Misfit):
        FIELD.pack(replace(TOLD, rest=replace(TOLD.rest, **rest)))
    with pytest.raises(Misfit):
        FIELD.pack(replace(TOLD, modules=TOLD.modules * 8))


def test_more_places_than_there_are_are_not_read() -> None:
    packed = FIELD.pack(replace(TOLD, rest=Rest(listed=0, at=7, warm=0, waits=0)))
    assert isinstance(packed, bytes)
    module = packed[-12:]
    assert FIELD.unpack(packed).modules
    with pytest.raises(Misfit):
        FIELD.unpack(packed + module)


@pytest.mark.parametrize(
    "change",
    [
        {"sequence": 2**64},
        {"wait": -1},
        {"in_flight": 2**16},
        {"node": NodeTag(bytes(7))},
        {"modules": LOAD.modules * 9},
    ],
)
def test_what_does_not_fit_is_not_sent(change: dict[str, object]) -> None:
    with pytest.raises(Misfit):
        FIELD.pack(replace(LOAD, **change))  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(8),
        bytes(9),
        bytes(8) + b"\x80" * 30,
        bytes(8) + b"\x80\x00" + bytes(6),
        bytes(8) + b"\xff" * 9 + b"\x7f" + bytes(6),
        bytes(8) + bytes(7) + bytes(9),
        bytes(8) + bytes(7) + bytes(10) * 9,
        bytes(BYTES_MAX + 1),
        [1, 2],
    ],
)
def test_what_is_cut_off_too_long_or_too_large_is_refused(data: bytes) -> None:
    with pytest.raises(Misfit):
        FIELD.unpack(data)
