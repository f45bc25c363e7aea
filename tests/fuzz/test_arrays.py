"""Any bytes offered as .npy, and any tensor as lists."""

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.errors import UnreadableInput
from meshnode.wire import arrays


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 3))
def test_any_bytes_are_a_tensor_or_refused(data: bytes, version: int) -> None:
    for raw in (data, b"\x93NUMPY" + bytes([version, 0]) + len(data).to_bytes(2, "little") + data):
        with contextlib.suppress(UnreadableInput):
            dtype, shape, body = arrays.read_npy(raw, "x")
            assert arrays.header("x", dtype, shape).size == len(body)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["bool", "uint8", "int64", "float32", "float64"]),
    st.lists(st.integers(1, 4), max_size=4),
    st.data(),
)
def test_bytes_to_lists_and_back(dtype: str, shape: list[int], data: st.DataObject) -> None:
    head = arrays.header("x", dtype, shape)
    raw = data.draw(st.binary(min_size=head.size, max_size=head.size))
    if dtype == "bool":
        raw = bytes(b & 1 for b in raw)
    lists = arrays.to_lists(head, raw)
    found_shape, found = arrays.from_lists(lists, dtype, "x")
    assert found_shape == tuple(shape)
    assert arrays.to_lists(head, found) == lists
