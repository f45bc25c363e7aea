"""onnxruntime's execution providers: which capability bit each stands for, and which are here.

A bit is advertised only if four things hold: the build has the provider, its device is there (a
pure judgement over `devices.Machine`), a tiny model gave the CPU's answer on it in a process of
its own (`probe`), and the operator wants it (`caps.use`). `docs/accelerators.md` has the table.

Looking is cheap for a node without accelerators: importing onnxruntime costs 0.3 s and 35 MB, so
nobody is asked anything unless the files of its package show that it has more than the CPU.
"""

import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from meshnode.caps import Caps
from meshnode.runtime import probe
from meshnode.runtime.devices import Machine, look

_log = logging.getLogger(__name__)
CPU_PROVIDER = "CPUExecutionProvider"
ACCELERATORS = Caps.CUDA | Caps.OPENCL | Caps.VPU | Caps.DSP
"""The bits that stand for more than the CPU."""
_NVIDIA = (
    "/dev/nvidia0",
    "/dev/nvhost-gpu",  # Jetson
    "/dev/dxg",  # WSL
    "C:\\Windows\\System32\\nvcuda.dll",
)
_INTEL, _AMD = "0x8086", "0x1022"
_X86 = ("x86_64", "amd64")
_ARM = ("aarch64", "arm64")


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """One way to use a device: a provider with its options, and what shows that it is there."""

    provider: str
    cap: Caps
    kind: str
    """gpu or npu, as onnxruntime lists devices; dsp for what it has no word for."""
    options: tuple[tuple[str, str], ...] = ()
    files: tuple[str, ...] = ()
    """Any one of them shows the device."""
    vendor: str = ""
    """A device of this PCI vendor and this kind shows it."""
    openvino: str = ""
    """OpenVINO's name of the device; its list decides, where it can be asked."""
    systems: tuple[str, ...] = ()
    """`sys.platform` must be one of them; empty: any."""
    archs: tuple[str, ...] = ()
    memory_pattern: bool = True
    """Whether the provider can work with onnxruntime's memory patterns."""

    def __str__(self) -> str:
        """Return for example `OpenVINO GPU (opencl)`."""
        name = self.provider.removesuffix("ExecutionProvider")
        unit = next((v for k, v in self.options if k in ("device_type", "MLComputeUnits")), "")
        return f"{name}{' ' + unit if unit else ''} ({', '.join(self.cap.names())})"


# A device that is tried is device 0. CUDA comes before TensorRT, and ROCm before MIGraphX: the
# second of each compiles for every model and every new shape, for seconds to minutes, which no
# request's deadline allows. TF32 is off because two nodes should give the same answer.
TABLE = (
    Accelerator(
        provider="CUDAExecutionProvider",
        cap=Caps.CUDA,
        kind="gpu",
        options=(
            ("device_id", "0"),
            ("arena_extend_strategy", "kSameAsRequested"),
            ("cudnn_conv_algo_search", "HEURISTIC"),
            ("use_tf32", "0"),
        ),
        files=_NVIDIA,
    ),
    Accelerator(
        provider="TensorrtExecutionProvider",
        cap=Caps.CUDA,
        kind="gpu",
        options=(("device_id", "0"),),
        files=_NVIDIA,
    ),
    Accelerator(
        provider="ROCMExecutionProvider",
        cap=Caps.CUDA,
        kind="gpu",
        options=(("device_id", "0"),),
        files=("/dev/kfd",),
    ),
    Accelerator(
        provider="MIGraphXExecutionProvider",
        cap=Caps.CUDA,
        kind="gpu",
        options=(("device_id", "0"),),
        files=("/dev/kfd",),
    ),
    Accelerator(
        provider="OpenVINOExecutionProvider",
        cap=Caps.OPENCL,
        kind="gpu",
        options=(("device_type", "GPU"),),
        vendor=_INTEL,
        openvino="GPU",
    ),
    Accelerator(
        provider="DmlExecutionProvider",
        cap=Caps.OPENCL,
        kind="gpu",
        options=(("device_id", "0"),),
        systems=("win32",),
        memory_pattern=False,
    ),
    Accelerator(
        provider="CoreMLExecutionProvider",
        cap=Caps.OPENCL,
        kind="gpu",
        options=(("ModelFormat", "MLProgram"), ("MLComputeUnits", "CPUAndGPU")),
        systems=("darwin",),
    ),
    Accelerator(
        provider="CoreMLExecutionProvider",
        cap=Caps.VPU,
        kind="npu",
        options=(("ModelFormat", "MLProgram"), ("MLComputeUnits", "CPUAndNeuralEngine")),
        systems=("darwin",),
        archs=("arm64",),  # Intel Macs have no neural engine
    ),
    Accelerator(
        provider="OpenVINOExecutionProvider",
        cap=Caps.VPU,
        kind="npu",
        options=(("device_type", "NPU"),),
        vendor=_INTEL,
        openvino="NPU",
    ),
    Accelerator(
        provider="VitisAIExecutionProvider",
        cap=Caps.VPU,
        kind="npu",
        vendor=_AMD,
        archs=_X86,
    ),
    Accelerator(
        provider="CANNExecutionProvider",
        cap=Caps.VPU,
        kind="npu",
        options=(("device_id", "0"),),
        files=("/dev/davinci0",),
    ),
    Accelerator(
        provider="RknpuExecutionProvider",
        cap=Caps.VPU,
        kind="npu",
        files=("/dev/rknpu", "/sys/module/rknpu"),
        archs=_ARM,
    ),
    Accelerator(
        provider="VSINPUExecutionProvider",
        cap=Caps.VPU,
        kind="npu",
        files=("/dev/galcore",),
    ),
    Accelerator(
        provider="QNNExecutionProvider",
        cap=Caps.DSP,
        kind="npu",
        options=(("backend_path", "QnnHtp.dll"),),
        systems=("win32",),
        archs=_ARM,
    ),
    Accelerator(
        provider="QNNExecutionProvider",
        cap=Caps.DSP,
        kind="npu",
        options=(("backend_path", "libQnnHtp.so"),),
        files=("/dev/fastrpc-cdsp", "/dev/adsprpc-smd"),
        systems=("linux", "android"),
        archs=_ARM,
    ),
    Accelerator(
        provider="NnapiExecutionProvider",
        cap=Caps.DSP,
        kind="dsp",
        systems=("android",),
    ),
)
"""Best first, within each bit. The bits are the seed ABI's classes of device, not vendors: CUDA
stands for GPUs with a compute stack of their own, OPENCL for GPUs behind a portable one, VPU for
neural units, DSP for signal processors. Providers that only use the CPU in another way (DNNL,
XNNPACK, OpenVINO's CPU) give no bit and are not used."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an accelerator of this build is used, and why not."""

    accelerator: Accelerator
    reason: str = ""
    """Empty: it is used."""

    def __str__(self) -> str:
        """Return one line for `meshnode status`."""
        return f"{self.accelerator}: {f'not used: {self.reason}' if self.reason else 'used'}"


@dataclass(slots=True)
class Fallbacks:
    """Accelerators that did not take a model, each with its first reason; logged once."""

    reasons: dict[str, str] = field(default_factory=dict)

    def note(self, accelerator: Accelerator, reason: str) -> None:
        """A session could not be opened with this accelerator."""
        if str(accelerator) not in self.reasons:
            self.reasons[str(accelerator)] = reason
            _log.warning("%s did not take a model, trying the next: %s", accelerator, reason)


# ---------------------------------------------------------------------- judgements, pure


def missing(accelerator: Accelerator, machine: Machine) -> str:
    """Return why the accelerator's device is not here, or nothing if it is."""
    if accelerator.systems and machine.system not in accelerator.systems:
        return f"it works on {' and '.join(accelerator.systems)}"
    if accelerator.archs and machine.arch not in accelerator.archs:
        return f"it works on {' and '.join(accelerator.archs)} processors"
    if (accelerator.provider, accelerator.kind) in machine.ep_devices:
        return ""
    if accelerator.openvino and machine.openvino is not None:
        if any(d.partition(".")[0] == accelerator.openvino for d in machine.openvino):
            return ""
        return f"OpenVINO lists {', '.join(machine.openvino) or 'no device'}"
    if accelerator.vendor and (accelerator.kind, accelerator.vendor) not in machine.vendors:
        return f"there is no {accelerator.kind} of vendor {accelerator.vendor}"
    if accelerator.files and not machine.openable & set(accelerator.files):
        if closed := sorted(machine.locked & set(accelerator.files)):
            return f"this user may not open {closed[0]}"
        return f"there is no {' or '.join(accelerator.files)}"
    return ""


def judge(available: Iterable[str], machine: Machine, within: Caps) -> list[Verdict]:
    """Return a verdict for each accelerator of a build, best first; none was tried out yet.

    `within` is what the node wants: of other bits nothing is said.
    """
    known = set(available)
    return [
        Verdict(each, missing(each, machine))
        for each in TABLE
        if each.provider in known and each.cap & within
    ]


def usable(verdicts: Iterable[Verdict], caps: Caps) -> list[Accelerator]:
    """Return the accelerators to try for a model, best first. The CPU comes after them."""
    return [v.accelerator for v in verdicts if not v.reason and v.accelerator.cap & caps]


def described(verdicts: Iterable[Verdict], fallbacks: Mapping[str, str]) -> list[str]:
    """Return a line for each accelerator of this build, for `meshnode status`."""
    return [
        f"{verdict}; the CPU ran what it did not take: {fallbacks[name]}"
        if (name := str(verdict.accelerator)) in fallbacks
        else str(verdict)
        for verdict in verdicts
    ]


# ---------------------------------------------------------------------- this machine


def detect_caps(within: Caps = ACCELERATORS) -> Caps:
    """Return what this machine can do: NN if onnxruntime is installed, and its accelerators.

    Accelerators outside `within` are not tried. Where there are some this takes seconds, because
    each is tried out; in a worker thread.
    """
    if not _package_folders():
        return Caps.CPU
    caps = Caps.CPU | Caps.NN
    for accelerator in usable(survey(within), within):
        caps |= accelerator.cap
    return caps


def survey(within: Caps) -> list[Verdict]:
    """Return the verdicts on this machine's accelerators, each tried out once in this process."""
    if not within & ACCELERATORS or not _has_more_than_the_cpu():
        return []
    answer = probe.ask()
    machine = look(
        {f for each in TABLE for f in each.files},
        ep_devices=answer.ep_devices,
        openvino=answer.openvino,
    )
    verdicts = judge(answer.available, machine, within)
    hopeful = [v.accelerator for v in verdicts if not v.reason]
    with ThreadPoolExecutor(max_workers=max(1, len(hopeful))) as pool:
        tried = dict(zip(hopeful, pool.map(_try_out, hopeful), strict=True))
    return [Verdict(v.accelerator, tried.get(v.accelerator, v.reason)) for v in verdicts]


def with_interfaces(found: Caps) -> Caps:
    """Return what a machine can do together with what this program offers on any machine."""
    return found | Caps.WASI | (Caps.NN_LOAD if found & Caps.NN else Caps(0))


def _try_out(accelerator: Accelerator) -> str:
    return probe.try_out(accelerator.provider, accelerator.options, accelerator.memory_pattern)


def _package_folders() -> Sequence[str]:
    spec = find_spec("onnxruntime")
    return list(spec.submodule_search_locations or ()) if spec else []


def _has_more_than_the_cpu() -> bool:
    return sys.platform == "darwin" or any(
        accelerated(Path(folder) / "capi") for folder in _package_folders()
    )


def accelerated(folder: Path) -> bool:
    """Return whether the libraries of an onnxruntime can do more than use the CPU."""
    prefix = "onnxruntime_providers_"
    parts = [p.name.partition(prefix)[2] for p in folder.glob(f"*{prefix}*")]
    extra = [part for part in parts if not part.startswith("shared.")]  # every build has that
    return bool(extra) or any(folder.glob("DirectML*")) or any(folder.glob("*Qnn*"))
