"""Tensors without numpy agree with numpy."""

from io import BytesIO

import numpy as np
import pytest

from meshnode.errors import UnreadableInput, WrongShape, WrongTensors
from meshnode.wire import arrays
from meshnode.wire.limits import RANK_MAX
from meshnode.wire.tensor import TensorHeader

SHAPES = [(), (0,), (5,), (2, 3), (2, 0, 3), (1, 2, 3, 2)]


def saved(array: np.ndarray) -> bytes:
    file = BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize("dtype", arrays.DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_npy_and_lists_round_trip_with_numpy(dtype: str, shape: tuple[int, ...]) -> None:
    array = (np.arange(np.prod(shape, dtype=int)) % 2).astype(dtype).reshape(shape)
    found_dtype, found_shape, data = arrays.read_npy(saved(array), "x.npy")
    assert (found_dtype, found_shape, bytes(data)) == (dtype, shape, array.tobytes())
    head = arrays.header("x", dtype, shape)
    written = np.load(BytesIO(arrays.npy_bytes(head) + data))
    assert written.dtype == array.dtype
    np.testing.assert_array_equal(written, array)
    lists = arrays.to_lists(head, data)
    assert lists == array.tolist()
    if array.size or len(shape) == 1:
        assert arrays.from_lists(lists, dtype, "x") == (shape, array.tobytes())


def test_a_body_pads_each_tensor_to_eight_bytes() -> None:
    heads = [arrays.header("a", "uint8", (3,)), arrays.header("b", "float32", (2,))]
    body = arrays.join_body(heads, [b"abc", b"12345678"])
    assert b"".join(body) == b"abc\0\0\0\0\x0012345678"
    assert arrays.body_bytes(heads) == 16
    assert [bytes(v) for v in arrays.split_body(heads, arrays.flat(body))] == [b"abc", b"12345678"]
    with pytest.raises(WrongShape):
        arrays.split_body(heads, b"short")


def test_floats_that_json_cannot_say_are_spelt() -> None:
    data = np.array([np.nan, np.inf, -np.inf, 1.5], np.float32).tobytes()
    head = arrays.header("x", "float32", (4,))
    spelt = ["NaN", "Infinity", "-Infinity", 1.5]
    assert arrays.to_lists(head, data) == spelt
    assert arrays.from_lists(spelt, "float32", "x") == ((4,), data)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        ([[1, 2], [3]], "int32"),
        ([[1], 2], "int32"),
        ([1.5], "int64"),
        ([300], "uint8"),
        ([-1], "uint16"),
        (["x"], "float32"),
        ([None], "float32"),
        ([True], "float32"),
        ([1], "bool"),
        ([{}], "int8"),
        ([1], "complex64"),
        ("NaN", "int32"),
        ([1e999], "float16"),
    ],
)
def test_lists_that_do_not_fit_are_refused(value: object, dtype: str) -> None:
    if value == [1e999]:
        value = [70000.0]
    with pytest.raises(UnreadableInput):
        arrays.from_lists(value, dtype, "x")


def test_lists_nested_too_deep_are_refused() -> None:
    value: object = 1
    for _ in range(RANK_MAX + 1):
        value = [value]
    with pytest.raises(UnreadableInput, match="deeper"):
        arrays.from_lists(value, "int32", "x")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00\xff\xff{}",
        b"\x93NUMPY\x01\x00\x02\x00{}",
        b"\x93NUMPY\x01\x00\x10\x00__import__('os')",
        saved(np.zeros(3))[:-1],
        saved(np.zeros(3)) + b"\0",
        saved(np.zeros(3, "datetime64[s]")),
        saved(np.array([None])),
        saved(np.zeros(3, ">f4")),
        saved(np.zeros((2, 2), order="F")),
        saved(np.zeros(2, [("a", "<f4")])),
    ],
)
def test_npy_files_that_are_not_plain_tensors_are_refused(data: bytes) -> None:
    with pytest.raises(UnreadableInput):
        arrays.read_npy(data, "x.npy")


def test_json_objects_carry_their_own_type() -> None:
    head, data = arrays.from_json("x", {"dtype": "int8", "shape": [2, 2], "data": [1, 2, 3, 4]}, "")
    assert (head.shape, bytes(data)) == ((2, 2), b"\1\2\3\4")
    with pytest.raises(UnreadableInput, match="other data"):
        arrays.from_json("x", {"dtype": "int8", "shape": [3], "data": [1]}, "")
    with pytest.raises(WrongTensors, match="no input 'x'"):
        arrays.from_json("x", [1], "")


def test_headers_refuse_what_cannot_be() -> None:
    with pytest.raises(UnreadableInput, match="unknown dtype"):
        arrays.header("x", "object", (1,))
    with pytest.raises(UnreadableInput, match="impossible"):
        arrays.header("x", "int8", (-1,))


@pytest.mark.parametrize("shape", [(0, 2**31, 2**31, 2**31), (2**31, 2**31, 4, 0, 1)])
def test_a_shape_without_elements_may_still_be_too_large(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"too big|cannot reshape"):
        np.zeros(0, np.float32).reshape(shape)
    with pytest.raises(UnreadableInput, match="impossible shape"):
        arrays.header("x", "float32", shape)
    head = TensorHeader(name="x", dtype="float32", shape=shape, size=0)
    with pytest.raises(WrongShape, match="'x' is too large"):
        arrays.split_body([head], b"")
    assert arrays.holdable((0, 2**31, 2**29), 4)
    assert np.zeros(0, np.float32).reshape((0, 2**31, 2**29)).size == 0
