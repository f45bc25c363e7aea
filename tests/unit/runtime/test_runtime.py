import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from meshnode.caps import Caps
from meshnode.errors import (
    BlobNotFound,
    CannotRunHere,
    MeshnodeError,
    ModelFailed,
    SelfTestFailed,
    TimeLimit,
    Trapped,
    WrongDtype,
    WrongShape,
)
from meshnode.modules.layout import read_head
from meshnode.modules.manifest import Limits, Manifest, SelfTest, TensorSpec
from meshnode.modules.pack import assemble, runner_manifest
from meshnode.runtime import ort
from meshnode.runtime.onnx_file import inspect_model
from meshnode.runtime.runtime import LoadedModule, Runtime, calibrate, effective
from meshnode.runtime.settings import RuntimeSettings
from meshnode.wire.limits import MIB
from tests.unit.runtime.support import ALL, dense, dist, endless, manifest, model, ref, seed_guest

RNG = np.random.default_rng(5)
ROWS = [RNG.standard_normal((1, 4)).astype(np.float32) for _ in range(6)]
TRAP = manifest(
    batch=True, required=Caps.CPU, limits=Limits(memory_bytes=2 * MIB, run_ms=200)
)  # its guest traps if the first element is not 0


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("aot")


@pytest.fixture(params=["auto", "public"])
def runtime(cache: Path, request: pytest.FixtureRequest) -> Runtime:
    settings = RuntimeSettings(binding=request.param)
    return Runtime(settings, cache_dir=cache, mac_key=b"k" * 32, caps=ALL)


@pytest.fixture
def load(runtime: Runtime) -> Callable[..., LoadedModule]:
    def load(model: bytes, *, embed: bool = True, **changes: object) -> LoadedModule:
        facts = inspect_model(model)
        about = runner_manifest(
            name="dense",
            version="1.0.0",
            inputs=facts.inputs,
            outputs=facts.outputs,
            batch=facts.batch,
            self_tests=[facts.self_test] if facts.self_test else [],
        )
        about = replace(about, **changes)  # type: ignore[arg-type]
        wasm, blobs = assemble(dist("onnx-runner"), about, {"model": model}, embed=embed)
        return runtime.load(wasm, read_head(wasm).manifest, blobs)

    return load


def answers(loaded: LoadedModule, rows: list[np.ndarray]) -> list[np.ndarray]:
    result = loaded.run([{"x": row} for row in rows])
    assert result.run_us >= result.model_us >= 0
    for outcome in result.outcomes:
        assert not isinstance(outcome, MeshnodeError), outcome
    return [o["y"] for o in result.outcomes if not isinstance(o, MeshnodeError)]


@pytest.mark.parametrize("embed", [True, False])
def test_a_packed_model_answers_as_onnxruntime_does_bit_for_bit(
    load: Callable[..., LoadedModule], embed: bool
) -> None:
    loaded = load(dense(), embed=embed)
    (y,) = answers(loaded, ROWS[:1])
    assert y.tobytes() == ort.plain_run(dense(), {"x": ROWS[0]})["y"].tobytes()
    assert loaded.memory_bytes > len(dense())
    loaded.close()
    loaded.close()
    with pytest.raises(ValueError, match="closed"):
        loaded.run([])


def test_a_batch_is_one_run_and_is_cut_apart_again(load: Callable[..., LoadedModule]) -> None:
    loaded = load(dense())
    rows = [*ROWS[:2], np.concatenate(ROWS[2:5]), ROWS[5]]
    together = answers(loaded, rows)
    for row, y in zip(rows, together, strict=True):
        assert y.shape == (len(row), 3)
        assert np.allclose(y, ort.plain_run(dense(), {"x": row})["y"], rtol=1e-5, atol=1e-6)
    loaded.close()


def test_one_by_one_and_together_the_answers_agree(load: Callable[..., LoadedModule]) -> None:
    """To 1e-5 here, to 1e-4 by promise: larger products may be added in another order."""
    loaded = load(dense())
    rows = [RNG.standard_normal((n, 4)).astype(np.float32) for n in (1, 1, 3, 1, 2, 1, 1, 8)]
    together = answers(loaded, rows)
    for row, y in zip(rows, together, strict=True):
        (alone,) = answers(loaded, [row])
        assert np.allclose(y, alone, rtol=1e-5, atol=1e-6)
    loaded.close()


def test_requests_of_other_shapes_and_scalars_are_run_apart(
    load: Callable[..., LoadedModule],
) -> None:
    scaled = model(
        [helper.make_node("Mul", ["x", "s"], ["y"])],
        {"x": (TensorProto.FLOAT, ["N", "M"]), "s": (TensorProto.FLOAT, [])},
        {"y": (TensorProto.FLOAT, ["N", "M"])},
    )
    loaded = load(scaled)
    assert loaded.kind({}) is None, "a scalar has no axis to join along"
    shapes = [(1, 2), (2, 3), (1, 2), (4, 1)]
    requests = [
        {"x": np.full(shape, 2, np.float32), "s": np.array(i, np.float32)}
        for i, shape in enumerate(shapes)
    ]
    for i, outcome in enumerate(loaded.run(requests).outcomes):
        assert not isinstance(outcome, MeshnodeError), outcome
        assert outcome["y"].tolist() == np.full(shapes[i], 2 * i).tolist()
    loaded.close()


def test_a_batching_module_with_an_open_width_joins_equal_widths(
    load: Callable[..., LoadedModule],
) -> None:
    wide = model(
        [helper.make_node("Neg", ["x"], ["y"])],
        {"x": (TensorProto.FLOAT, ["N", "M"])},
        {"y": (TensorProto.FLOAT, ["N", "M"])},
    )
    loaded = load(wide)
    rows = [np.full((1, m), m, np.float32) for m in (2, 3, 2, 3, 5)]
    assert loaded.kind({"x": rows[0]}) == loaded.kind({"x": rows[2]}) != loaded.kind({"x": rows[1]})
    for row, y in zip(rows, answers(loaded, rows), strict=True):
        assert y.tolist() == (-row).tolist()
    loaded.close()


def test_misfits_fail_alone_before_anything_runs(load: Callable[..., LoadedModule]) -> None:
    loaded = load(dense())
    good, wide, wrong = ROWS[0], np.zeros((1, 5), np.float32), ROWS[0].astype(np.float64)
    outcomes = loaded.run([{"x": good}, {"x": wide}, {"x": wrong}, {"x": good}]).outcomes
    assert isinstance(outcomes[1], WrongShape)
    assert isinstance(outcomes[2], WrongDtype)
    for i in (0, 3):
        assert not isinstance(outcomes[i], MeshnodeError)
    loaded.close()


def test_one_bad_item_fails_alone_and_the_module_goes_on(runtime: Runtime) -> None:
    loaded = runtime.load(dist("hostile-trap"), TRAP, {})
    good, bad = np.zeros((1, 4), np.float32), np.ones((1, 4), np.float32)
    # The guest looks at the first element of what it is given: the first item spoils the batch.
    outcomes = loaded.run([{"x": bad}, {"x": good}, {"x": good}]).outcomes
    assert isinstance(outcomes[0], Trapped)
    for outcome in outcomes[1:]:
        assert not isinstance(outcome, MeshnodeError)
        assert np.array_equal(outcome["y"], good)
    assert not isinstance(loaded.run([{"x": good}]).outcomes[0], MeshnodeError)
    loaded.close()


def test_ten_good_requests_and_one_that_spins_give_ten_good_answers(runtime: Runtime) -> None:
    spin = seed_guest(
        """local.get $out local.get $in local.get $in_len i32.const 4 i32.mul memory.copy
        block loop
          local.get $in_len i32.eqz br_if 1
          local.get $in f32.load f32.const 13 f32.eq if (loop br 0) end
          local.get $in i32.const 4 i32.add local.set $in
          local.get $in_len i32.const 1 i32.sub local.set $in_len
          br 0
        end end i32.const 0"""
    )
    loaded = runtime.load(spin, TRAP, {})
    rows = [np.full((1, 4), 13 if i == 4 else i, np.float32) for i in range(11)]
    outcomes = loaded.run([{"x": row} for row in rows]).outcomes
    assert isinstance(outcomes.pop(4), TimeLimit)
    for row, outcome in zip([*rows[:4], *rows[5:]], outcomes, strict=True):
        assert not isinstance(outcome, MeshnodeError), outcome
        assert np.array_equal(outcome["y"], row)
    loaded.close()


# A guest that answers with what the request before it brought, and keeps what this one does.
TELLTALE = """
  local.get $out i32.const 1024 i32.const 16 memory.copy
  i32.const 1024 local.get $in i32.const 16 memory.copy
  i32.const 0
"""
PRIVATE = manifest(required=Caps.CPU)


def told(loaded: LoadedModule, value: float, source: str) -> float:
    request = {"x": np.full((1, 4), value, np.float32)}
    (outcome,) = loaded.run([request], [source]).outcomes
    assert not isinstance(outcome, MeshnodeError), outcome
    return float(outcome["y"][0, 0])


def test_a_source_never_sees_what_another_one_sent(runtime: Runtime) -> None:
    loaded = runtime.load(seed_guest(TELLTALE), PRIVATE, {})
    assert told(loaded, 1.0, "cam-1") == 0.0
    assert told(loaded, 2.0, "cam-1") == 1.0, "its own state lasts"
    assert told(loaded, 3.0, "cam-2") == 0.0
    assert told(loaded, 4.0, "cam-1") == 0.0, "nor does it come back when others were here"
    assert told(loaded, 5.0, "") == 0.0, "who names no source is one, too"
    assert told(loaded, 6.0, "") == 5.0
    loaded.close()


@pytest.mark.parametrize("batch", [False, True])
def test_a_batch_of_several_sources_keeps_them_apart(runtime: Runtime, batch: bool) -> None:
    loaded = runtime.load(seed_guest(TELLTALE), replace(PRIVATE, batch=batch), {})
    sources = ["a", "b", "a", "b", "c"]
    requests = [{"x": np.full((1, 4), i + 1, np.float32)} for i in range(len(sources))]
    outcomes = loaded.run(requests, sources).outcomes
    for source, outcome in zip(sources, outcomes, strict=True):
        assert not isinstance(outcome, MeshnodeError), outcome
        own = {0.0, *(i + 1.0 for i, s in enumerate(sources) if s == source)}
        assert set(outcome["y"].reshape(-1).tolist()) <= own
    loaded.close()


def test_without_sources_the_instance_stays(runtime: Runtime) -> None:
    loaded = runtime.load(seed_guest(TELLTALE), PRIVATE, {})
    rows = [np.full((1, 4), i, np.float32) for i in (1, 2)]
    assert [y[0, 0] for y in answers(loaded, rows)] == [0.0, 1.0]
    loaded.close()


def test_a_guest_that_keeps_nothing_serves_every_source_in_one_call(
    load: Callable[..., LoadedModule],
) -> None:
    loaded = load(dense())
    assert loaded.stateless
    before = loaded._sandbox
    result = loaded.run([{"x": row} for row in ROWS], [f"cam-{i}" for i in range(len(ROWS))])
    assert not any(isinstance(o, MeshnodeError) for o in result.outcomes)
    assert loaded._sandbox is before
    loaded.close()


def test_without_batching_requests_run_one_by_one(runtime: Runtime) -> None:
    loaded = runtime.load(dist("linear"), linear_manifest(batch=False), {})
    outcomes = loaded.run([{"x": row} for row in ROWS]).outcomes
    assert all(not isinstance(o, MeshnodeError) and o["y"].shape == (1, 3) for o in outcomes)
    loaded.close()


def linear_manifest(**changes: object) -> Manifest:
    fields: dict[str, object] = {
        "required": Caps.CPU,
        "outputs": (TensorSpec(name="y", dtype="float32", shape=(-1, 3)),),
    }
    return manifest(**(fields | changes))


def test_self_tests_are_run_before_the_module_is_ready(runtime: Runtime) -> None:
    x, y = np.zeros((1, 4), np.float32), np.array([[1, -0.5, -2]], np.float32)
    right = SelfTest(inputs=(x.tobytes(),), outputs=(y.tobytes(),))
    runtime.load(dist("linear"), linear_manifest(self_tests=(right,)), {}).close()
    wrong = SelfTest(inputs=(x.tobytes(),), outputs=((y + 1).tobytes(),))
    with pytest.raises(SelfTestFailed, match="self-test 2"):
        runtime.load(dist("linear"), linear_manifest(self_tests=(right, wrong)), {})


def test_a_capability_this_node_lacks_is_said(cache: Path) -> None:
    bare = Runtime(RuntimeSettings(), cache_dir=cache, mac_key=b"k" * 32, caps=Caps.CPU)
    with pytest.raises(CannotRunHere, match="needs the capability nn"):
        bare.load(dist("onnx-runner"), manifest(abi="infer"), {})
    optional = manifest(
        required=Caps.CPU, optional=Caps.NN, models=(ref(dense()),), limits=Limits()
    )
    loaded = bare.load(dist("hostile-stray"), optional, {})
    (outcome,) = loaded.run([{"x": np.ones((1, 4), np.float32)}]).outcomes
    assert not isinstance(outcome, MeshnodeError)
    assert outcome["y"].tolist() == [[-1, 1, 1, 1]]
    loaded.close()


def test_missing_and_broken_models_are_told(runtime: Runtime) -> None:
    about = manifest(abi="infer", models=(ref(dense()),))
    with pytest.raises(BlobNotFound, match="weights 'model'"):
        runtime.load(dist("onnx-runner"), about, {})
    nonsense = b"\x08\x08\x3a\x00"
    about = manifest(abi="infer", models=(ref(nonsense),))
    with pytest.raises(ModelFailed):
        runtime.load(dist("onnx-runner"), about, {"model": nonsense})


def test_the_lower_of_two_limits_counts() -> None:
    settings = RuntimeSettings(memory_bytes_max=MIB, run_ms_max=500, output_bytes_max=MIB)
    own = Limits(memory_bytes=8 * MIB, run_ms=100, output_bytes=8 * MIB)
    assert effective(own, settings) == Limits(memory_bytes=MIB, run_ms=100, output_bytes=MIB)


def test_several_threads_may_load_at_once(runtime: Runtime) -> None:
    loaded: list[LoadedModule] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            module = runtime.load(dist("linear"), linear_manifest(), {})
            for row in ROWS * 5:
                answers(module, [row])
            loaded.append(module)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(loaded) == 4
    for module in loaded:
        module.close()


def test_loading_and_closing_leaves_no_session(
    runtime: Runtime, load: Callable[..., LoadedModule], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            load(dense()).close()
    assert not runtime._sessions._open
    assert not caplog.records


def test_an_endless_model_is_stopped_and_the_next_request_answered(
    load: Callable[..., LoadedModule], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshnode.runtime.onnx_file.TRIAL_S_MAX", 0.1)
    module = load(endless(), limits=Limits(memory_bytes=MIB, run_ms=100), self_tests=())
    for _ in range(2):
        (outcome,) = module.run([{"x": ROWS[0]}]).outcomes
        assert isinstance(outcome, MeshnodeError)
        assert outcome.code == "MN-403"
    module.close()


def test_calibration_is_a_small_positive_number() -> None:
    assert 1 <= calibrate() < 100_000
