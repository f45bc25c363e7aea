"""onnxruntime's execution providers, which capability bit each stands for, and what is here.

`detect_caps` must be cheap for a node that never runs a model: importing onnxruntime costs 0.1 s
and 35 MB, so it is imported only if its files show that it has more than the CPU to offer.
"""

import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from meshnode.caps import Caps

PROVIDERS: dict[str, Caps] = {
    "TensorrtExecutionProvider": Caps.CUDA,
    "CUDAExecutionProvider": Caps.CUDA,
    "MIGraphXExecutionProvider": Caps.CUDA,
    "ROCMExecutionProvider": Caps.CUDA,
    "QNNExecutionProvider": Caps.DSP,
    "VitisAIExecutionProvider": Caps.VPU,
    "CANNExecutionProvider": Caps.VPU,
    "RknpuExecutionProvider": Caps.VPU,
    "VSINPUExecutionProvider": Caps.VPU,
    "CoreMLExecutionProvider": Caps.VPU,
    "OpenVINOExecutionProvider": Caps.OPENCL,
    "DmlExecutionProvider": Caps.OPENCL,
    "NnapiExecutionProvider": Caps.DSP,
    "CPUExecutionProvider": Caps.CPU,
}
"""Best first. The bits are the seed ABI's classes of device, not vendors: CUDA stands for GPUs
with a compute stack of their own, OPENCL for GPUs behind a portable one, VPU for neural units."""

CPU_PROVIDER = "CPUExecutionProvider"
_LIBRARY = "onnxruntime_providers_"
_ALWAYS_THERE = ("shared",)
"""Parts of the file name that every build has."""
_NVIDIA_DEVICES = ("/dev/nvidia0", "/dev/nvhost-gpu", "/dev/dxg")
_NEEDS_NVIDIA = ("TensorrtExecutionProvider", "CUDAExecutionProvider")


def detect_caps() -> Caps:
    """Return what this machine can do: NN if onnxruntime is installed, and its accelerators."""
    spec = find_spec("onnxruntime")
    if spec is None or not spec.submodule_search_locations:
        return Caps.CPU
    caps = Caps.CPU | Caps.NN
    if sys.platform == "darwin" or any(
        _accelerated(Path(folder) / "capi") for folder in spec.submodule_search_locations
    ):
        from meshnode.runtime import ort

        for provider in present(ort.available_providers()):
            caps |= PROVIDERS[provider]
    return caps


def with_interfaces(found: Caps) -> Caps:
    """Return what a machine can do together with what this program offers on any machine."""
    return found | Caps.WASI | (Caps.NN_LOAD if found & Caps.NN else Caps(0))


def present(available: Sequence[str]) -> Iterator[str]:
    """Yield the known providers of a build whose device is there too, best first.

    A build names every provider it was compiled with; without a GPU, trying CUDA costs seconds.
    """
    for provider in PROVIDERS:
        if provider not in available:
            continue
        if provider in _NEEDS_NVIDIA and not _any_exists(_NVIDIA_DEVICES):
            continue
        yield provider


def choose(available: Sequence[str], caps: Caps) -> list[str]:
    """Return the providers to try for a model, best first; the CPU always comes last."""
    wanted = [p for p in present(available) if PROVIDERS[p] & caps and p != CPU_PROVIDER]
    return [*wanted, CPU_PROVIDER]


def _accelerated(folder: Path) -> bool:
    libraries = [p.name for p in folder.glob(f"*{_LIBRARY}*")]
    extra = [n for n in libraries if not any(f"{_LIBRARY}{part}." in n for part in _ALWAYS_THERE)]
    return bool(extra) or any(folder.glob("DirectML*")) or any(folder.glob("*Qnn*"))


def _any_exists(paths: Sequence[str]) -> bool:
    return any(Path(p).exists() for p in paths)
