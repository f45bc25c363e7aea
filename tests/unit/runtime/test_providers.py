import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from meshnode.caps import Caps
from meshnode.runtime import providers

EVERY = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "OpenVINOExecutionProvider"]
CPU = "CPUExecutionProvider"


def test_the_best_provider_allowed_comes_first_and_the_cpu_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(providers, "_any_exists", lambda _: True)
    here = [CPU, *reversed(EVERY), "AzureExecutionProvider"]
    assert providers.choose(here, Caps.CPU | Caps.CUDA | Caps.OPENCL) == [*EVERY, CPU]
    assert providers.choose(here, Caps.CPU | Caps.OPENCL) == ["OpenVINOExecutionProvider", CPU]
    assert providers.choose(here, Caps.CPU) == [CPU]


def test_a_provider_without_its_device_is_not_present(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "_any_exists", lambda _: False)
    assert list(providers.present([*EVERY, CPU])) == ["OpenVINOExecutionProvider", CPU]


def test_without_onnxruntime_there_is_no_nn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "find_spec", lambda _: None)
    assert providers.detect_caps() == Caps.CPU


def test_accelerated_builds_are_asked_what_they_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from meshnode.runtime import ort

    (tmp_path / "capi").mkdir()
    (tmp_path / "capi" / "libonnxruntime_providers_shared.so").touch()
    (tmp_path / "capi" / "libonnxruntime_providers_openvino.so").touch()
    spec = ModuleSpec("onnxruntime", None)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(providers, "find_spec", lambda _: spec)
    monkeypatch.setattr(ort, "available_providers", lambda: ["OpenVINOExecutionProvider", CPU])
    assert providers.detect_caps() == Caps.CPU | Caps.NN | Caps.OPENCL


def test_looking_does_not_import_onnxruntime() -> None:
    code = (
        "import sys; from meshnode.runtime.hal import detect_caps; detect_caps();"
        "sys.exit('onnxruntime' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_host_interfaces_are_the_programs_and_not_the_machines() -> None:
    assert providers.with_interfaces(Caps.CPU) == Caps.CPU | Caps.WASI
    with_models = providers.with_interfaces(Caps.CPU | Caps.NN)
    assert with_models == Caps.CPU | Caps.NN | Caps.NN_LOAD | Caps.WASI
