"""Tensors in HTTP bodies, in the three forms they come in."""

import json
from io import BytesIO

import numpy as np
import pytest

from meshnode.errors import InputError, UnreadableInput, UsageError, WrongTensors
from meshnode.gateway.tensors import read_tensors, write_json, write_npy
from meshnode.modules.manifest import TensorSpec
from meshnode.wire import arrays

ONE = (TensorSpec(name="x", dtype="float32", shape=(-1, 3)),)
TWO = (*ONE, TensorSpec(name="n", dtype="int64", shape=(2,)))
ROW = np.array([[1, 2, 3]], np.float32)


def npy(array: np.ndarray) -> bytearray:
    file = BytesIO()
    np.save(file, array)
    return bytearray(file.getvalue())


def test_json_lists_take_the_declared_type() -> None:
    body = bytearray(json.dumps({"inputs": {"n": [1, 2], "x": [[1, 2, 3]]}}).encode())
    heads, parts = read_tensors(body, {"content-type": "application/json"}, TWO, "")
    assert [(h.name, h.dtype, h.shape) for h in heads] == [
        ("n", "int64", (2,)),
        ("x", "float32", (1, 3)),
    ]
    assert b"".join(parts) == np.array([1, 2]).tobytes() + ROW.tobytes() + b"\0" * 4


def test_an_npy_body_is_known_by_its_first_bytes() -> None:
    for kind in ("application/x-npy", "application/x-www-form-urlencoded", ""):
        heads, parts = read_tensors(npy(ROW), {"content-type": kind}, ONE, "")
        assert (heads[0].name, heads[0].shape) == ("x", (1, 3))
        assert bytes(arrays.flat(parts)[:12]) == ROW.tobytes()


def test_a_raw_body_takes_its_type_from_headers() -> None:
    headers = {"content-type": "application/octet-stream", "x-dtype": "float32", "x-shape": "1,3"}
    heads, _ = read_tensors(bytearray(ROW.tobytes()), headers, ONE, "")
    assert (heads[0].dtype, heads[0].shape) == ("float32", (1, 3))
    with pytest.raises(UnreadableInput, match="1 bytes"):
        read_tensors(bytearray(b"1"), headers, ONE, "")
    with pytest.raises(UsageError, match="X-Shape"):
        read_tensors(bytearray(b"1"), {"content-type": "application/octet-stream"}, ONE, "")
    scalar = {"content-type": "application/octet-stream", "x-dtype": "int8", "x-shape": "()"}
    assert read_tensors(bytearray(b"1"), scalar, ONE, "x")[0][0].shape == ()


def test_one_tensor_for_a_module_of_two_needs_its_name() -> None:
    with pytest.raises(WrongTensors, match="takes 2 tensors"):
        read_tensors(npy(ROW), {}, TWO, "")
    assert read_tensors(npy(ROW), {}, TWO, "x")[0][0].name == "x"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"inputs":[]}',
        b'{"inputs":{}}',
        b'{"inputs":{"zzz":[1]}}',
        b'{"inputs":{"x":"text"}}',
        b'{"inputs":{"x":{"dtype":"object","data":[1]}}}',
        b'{"inputs":{"x":{"shape":"1","data":[1]}}}',
        b"[" * 100_000,
        b'{"inputs":{"n":[' + b"9" * 5000 + b"]}}",
    ],
)
def test_bodies_that_are_no_tensors_are_refused(body: bytes) -> None:
    with pytest.raises(InputError):
        read_tensors(bytearray(body), {"content-type": "application/json"}, TWO, "")


def test_answers_are_written_in_both_forms() -> None:
    head = arrays.header("y", "float32", (1, 3))
    body = arrays.join_body([head], [ROW.tobytes()])
    shown = write_json([head], body)
    assert shown == {"y": {"dtype": "float32", "shape": [1, 3], "data": [[1.0, 2.0, 3.0]]}}
    np.testing.assert_array_equal(np.load(BytesIO(write_npy([head], body))), ROW)
    with pytest.raises(WrongTensors, match="2 outputs"):
        write_npy([head, head], body * 2)
