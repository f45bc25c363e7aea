import numpy as np
import pytest

from meshnode.errors import WrongShape
from meshnode.runtime.tensors import from_arrays, to_arrays
from meshnode.wire.arrays import DTYPES


def body_of(parts: tuple[object, ...]) -> memoryview:
    return memoryview(b"".join(bytes(p) for p in parts))  # type: ignore[call-overload]


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_survives_the_way_there_and_back(dtype: str) -> None:
    arrays = {
        "a": np.arange(6).reshape(2, 3).astype(dtype),
        "scalar": np.array(1, dtype),
        "none": np.empty((0, 4), dtype),
    }
    headers, body = from_arrays(arrays, ["none", "a", "scalar"])
    assert [h.name for h in headers] == ["none", "a", "scalar"]
    found = to_arrays(headers, body_of(body))
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


def test_contiguous_arrays_are_not_copied() -> None:
    array = np.arange(16, dtype=np.float32)
    headers, body = from_arrays({"a": array}, ["a"])
    assert np.shares_memory(np.frombuffer(body[0], np.float32), array)
    back = to_arrays(headers, body_of(body))["a"]
    assert not back.flags.owndata


def test_a_transposed_array_arrives_in_c_order() -> None:
    array = np.arange(6, dtype=np.int32).reshape(2, 3).T
    headers, body = from_arrays({"a": array}, ["a"])
    assert np.array_equal(to_arrays(headers, body_of(body))["a"], array)


def test_sizes_that_do_not_add_up_are_refused() -> None:
    headers, body = from_arrays({"a": np.zeros(3, np.float32)}, ["a"])
    with pytest.raises(WrongShape):
        to_arrays(headers, body_of(body)[:-1])
