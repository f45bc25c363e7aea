import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from meshnode.caps import Caps
from meshnode.runtime.devices import Machine
from meshnode.runtime.providers import (
    ACCELERATORS,
    CPU_PROVIDER,
    TABLE,
    Accelerator,
    Fallbacks,
    Verdict,
    accelerated,
    described,
    detect_caps,
    judge,
    missing,
    survey,
    usable,
    with_interfaces,
)

LINUX = Machine(system="linux", arch="x86_64")
EVERY = sorted({each.provider for each in TABLE})


def caps_of(available: list[str], machine: Machine, within: Caps = ACCELERATORS) -> Caps:
    found = Caps(0)
    for each in usable(judge(available, machine, within), within):
        found |= each.cap
    return found


def named(provider: str, cap: Caps) -> Accelerator:
    return next(e for e in TABLE if e.provider == f"{provider}ExecutionProvider" and e.cap == cap)


def test_a_build_with_every_provider_gives_no_bit_on_a_machine_without_devices() -> None:
    for arch in ("x86_64", "aarch64"):
        assert caps_of(EVERY, replace(LINUX, arch=arch)) == Caps(0)
    assert all(v.reason for v in judge(EVERY, LINUX, ACCELERATORS))


def test_the_cpu_alone_gives_no_bit_whatever_devices_there_are() -> None:
    rich = replace(LINUX, openable=frozenset({"/dev/nvidia0", "/dev/kfd"}))
    assert (
        judge([CPU_PROVIDER, "AzureExecutionProvider", "DnnlExecutionProvider"], rich, ACCELERATORS)
        == []
    )


@pytest.mark.parametrize(
    ("provider", "machine", "cap"),
    [
        ("CUDA", replace(LINUX, openable=frozenset({"/dev/nvidia0"})), Caps.CUDA),
        ("CUDA", replace(LINUX, openable=frozenset({"/dev/dxg"})), Caps.CUDA),
        (
            "CUDA",
            replace(LINUX, ep_devices=frozenset({("CUDAExecutionProvider", "gpu")})),
            Caps.CUDA,
        ),
        ("Tensorrt", replace(LINUX, openable=frozenset({"/dev/nvhost-gpu"})), Caps.CUDA),
        ("ROCM", replace(LINUX, openable=frozenset({"/dev/kfd"})), Caps.CUDA),
        ("MIGraphX", replace(LINUX, openable=frozenset({"/dev/kfd"})), Caps.CUDA),
        ("OpenVINO", replace(LINUX, openvino=("CPU", "GPU.0", "GPU.1")), Caps.OPENCL),
        ("OpenVINO", replace(LINUX, openvino=("CPU", "NPU")), Caps.VPU),
        ("OpenVINO", replace(LINUX, openvino=("CPU", "GPU", "NPU")), Caps.OPENCL | Caps.VPU),
        ("OpenVINO", replace(LINUX, vendors=frozenset({("gpu", "0x8086")})), Caps.OPENCL),
        ("OpenVINO", replace(LINUX, vendors=frozenset({("npu", "0x8086")})), Caps.VPU),
        ("Dml", Machine(system="win32", arch="amd64"), Caps.OPENCL),
        ("CoreML", Machine(system="darwin", arch="arm64"), Caps.OPENCL | Caps.VPU),
        ("CoreML", Machine(system="darwin", arch="x86_64"), Caps.OPENCL),
        ("VitisAI", replace(LINUX, vendors=frozenset({("npu", "0x1022")})), Caps.VPU),
        ("CANN", replace(LINUX, openable=frozenset({"/dev/davinci0"})), Caps.VPU),
        ("QNN", Machine(system="win32", arch="arm64"), Caps.DSP),
        (
            "QNN",
            Machine(system="linux", arch="aarch64", openable=frozenset({"/dev/fastrpc-cdsp"})),
            Caps.DSP,
        ),
    ],
)
def test_a_device_gives_its_providers_bit(provider: str, machine: Machine, cap: Caps) -> None:
    assert caps_of([f"{provider}ExecutionProvider", CPU_PROVIDER], machine) == cap


def test_openvinos_own_list_outweighs_the_files() -> None:
    machine = replace(LINUX, vendors=frozenset({("gpu", "0x8086")}), openvino=("CPU",))
    assert missing(named("OpenVINO", Caps.OPENCL), machine) == "OpenVINO lists CPU"


def test_another_vendors_gpu_is_not_openvinos() -> None:
    machine = replace(LINUX, vendors=frozenset({("gpu", "0x10de"), ("npu", "0x1022")}))
    assert caps_of(["OpenVINOExecutionProvider"], machine) == Caps(0)


def test_a_device_that_this_user_may_not_open_is_named() -> None:
    machine = replace(LINUX, locked=frozenset({"/dev/kfd"}))
    assert missing(named("ROCM", Caps.CUDA), machine) == "this user may not open /dev/kfd"


def test_a_cpu_device_of_a_provider_is_no_accelerator() -> None:
    machine = replace(LINUX, ep_devices=frozenset({("OpenVINOExecutionProvider", "cpu")}))
    assert caps_of(["OpenVINOExecutionProvider"], machine) == Caps(0)


def test_only_what_the_operator_wants_is_judged() -> None:
    machine = replace(LINUX, openable=frozenset({"/dev/nvidia0"}), openvino=("GPU",))
    assert caps_of(EVERY, machine) == Caps.CUDA | Caps.OPENCL
    assert caps_of(EVERY, machine, Caps.CPU | Caps.OPENCL) == Caps.OPENCL
    assert judge(EVERY, machine, Caps.CPU | Caps.NN) == []


def test_models_try_the_best_accelerator_first_and_only_those_allowed() -> None:
    machine = replace(LINUX, openable=frozenset({"/dev/nvidia0", "/dev/kfd"}), openvino=("GPU",))
    verdicts = judge(EVERY, machine, ACCELERATORS)
    names = [
        each.provider.removesuffix("ExecutionProvider") for each in usable(verdicts, ACCELERATORS)
    ]
    assert names == ["CUDA", "Tensorrt", "ROCM", "MIGraphX", "OpenVINO"]
    assert [str(e) for e in usable(verdicts, Caps.OPENCL)] == ["OpenVINO GPU (opencl)"]
    assert usable(verdicts, Caps.CPU | Caps.NN) == []


def test_one_that_failed_its_trial_is_not_used() -> None:
    cuda = named("CUDA", Caps.CUDA)
    verdicts = [Verdict(cuda, "its answer differs from the CPU's by 1")]
    assert usable(verdicts, Caps.CUDA) == []
    assert described(verdicts, {}) == [
        "CUDA (cuda): not used: its answer differs from the CPU's by 1"
    ]


def test_a_fallback_is_logged_once_and_described(caplog: pytest.LogCaptureFixture) -> None:
    cuda, fallbacks = named("CUDA", Caps.CUDA), Fallbacks()
    fallbacks.note(cuda, "out of memory")
    fallbacks.note(cuda, "again")
    assert len(caplog.records) == 1
    assert described([Verdict(cuda)], fallbacks.reasons) == [
        "CUDA (cuda): used; the CPU ran what it did not take: out of memory"
    ]


def test_libraries_tell_whether_a_build_is_worth_asking(tmp_path: Path) -> None:
    (tmp_path / "libonnxruntime_providers_shared.so").touch()
    assert not accelerated(tmp_path)
    (tmp_path / "libonnxruntime_providers_openvino.so").touch()
    assert accelerated(tmp_path)


def test_this_build_has_the_cpu_alone() -> None:
    assert detect_caps() == Caps.CPU | Caps.NN
    assert survey(ACCELERATORS) == []


def test_looking_does_not_import_onnxruntime() -> None:
    code = (
        "import sys; from meshnode.runtime.hal import detect_caps; detect_caps();"
        "sys.exit('onnxruntime' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_manual_has_a_row_for_every_accelerator() -> None:
    manual = (Path(__file__).parents[3] / "docs" / "accelerators.md").read_text()
    for each in TABLE:
        name = each.provider.removesuffix("ExecutionProvider")
        assert any(
            line.startswith(f"| {name} ") and f"`{each.cap.names()[0]}`" in line
            for line in manual.splitlines()
        ), each
        for key, value in each.options:
            assert f"`{key}={value}`" in manual, (key, value)


def test_host_interfaces_are_the_programs_and_not_the_machines() -> None:
    assert with_interfaces(Caps.CPU) == Caps.CPU | Caps.WASI
    with_models = with_interfaces(Caps.CPU | Caps.NN)
    assert with_models == Caps.CPU | Caps.NN | Caps.NN_LOAD | Caps.WASI
