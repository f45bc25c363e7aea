"""The way that is prepared for a lone request like an earlier one is the right one, always."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from meshnode.caps import Caps
from meshnode.errors import InputError, MeshnodeError, TimeLimit, Trapped
from meshnode.modules.layout import read_head
from meshnode.modules.manifest import Limits
from meshnode.modules.pack import assemble, runner_manifest
from meshnode.runtime import ort
from meshnode.runtime.onnx_file import inspect_model
from meshnode.runtime.runtime import LoadedModule, Runtime
from meshnode.runtime.settings import RuntimeSettings
from meshnode.wire.limits import MIB
from tests.unit.runtime.support import ALL, dense, dist, manifest, model, seed_guest

FLOAT = TensorProto.FLOAT
DENSE = dense()
RNG = np.random.default_rng(8)
PLAIN = manifest(required=Caps.CPU, limits=Limits(memory_bytes=8 * MIB, run_ms=200))


@pytest.fixture(params=["auto", "public"])
def runtime(tmp_path: Path, request: pytest.FixtureRequest) -> Runtime:
    settings = RuntimeSettings(binding=request.param)
    return Runtime(settings, cache_dir=tmp_path, mac_key=b"k" * 32, caps=ALL)


def packed(runtime: Runtime, data: bytes = DENSE) -> LoadedModule:
    facts = inspect_model(data)
    about = runner_manifest(
        name="test",
        version="1.0.0",
        inputs=facts.inputs,
        outputs=facts.outputs,
        batch=facts.batch,
        self_tests=[],
    )
    wasm, blobs = assemble(dist("onnx-runner"), about, {"model": data}, embed=True)
    return runtime.load(wasm, read_head(wasm).manifest, blobs)


def ask(loaded: LoadedModule, x: np.ndarray, source: str = "") -> np.ndarray | MeshnodeError:
    result = loaded.run([{"x": x}], [source])
    (outcome,) = result.outcomes
    assert result.run_us >= result.model_us >= 0
    assert result.failed == (
        isinstance(outcome, MeshnodeError) and not isinstance(outcome, InputError)
    )
    return outcome if isinstance(outcome, MeshnodeError) else outcome["y"]


def test_requests_of_changing_shapes_and_dtypes_get_their_own_answers(runtime: Runtime) -> None:
    loaded = packed(runtime)
    # The room in the guest moves in between, and what was prepared before is of no use then.
    for rows in (1, 1, 2, 1, 9000, 1, 2, 9000, 1):
        x = RNG.standard_normal((rows, 4)).astype(np.float32)
        wanted = ort.plain_run(DENSE, {"x": x})["y"]
        for given in (x, x.astype(">f4"), np.asfortranarray(x)):
            y = ask(loaded, given)
            assert isinstance(y, np.ndarray), y
            assert np.allclose(y, wanted, rtol=1e-5, atol=1e-6)
        assert isinstance(ask(loaded, x.astype(np.float64)), InputError)
        assert isinstance(ask(loaded, x[:, :3]), InputError)
    assert loaded._ready
    loaded.close()
    assert not loaded._ready


def test_answers_are_the_callers_own(runtime: Runtime) -> None:
    loaded = packed(runtime)
    given = [RNG.standard_normal((1, 4)).astype(np.float32) for _ in range(4)]
    answers = [ask(loaded, x) for x in given]
    for x, y in zip(given, answers, strict=True):
        assert isinstance(y, np.ndarray)
        assert y.tobytes() == ort.plain_run(DENSE, {"x": x})["y"].tobytes()
        y[...] = 0
    loaded.close()


def test_a_guest_that_traps_is_replaced_on_the_prepared_way_too(runtime: Runtime) -> None:
    copy = "local.get $out local.get $in i32.const 16 memory.copy i32.const 0"
    trap = "(if (f32.eq (f32.load (local.get $in)) (f32.const 13)) (then unreachable))"
    loaded = runtime.load(seed_guest(trap + copy), PLAIN, {})
    for value in (1, 2, 13, 3, 4, 13, 13, 5):
        y = ask(loaded, np.full((1, 4), value, np.float32))
        if value == 13:
            assert isinstance(y, Trapped)
        else:
            assert isinstance(y, np.ndarray), y
            assert y[0, 0] == value
    loaded.close()


def test_a_guest_that_fails_is_called_once_for_each_request(runtime: Runtime) -> None:
    # Answers with the number of its calls, and fails at every third.
    predict = """
      (i32.store (i32.const 512) (i32.add (i32.load (i32.const 512)) (i32.const 1)))
      (f32.store (local.get $out) (f32.convert_i32_u (i32.load (i32.const 512))))
      (i32.sub (i32.const 0) (i32.eqz (i32.rem_u (i32.load (i32.const 512)) (i32.const 3))))"""
    loaded = runtime.load(seed_guest(predict), PLAIN, {})
    for number in range(1, 10):
        y = ask(loaded, np.zeros((1, 4), np.float32))
        if isinstance(y, MeshnodeError):
            assert number % 3 == 0
        else:
            assert y[0, 0] == number
    loaded.close()


def test_who_comes_after_another_source_finds_nothing_prepared(runtime: Runtime) -> None:
    predict = """
      local.get $out i32.const 1024 i32.const 16 memory.copy
      i32.const 1024 local.get $in i32.const 16 memory.copy
      i32.const 0"""
    loaded = runtime.load(seed_guest(predict), PLAIN, {})
    last = ("", 0.0)
    for value, source in enumerate("aaabbaaabab", 1):
        y = ask(loaded, np.full((1, 4), value, np.float32), source)
        assert isinstance(y, np.ndarray)
        assert y[0, 0] == (last[1] if last[0] == source else 0.0)
        last = (source, float(value))
    loaded.close()


def test_a_lone_request_has_its_full_time_after_batches_had_less(runtime: Runtime) -> None:
    copy = "local.get $out local.get $in local.get $in_len i32.const 4 i32.mul memory.copy"
    spin = "(if (f32.eq (f32.load (local.get $in)) (f32.const 13)) (then (loop (br 0))))"
    about = replace(PLAIN, batch=True, limits=Limits(memory_bytes=8 * MIB, run_ms=400))
    loaded = runtime.load(seed_guest(f"{spin} {copy} i32.const 0"), about, {})
    for value in range(20):
        assert isinstance(ask(loaded, np.full((1, 4), value % 7, np.float32)), np.ndarray)
    loaded.run([{"x": np.full((1, 4), v, np.float32)} for v in (1, 2)])
    assert loaded._sandbox is not None
    loaded._sandbox.allow(100)
    error = ask(loaded, np.full((1, 4), 13, np.float32))
    assert isinstance(error, TimeLimit)
    assert "400 ms" in error.message
    loaded.close()


def test_several_inputs_in_any_order_and_several_outputs(runtime: Runtime) -> None:
    data = model(
        [helper.make_node("Sub", ["a", "b"], ["c"]), helper.make_node("Mul", ["a", "s"], ["d"])],
        {"a": (FLOAT, ["N"]), "b": (FLOAT, ["N"]), "s": (FLOAT, [])},
        {"c": (FLOAT, ["N"]), "d": (FLOAT, ["N"])},
    )
    loaded = packed(runtime, data)
    for rows in (2, 2, 3, 2, 3, 3):
        a, b = RNG.standard_normal((2, rows)).astype(np.float32)
        s = np.array(rows, np.float32)
        for arrays in ({"a": a, "b": b, "s": s}, {"s": s, "b": b, "a": a}):
            (outcome,) = loaded.run([arrays]).outcomes
            assert not isinstance(outcome, MeshnodeError), outcome
            assert np.array_equal(outcome["c"], a - b)
            assert np.array_equal(outcome["d"], a * s)
    assert len(loaded._ready) == 4
    loaded.close()
