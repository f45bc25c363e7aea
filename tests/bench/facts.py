"""What a figure depends on: the machine, its load, and the versions of what was measured."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("wasmtime", "onnxruntime", "numpy", "trio", "cryptography", "pynacl", "cbor2")


def machine_facts() -> dict[str, Any]:
    """Return the facts that stand above every table."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "kernel": f"{platform.system()} {platform.release()}",
        "congestion_control": _first_line("/proc/sys/net/ipv4/tcp_congestion_control"),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
        "load": load(),
    }


def load() -> str:
    """Return the load averages of 1, 5 and 15 minutes."""
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


def text(facts: dict[str, Any]) -> str:
    """Return the facts for people."""
    packages = "  ".join(f"{name} {facts[name]}" for name in PACKAGES)
    return (
        f"{facts['cores']} cores of {facts['cpu']}, {facts['memory_mib']} MiB, {facts['kernel']}, "
        f"tcp {facts['congestion_control']}\n"
        f"Python {facts['python']}  {packages}\nload average before: {facts['load']}"
    )


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model", "Hardware"):
            return value.strip()
    return platform.machine()


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text().splitlines()[0]
    except (OSError, IndexError):
        return "unknown"
