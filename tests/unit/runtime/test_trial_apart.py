"""A trial in another process finds what it finds in this one, and is ended when it must be."""

import signal
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from meshnode.assets import asset
from meshnode.errors import (
    MemoryLimit,
    MeshnodeError,
    ModelFailed,
    ModuleFailed,
    SelfTestFailed,
    TimeLimit,
)
from meshnode.modules.layout import read_head
from meshnode.modules.manifest import Limits, Manifest, SelfTest, TensorSpec
from meshnode.modules.pack import assemble, runner_manifest
from meshnode.runtime.trial import Trial
from meshnode.runtime.trial_apart import HardInputs, _ended, limits, try_apart
from meshnode.wire.limits import MIB
from tests.unit.runtime.support import ALL, dist, manifest, model

BATCHING = manifest(batch=True, limits=Limits(memory_bytes=4 * MIB, run_ms=100))
X = np.ones((1, 4), np.float32)


def tried(guest: bytes, about: Manifest, folder: Path, silence_s: float | None = None) -> Trial:
    wasm, _ = assemble(guest, about, {}, embed=False)
    return try_apart(
        wasm,
        read_head(wasm).manifest,
        {},
        caps=ALL,
        folder=folder,
        hard=HardInputs(fuzz=40),
        progress=lambda done, of: told.append((done, of)),
        silence_s_max=silence_s,
    )


told: list[tuple[int, int]] = []


def test_what_was_found_comes_back(tmp_path: Path) -> None:
    told.clear()
    trial = tried(dist("echo"), BATCHING, tmp_path)
    assert trial.failures == []
    assert trial.inputs.total == trial.wanted == 40
    assert told[-1] == (40, 40)
    assert trial.batch == "equal bit for bit"
    assert trial.latency_ms


def test_what_it_raised_is_raised(tmp_path: Path) -> None:
    wrong = SelfTest(inputs=(X.tobytes(),), outputs=((X + 1).tobytes(),))
    about = manifest(batch=True, limits=BATCHING.limits, self_tests=(wrong,))
    with pytest.raises(SelfTestFailed, match="not what the module promises") as caught:
        tried(dist("echo"), about, tmp_path)
    assert caught.value.exit_status == SelfTestFailed.exit_status
    assert caught.value.because


def test_a_trial_that_says_nothing_is_ended(tmp_path: Path) -> None:
    with pytest.raises(TimeLimit, match=r"said nothing for 0\.01 s"):
        tried(dist("echo"), BATCHING, tmp_path, silence_s=0.01)


def test_a_model_that_takes_all_memory_takes_only_its_process_s(tmp_path: Path) -> None:
    """8 GiB: below what onnxruntime's arena allows on a large machine, above what a trial has."""
    nodes = [
        helper.make_node("ConstantOfShape", ["size"], ["huge"]),
        helper.make_node("ReduceSum", ["huge"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    floats = (TensorProto.FLOAT, ["N", 4])
    data = model(nodes, {"x": floats}, {"y": floats}, {"size": np.array([1 << 31], np.int64)})
    x, y = (TensorSpec(name=name, dtype="float32", shape=(-1, 4)) for name in "xy")
    about = runner_manifest(name="huge", version="1.0.0", inputs=(x,), outputs=(y,), batch=True)
    guest = asset("onnx-runner.wasm").read_bytes()
    wasm, weights = assemble(guest, about, {"model": data}, embed=False)
    with pytest.raises(MeshnodeError) as caught:
        try_apart(
            wasm,
            read_head(wasm).manifest,
            weights,
            caps=ALL,
            folder=tmp_path,
            hard=HardInputs(fuzz=1),
            progress=lambda done, of: None,
        )
    assert isinstance(caught.value, ModelFailed | MemoryLimit)


def test_a_trial_without_end_has_no_limit_of_cpu_time() -> None:
    assert "CPU" in limits(BATCHING, endless=False)
    assert "CPU" not in limits(BATCHING, endless=True)


@pytest.mark.parametrize(
    ("status", "last", "error"),
    [
        (-signal.SIGKILL, [], MemoryLimit),
        (1, ["MemoryError"], MemoryLimit),
        (-signal.SIGXCPU, [], TimeLimit),
        (-signal.SIGSEGV, [], ModuleFailed),
        (1, ["ValueError: what"], ModuleFailed),
        (0, [], ModuleFailed),
    ],
)
def test_how_it_ended_is_said(status: int, last: list[str], error: type[MeshnodeError]) -> None:
    found = _ended(status, last)
    assert type(found) is error
    assert found.because
