"""What this machine is, as far as accelerators go: values that `providers` judges by.

A build of onnxruntime names every provider it was compiled with, whether or not its device is
there. So the devices are looked for: device files and whether this user may open them, the PCI
vendors of GPUs and NPUs, and what onnxruntime says itself.
"""

import os
import platform
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_CLASSES = (("gpu", "/sys/class/drm", "renderD*"), ("npu", "/sys/class/accel", "accel*"))
"""Where Linux lists devices by their kind; each has its PCI vendor in `device/vendor`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The facts that decide whether a provider has its device."""

    system: str = ""
    """`sys.platform`: linux, darwin, win32, android."""
    arch: str = ""
    """`platform.machine()` in lower case: x86_64, aarch64, arm64, amd64."""
    openable: frozenset[str] = frozenset()
    """Device files that are there and that this user may open."""
    locked: frozenset[str] = frozenset()
    """Device files that are there, but not for this user."""
    vendors: frozenset[tuple[str, str]] = frozenset()
    """Kind (gpu, npu) and PCI vendor of each device that Linux lists."""
    ep_devices: frozenset[tuple[str, str]] = frozenset()
    """Provider and kind (cpu, gpu, npu) of each device that onnxruntime lists; empty before 1.22
    and for providers that do not take part."""
    openvino: tuple[str, ...] | None = None
    """The devices that OpenVINO lists, such as CPU, GPU.0, NPU; None if it cannot be asked."""


def look(
    files: Iterable[str],
    *,
    ep_devices: Iterable[tuple[str, str]] = (),
    openvino: tuple[str, ...] | None = None,
) -> Machine:
    """Return this machine's facts; `files` are those that any provider is known by."""
    there = [f for f in files if Path(f).exists()]
    openable = frozenset(f for f in there if _may_open(f))
    return Machine(
        system=sys.platform,
        arch=platform.machine().lower(),
        openable=openable,
        locked=frozenset(there) - openable,
        vendors=frozenset(_vendors()),
        ep_devices=frozenset(ep_devices),
        openvino=openvino,
    )


def _may_open(path: str) -> bool:
    return os.access(path, os.R_OK | os.W_OK if path.startswith("/dev/") else os.R_OK)


def _vendors() -> Iterable[tuple[str, str]]:
    for kind, folder, pattern in _CLASSES:
        for entry in Path(folder).glob(pattern):
            try:
                yield kind, (entry / "device" / "vendor").read_text().strip()
            except OSError:  # a device that is not on PCI
                continue
