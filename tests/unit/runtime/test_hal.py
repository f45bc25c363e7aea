import logging
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from meshnode.errors import ModelFailed, TimeLimit
from meshnode.modules.manifest import Limits, Manifest, TensorSpec
from meshnode.runtime import ort
from meshnode.runtime.sessions import SessionCache, Sessions
from meshnode.runtime.settings import RuntimeSettings
from meshnode.wire.limits import MIB
from tests.unit.runtime.nn_support import typed
from tests.unit.runtime.support import (
    ALL,
    SEED_HEAD,
    call,
    dense,
    dist,
    endless,
    engine,
    manifest,
    model,
    ref,
    seed_guest,
)

X = np.random.default_rng(3).standard_normal((2, 4)).astype(np.float32)
ROW = np.array([[1, 0, 0, 0]], np.float32)
IMPORTS = """
  (import "meshnode" "query_caps" (func $caps (result i32)))
  (import "meshnode" "log" (func $log (param i32 i32 i32)))
  (import "meshnode" "model_open" (func $open (param i32 i32) (result i32)))
  (import "meshnode" "describe" (func $describe (param i32 i32 i32 i32) (result i32)))
  (import "meshnode" "infer" (func $infer (param i32 i32 i32 i32 i32) (result i32)))
"""
NAMES = '(data (i32.const 100) "modelother\\0a\\1b[31m")'


def segment(at: int, *words: int) -> str:
    data = b"".join(word.to_bytes(4, "little") for word in words)
    return f'(data (i32.const {at}) "{"".join(f"{chr(92)}{b:02x}" for b in data)}")'


# An input record at 200: dims at 300 [1,4], data at 400, float32 with odd padding. An output
# record at 220: dims at 320, room for 12 bytes at 500.
RECORDS = (
    segment(200, 300, 2, 0xCCBBAA01, 400, 16)
    + segment(220, 320, 2, 1, 500, 12)
    + segment(300, 1, 4)
)


def runner(**limits: int) -> Manifest:
    return manifest(
        abi="infer",
        outputs=(TensorSpec(name="y", dtype="float32", shape=(-1, 3)),),
        limits=Limits(**({"memory_bytes": 4 * MIB, "run_ms": 200, "output_bytes": MIB} | limits)),
    )


@pytest.fixture
def sessions(tmp_path: Path) -> Sessions:
    cache = SessionCache(RuntimeSettings(), engine()[1], caps=ALL, empty_dir=tmp_path / "empty")
    return {
        "model": cache.acquire(ref(dense()), dense()),
        "endless": cache.acquire(ref(endless()), endless()),
    }


def opened(folder: Path, data: bytes) -> Sessions:
    cache = SessionCache(RuntimeSettings(), engine()[1], caps=ALL, empty_dir=folder / "empty")
    return {"model": cache.acquire(ref(data), data)}


def ask(body: str, sessions: Sessions, *, results: int = 1) -> list[int]:
    """Run host calls in a guest's predict; what is left on the stack comes back as floats."""
    stores = "".join(
        f"(f32.store offset={4 * i} (local.get $out) (f32.convert_i32_s (local.get ${i})))"
        for i in range(results)
    )
    locals_ = "".join(f"(local ${i} i32)" for i in range(results))
    sets = "".join(f"(local.set ${i})" for i in reversed(range(results)))
    wasm = seed_guest(
        f"{locals_} {body} {sets} {stores} i32.const 0", IMPORTS + SEED_HEAD + NAMES + RECORDS
    )
    (y,) = call(wasm, ROW, sessions=sessions)
    return [int(v) for v in y.reshape(-1)[:results]]


OPEN = "(call $open (i32.const 100) (i32.const 5))"
INFER = "(call $infer (i32.const 1) (i32.const 200) (i32.const 1) (i32.const 220) (i32.const 1))"


def test_the_runner_guest_passes_tensors_through(sessions: Sessions) -> None:
    (y,) = call(dist("onnx-runner"), X, about=runner(), sessions=sessions)
    assert y.tobytes() == ort.plain_run(dense(), {"x": X})["y"].tobytes()


def test_query_caps_shows_only_accelerators(sessions: Sessions) -> None:
    assert ask("(call $caps)", sessions) == [1]


def test_models_are_opened_by_name(sessions: Sessions) -> None:
    other = "(call $open (i32.const 105) (i32.const 5))"
    assert ask(OPEN + OPEN + other, sessions, results=3) == [1, 2, -8]


def test_no_more_than_sixteen_models_are_open(sessions: Sessions) -> None:
    assert ask(f"(drop {OPEN})" * 15 + OPEN + OPEN, sessions, results=2) == [16, -7]


def test_pointers_outside_the_memory_are_errno_1(sessions: Sessions) -> None:
    calls = (
        "(call $open (i32.const -16) (i32.const 100))",
        "(call $open (i32.const 100) (i32.const -1))",
        f"(drop {OPEN}) (call $describe (i32.const 1) (i32.const 0) (i32.const 0) (i32.const -4))",
        "(call $infer (i32.const 1) (i32.const -4) (i32.const 1) (i32.const 220) (i32.const 1))",
    )
    assert ask("".join(calls), sessions, results=4) == [-1, -1, 1, 1]


def test_handles_indices_and_counts_are_checked(sessions: Sessions) -> None:
    calls = (
        f"(drop {OPEN})",
        "(call $describe (i32.const 2) (i32.const 0) (i32.const 0) (i32.const 200))",
        "(call $describe (i32.const 1) (i32.const 2) (i32.const 0) (i32.const 200))",
        "(call $describe (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 200))",
        "(call $infer (i32.const 1) (i32.const 200) (i32.const 2) (i32.const 220) (i32.const 1))",
    )
    assert ask("".join(calls), sessions, results=4) == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("change", "errno"),
    [
        ("", 0),
        ("(i32.store8 (i32.const 208) (i32.const 4))", 1),  # another type
        ("(i32.store (i32.const 216) (i32.const 12))", 1),  # size and dims differ
        ("(i32.store (i32.const 204) (i32.const 99))", 1),  # rank
        ("(i32.store (i32.const 200) (i32.const -4))", 1),  # dims outside
        ("(i32.store (i32.const 212) (i32.const -4))", 1),  # data outside
        ("(i32.store (i32.const 212) (i32.const 401))", 0),  # data not aligned
        ("(i32.store (i32.const 220) (i32.const -4))", 1),  # output's dims outside
        ("(i32.store (i32.const 232) (i32.const -4))", 1),  # output's data outside
        ("(i64.store (i32.const 300) (i64.const -1))", 1),  # a product that would wrap
    ],
)
def test_records_are_checked(sessions: Sessions, change: str, errno: int) -> None:
    infer = (
        "(call $infer (i32.const 1) (i32.const 200) (i32.const 1) (i32.const 220) (i32.const 1))"
    )
    assert ask(f"(drop {OPEN}) {change} {infer}", sessions) == [errno]


def test_too_large_leaves_the_size_that_is_needed(sessions: Sessions) -> None:
    asked = (
        f"(drop {OPEN}) (i32.store (i32.const 236) (i32.const 11))"
        f"{INFER} (i32.load (i32.const 236)) (i32.load (i32.const 224))"
    )
    assert ask(asked, sessions, results=3) == [7, 12, 2]


def test_describe_tells_type_and_shape(sessions: Sessions) -> None:
    asked = (
        f"(drop {OPEN}) (call $describe (i32.const 1) (i32.const 1) (i32.const 0) (i32.const 220))"
        "(i32.load8_u (i32.const 228)) (i32.load (i32.const 320)) (i32.load (i32.const 324))"
    )
    assert ask(asked, sessions, results=4) == [0, 1, -1, 3]
    no_room = (
        f"(drop {OPEN}) (i32.store (i32.const 224) (i32.const 1))"
        "(call $describe (i32.const 1) (i32.const 1) (i32.const 0) (i32.const 220))"
        "(i32.load (i32.const 224))"
    )
    assert ask(no_room, sessions, results=2) == [7, 2]


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ([2**40], [0, -1, 0]),
        ([65_536, 65_536], [0, 65_536, 0]),
        ([3 * 2**27], [0, 3 * 2**27, -(2**30)]),
    ],
)
def test_describe_tells_of_shapes_beyond_32_bits(
    tmp_path: Path, shape: list[object], told: list[int]
) -> None:
    asked = (
        f"(drop {OPEN}) (call $describe (i32.const 1) (i32.const 1) (i32.const 0) (i32.const 220))"
        "(i32.load (i32.const 320)) (i32.load (i32.const 236))"
    )
    huge = opened(tmp_path, typed(TensorProto.DOUBLE, shape))
    assert ask(asked, huge, results=3) == told


def test_an_answer_of_no_elements_and_a_huge_axis_is_the_models_fault(tmp_path: Path) -> None:
    data = model(
        [helper.make_node("Expand", ["x", "to"], ["y"])],
        {"x": (TensorProto.FLOAT, ["N", 1])},
        {"y": (TensorProto.FLOAT, ["N", "M"])},
        {"to": np.array([1, 2**40], np.int64)},
    )
    no_rows = "(i64.store (i32.const 300) (i64.const 0x100000000))"  # dims [0,1]
    asked = f"(drop {OPEN}) {no_rows} (i32.store (i32.const 216) (i32.const 0)) {INFER}"
    with pytest.raises(ModelFailed, match="no guest can have"):
        call(
            seed_guest(asked, IMPORTS + SEED_HEAD + NAMES + RECORDS),
            ROW,
            sessions=opened(tmp_path, data),
        )


def test_logs_are_bounded_and_cannot_forge_lines(
    sessions: Sessions, caplog: pytest.LogCaptureFixture
) -> None:
    line = "(call $log (i32.const 1) (i32.const 105) (i32.const 11))"
    wild = "(call $log (i32.const 1) (i32.const -4) (i32.const 100))"
    with caplog.at_level(logging.DEBUG, "meshnode.guest"):
        ask(wild + line * 50 + "i32.const 0", sessions)
    assert [r.getMessage() for r in caplog.records] == ["test: other\\n\\x1b[31m"] * 3


def test_why_a_model_failed_is_what_the_request_hears(sessions: Sessions) -> None:
    wrong = np.zeros((1, 5), np.float32)
    with pytest.raises(ModelFailed, match="invalid dimensions"):
        call(dist("onnx-runner"), wrong, about=runner(), sessions=sessions)


def test_an_endless_model_is_the_guests_time_limit(sessions: Sessions) -> None:
    about = runner(run_ms=100)
    with pytest.raises(TimeLimit, match="limit of 100 ms"):
        call(dist("onnx-runner"), X, about=about, sessions={"model": sessions["endless"]})


def test_an_output_of_unknown_size_gets_its_room_and_is_remembered(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    data = model(
        [helper.make_node("NonZero", ["x"], ["y"])],
        {"x": (TensorProto.FLOAT, ["N", 4])},
        {"y": (TensorProto.INT64, [2, "K"])},
    )
    cache = SessionCache(RuntimeSettings(), engine()[1], caps=ALL, empty_dir=tmp_path / "e")
    about = manifest(
        abi="infer",
        outputs=(TensorSpec(name="y", dtype="int64", shape=(2, -1)),),
        limits=Limits(memory_bytes=4 * MIB, run_ms=500, output_bytes=MIB),
    )
    x = np.ones((500, 4), np.float32)
    (y,) = call(
        dist("onnx-runner"), x, about=about, sessions={"model": cache.acquire(ref(data), data)}
    )
    assert np.array_equal(y, np.array(np.nonzero(x)))


def test_scalars_may_be_written_as_one_element(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    data = model(
        [helper.make_node("Mul", ["x", "rate"], ["y"])],
        {"x": (TensorProto.FLOAT, ["N", 4]), "rate": (TensorProto.FLOAT, [])},
        {"y": (TensorProto.FLOAT, ["N", 4])},
    )
    cache = SessionCache(RuntimeSettings(), engine()[1], caps=ALL, empty_dir=tmp_path / "e")
    about = manifest(
        abi="infer",
        inputs=(
            TensorSpec(name="x", dtype="float32", shape=(-1, 4)),
            TensorSpec(name="rate", dtype="float32", shape=()),
        ),
    )
    held = {"model": cache.acquire(ref(data), data)}
    for rate in (np.array(2, np.float32), np.array([2], np.float32)):
        (y,) = call(dist("onnx-runner"), X, rate, about=about, sessions=held)
        assert np.array_equal(y, X * 2)
