"""InputCheck agrees with the schema."""

import numpy as np
import pytest

from meshnode.errors import InputError
from meshnode.modules.manifest import TensorSpec
from meshnode.runtime.inputs import InputCheck
from tests.unit.runtime.support import manifest

A = TensorSpec(name="a", dtype="float32", shape=(-1, 2))
B = TensorSpec(name="b", dtype="int64", shape=(-1,))
SCALAR = TensorSpec(name="s", dtype="int64", shape=())
BATCHING = InputCheck(manifest(batch=True, inputs=(A, B)))
F32, I64 = np.float32, np.int64


def test_rows_are_those_of_axis_0_of_a_batching_module() -> None:
    assert BATCHING.rows({"a": np.zeros((3, 2), F32), "b": np.zeros(3, I64)}) == 3
    plain = InputCheck(manifest(inputs=(A, SCALAR)))
    assert plain.rows({"a": np.zeros((3, 2), F32), "s": np.array(1)}) == 1


@pytest.mark.parametrize(
    "arrays",
    [
        {"a": np.zeros((3, 2), F32)},
        {"a": np.zeros((3, 2), F32), "b": np.zeros(2, I64)},
        {"a": np.zeros((0, 2), F32), "b": np.zeros(0, I64)},
        {"a": np.zeros((1, 3), F32), "b": np.zeros(1, I64)},
        {"a": np.zeros((1, 2), I64), "b": np.zeros(1, I64)},
        {"a": np.zeros((1, 2), F32), "b": np.zeros((1, 1), I64)},
        {"a": np.zeros((1, 2), F32), "b": np.zeros(1, I64), "c": np.zeros(1, I64)},
    ],
)
def test_what_is_wrong_is_named(arrays: dict[str, np.ndarray]) -> None:
    with pytest.raises(InputError):
        BATCHING.rows(arrays)
