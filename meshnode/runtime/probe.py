"""Tries accelerators out in a process of their own: a driver that crashes or hangs takes that one.

Listing devices is done there as well (some builds were seen to crash in it), and neither leaves
onnxruntime, or a GPU's context, in a node that may never run a model.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PROBE_S_MAX = 30.0
"""The first use of a GPU takes seconds; TensorRT builds its engine in this time too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What onnxruntime says of itself."""

    available: tuple[str, ...] = ()
    """The providers of the build."""
    ep_devices: tuple[tuple[str, str], ...] = ()
    openvino: tuple[str, ...] | None = None


@cache
def ask() -> Answer:
    """Return what onnxruntime says it has. Asked once: a build does not change under a node.

    Providers come first and devices later, so that a crash while listing devices loses only them.
    """
    said = _child("ask")
    found: dict[str, list[str]] = {}
    for line in said.lines:
        key, _, value = line.partition("=")
        found[key] = json.loads(value)
    return Answer(
        available=tuple(found.get("available", ())),
        ep_devices=tuple((e, k) for e, k in (p.split(":", 1) for p in found.get("devices", ()))),
        openvino=tuple(found["openvino"]) if "openvino" in found else None,
    )


@cache
def try_out(provider: str, options: tuple[tuple[str, str], ...], memory_pattern: bool) -> str:
    """Return why an accelerator cannot be used, or nothing: it gave the CPU's answer."""
    said = _child("try", json.dumps([provider, dict(options), memory_pattern]))
    if said.ending:
        return f"trying it out {said.ending}"
    return said.lines[-1].removeprefix("verdict=") if said.lines else "it gave no verdict"


@dataclass(frozen=True, slots=True)
class _Said:
    lines: Sequence[str]
    ending: str
    """How the process ended, if not well."""


def _child(*arguments: str) -> _Said:
    command = [sys.executable, "-P", "-m", "meshnode.runtime.probe_child", *arguments]
    here = str(Path(__file__).parents[2])  # where this very package lies, installed or not
    path = os.environ.get("PYTHONPATH")
    # All of the environment: drivers and onnxruntime are told by it where their parts are.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (here, path)))}
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROBE_S_MAX,
            env=environment,
            cwd=os.sep,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return _Said((), f"took longer than {PROBE_S_MAX:g} s")
    # Whatever drivers print is not ours; our lines are the ones with a key.
    keys = ("available=", "devices=", "openvino=", "verdict=")
    lines = [line for line in done.stdout.splitlines() if line.startswith(keys)]
    return _Said(lines, ending(done.returncode))


def ending(status: int) -> str:
    """Return how a process ended, or nothing if it ended well."""
    if status < 0:
        return f"ended by signal {-status}"
    return f"ended with status {status}" if status else ""
