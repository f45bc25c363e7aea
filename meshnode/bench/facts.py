"""What a figure depends on: the machine, its load, and the versions of what was measured."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("wasmtime", "onnxruntime", "numpy", "trio", "cryptography", "pynacl", "cbor2")


def machine_facts() -> dict[str, object]:
    """Return the facts that stand above every table."""
    return {
        "cpu": _cpu_model(),
        "cores": _cores(),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "kernel": f"{platform.system()} {platform.release()}",
        "congestion_control": _first_line("/proc/sys/net/ipv4/tcp_congestion_control"),
        "python": platform.python_version(),
        **{package: _version(package) for package in PACKAGES},
        "load": load(),
    }


def load() -> str:
    """Return the load averages of 1, 5 and 15 minutes."""
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


def text(facts: dict[str, object]) -> str:
    """Return the facts for people."""
    packages = "  ".join(f"{name} {facts[name]}" for name in PACKAGES)
    return (
        f"{facts['cores']} cores of {facts['cpu']}, {facts['memory_mib']} MiB, {facts['kernel']}, "
        f"tcp {facts['congestion_control']}\n"
        f"Python {facts['python']}  {packages}\nload average before: {facts['load']}"
    )


def _cores() -> int:
    """Return the cores that this process may use, where the system tells."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # another build of it, such as onnxruntime-gpu
        return "unknown"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model", "Hardware"):
            return value.strip()
    return platform.machine()


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text().splitlines()[0]
    except (OSError, IndexError):
        return "unknown"
