import numpy as np
import pytest

from meshnode.errors import InputError
from meshnode.modules.manifest import Manifest, TensorSpec
from meshnode.modules.schema import check_inputs
from meshnode.runtime.hard_inputs import (
    LARGE_BYTES_MAX,
    LARGE_ROWS_MAX,
    Arrays,
    Inputs,
    Worth,
    extremes,
)
from meshnode.wire.arrays import header
from tests.unit.runtime.support import manifest

SEEDS = range(60)


def spec(name: str, dtype: str, *shape: int) -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=shape)


def check(about: Manifest, arrays: Arrays) -> int:
    return check_inputs(about, [header(n, a.dtype.name, a.shape) for n, a in arrays.items()])


BATCHING = manifest(
    batch=True, inputs=(spec("x", "float32", -1, 3, -1), spec("ids", "int64", -1, 1))
)
SINGLE = manifest(inputs=(spec("s", "float64"), spec("mask", "bool", -1), spec("k", "uint8", 4, 4)))
SIZES = {"x": (1, 3, 8), "ids": (1, 1), "s": (), "mask": (5,), "k": (4, 4)}


@pytest.mark.parametrize("about", [BATCHING, SINGLE], ids=["batching", "single"])
def test_every_case_is_what_it_says_of_itself(about: Manifest) -> None:
    inputs = Inputs(about, {s.name: SIZES[s.name] for s in about.inputs})
    seen = set()
    for seed in SEEDS:
        case = inputs.case(seed)
        seen.add(case.kind)
        if case.worth is Worth.BAD:
            with pytest.raises(InputError):
                check(about, dict(case.arrays))
        else:
            assert check(about, dict(case.arrays)) >= 1
    assert len(seen) == 14


def test_the_same_seed_makes_the_same_case() -> None:
    inputs = Inputs(BATCHING, SIZES)
    for seed in SEEDS:
        one, other = inputs.case(seed), inputs.case(seed)
        assert one.kind == other.kind
        for name, array in one.arrays.items():
            assert np.array_equal(array, other.arrays[name], equal_nan=array.dtype.kind == "f")


def test_a_large_case_stays_within_its_share_of_the_limits() -> None:
    rows, single = (_large(about) for about in (BATCHING, SINGLE))
    assert rows["x"].shape == (LARGE_ROWS_MAX, 3, 8)
    assert rows["ids"].shape == (LARGE_ROWS_MAX, 1)
    most = min(LARGE_BYTES_MAX, SINGLE.limits.memory_bytes // 16)
    assert most / 8 < sum(a.nbytes for a in single.values()) <= most
    assert single["mask"].shape == (32768,)


def _large(about: Manifest) -> Arrays:
    cases = map(Inputs(about, SIZES).case, range(14))
    return next(dict(c.arrays) for c in cases if c.kind == "large")


def test_an_oversized_case_takes_no_memory() -> None:
    (case,) = [c for c in map(Inputs(BATCHING, SIZES).case, range(14)) if c.kind == "oversized"]
    assert sum(a.nbytes for a in case.arrays.values()) > 64 << 20
    assert any(0 in a.strides for a in case.arrays.values())


def test_extremes_are_of_their_dtype() -> None:
    rng = np.random.default_rng(1)
    for dtype in ("bool", "uint8", "int64", "float16", "float64"):
        assert extremes(rng, dtype, (9,)).dtype.name == dtype
