"""Has a module tried out in a process of its own, and reads what was found (`trial_child`).

It is told in one line of JSON and the bytes of the module and its models, and answers in lines of
JSON: how far it is, and at last the trial or the error. A child that says nothing for longer than
the module's own limits can explain is killed, and so is one that outlives its parent's patience.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import IO, Any

from meshnode.caps import Caps
from meshnode.errors import MemoryLimit, MeshnodeError, ModuleFailed, TimeLimit
from meshnode.modules.manifest import Manifest
from meshnode.runtime.probe import ending
from meshnode.runtime.settings import RuntimeSettings
from meshnode.runtime.trial import DEFAULT_S_MAX, RUNS, Counts, Progress, Trial
from meshnode.wire.control import error_from
from meshnode.wire.limits import MIB

SILENCE_S_MIN = 90.0
"""Loading on a busy machine, several compilations and the latency runs, during which nothing is
said; the module's own time for its self-tests is added."""
DATA_BYTES_MIN = 2048 * MIB
"""Python, onnxruntime, wasmtime and the threads' stacks take a good part of it."""
INSTANCES = 8
"""Alive at a time, at most; each may have its memory's limit."""
_LINE_BYTES_MAX = 4 * MIB
_WATCH_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class HardInputs:
    """How many hard inputs are tried; see `Examiner.run`."""

    fuzz: int
    more: int = 0
    seed: int = 0


def try_apart(
    wasm: bytes,
    manifest: Manifest,
    models: Mapping[str, bytes],
    *,
    caps: Caps,
    folder: Path,
    hard: HardInputs,
    progress: Progress,
    silence_s_max: float | None = None,
) -> Trial:
    """Return what an `Examiner` found in another process; see there for the arguments.

    Raises what it raised; MemoryLimit or TimeLimit if the process had to be ended.
    """
    about = {
        "wasm": len(wasm),
        "models": [[name, len(data)] for name, data in models.items()],
        "caps": int(caps),
        "folder": str(folder),
        "hard": asdict(hard),
        "limits": limits(manifest, endless=hard.more > 0),
    }
    said = [json.dumps(about).encode() + b"\n", wasm, *models.values()]
    silence_s = silence_s_max if silence_s_max is not None else _silence_s(manifest)
    with tempfile.TemporaryFile() as complaints:
        with _started(complaints) as child:
            try:
                found = _Talk(child, said, silence_s).listen(progress)
            except BaseException:
                child.kill()
                raise
        complaints.seek(max(0, complaints.seek(0, os.SEEK_END) - 4096))
        lines = complaints.read().decode("utf-8", "replace").strip().splitlines()
    if isinstance(found, Trial):
        return found
    raise found if found is not None else _ended(child.returncode, lines[-1:])


def limits(manifest: Manifest, *, endless: bool) -> dict[str, int]:
    """Return the rlimits of the process, by name.

    Not the address space: wasmtime reserves gigabytes of it for an instance, and uses none of them.
    """
    settings = RuntimeSettings()
    guest = min(manifest.limits.memory_bytes, settings.memory_bytes_max)
    weights = sum(model.size for model in manifest.models)
    limits = {
        "DATA": DATA_BYTES_MIN + INSTANCES * guest + 6 * weights,
        "CORE": 0,
        "FSIZE": 256 * MIB,
    }
    if not endless:  # else the limit of each call is the only one, as its author wants it
        wall_s = 2 * _silence_s(manifest) + DEFAULT_S_MAX
        limits["CPU"] = int(wall_s) * (os.cpu_count() or 1)
    return limits


def _silence_s(manifest: Manifest) -> float:
    run_s = min(manifest.limits.run_ms, RuntimeSettings().run_ms_max) / 1000
    return SILENCE_S_MIN + run_s * RUNS * (2 + len(manifest.self_tests))


def _started(complaints: IO[bytes]) -> "subprocess.Popen[bytes]":
    here = str(Path(__file__).parents[2])  # where this very package lies, installed or not
    path = os.environ.get("PYTHONPATH")
    # All of the environment: drivers and onnxruntime are told by it where their parts are.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (here, path)))}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "meshnode.runtime.trial_child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=complaints,
        env=environment,
        cwd=os.sep,
    )


class _Talk:
    """What is said to the child and heard from it, and the patience with it."""

    def __init__(
        self, child: "subprocess.Popen[bytes]", said: Sequence[bytes], silence_s: float
    ) -> None:
        self._child = child
        self._said = said
        self._silence_s = silence_s
        self._heard = perf_counter()
        self._over = threading.Event()
        self._late = False

    def listen(self, progress: Progress) -> Trial | MeshnodeError | None:
        """Return the trial or its error; None if the child ended without either."""
        helpers = [threading.Thread(target=work, daemon=True) for work in (self._tell, self._watch)]
        for helper in helpers:
            helper.start()
        assert self._child.stdout is not None, "it was asked for"
        found: Trial | MeshnodeError | None = None
        try:
            while line := self._child.stdout.readline(_LINE_BYTES_MAX):
                self._heard = perf_counter()
                found = _read(line, progress) or found
        finally:
            self._over.set()
            self._child.stdout.close()
            for helper in helpers:
                helper.join()
        self._child.wait()
        if self._late and found is None:
            return TimeLimit(
                f"the trial said nothing for {self._silence_s:g} s and was ended",
                because=["what a guest does is ended in time: a model hung in one operator"],
            )
        return found

    def _tell(self) -> None:
        assert self._child.stdin is not None, "it was asked for"
        with suppress(OSError):  # it has ended already: its status says why
            for part in self._said:
                self._child.stdin.write(part)
        with suppress(OSError):
            self._child.stdin.close()

    def _watch(self) -> None:
        while not self._over.wait(min(_WATCH_S, self._silence_s)):
            if perf_counter() - self._heard > self._silence_s:
                self._late = True
                self._child.kill()
                return


def _read(line: bytes, progress: Progress) -> Trial | MeshnodeError | None:
    """Return what a line of the child says; of its progress, tell."""
    fact: dict[str, Any] = json.loads(line)
    if "progress" in fact:
        done, of = fact["progress"]
        progress(done, of)
        return None
    if "error" in fact:
        return error_from(fact["error"])
    told: dict[str, Any] = fact["trial"]
    failures = [error_from(each) for each in told.pop("failures")]
    return Trial(**{**told, "inputs": Counts(**told["inputs"]), "failures": failures})


def _ended(status: int, last: Sequence[str]) -> MeshnodeError:
    """Return the error for a child that ended without an answer."""
    because = [f"it {ending(status) or 'ended without an answer'}", *last]
    if (last and "MemoryError" in last[0]) or status == -9:
        return MemoryLimit("the trial took more memory than a module may need", because=because)
    if status == -24:  # SIGXCPU
        return TimeLimit("the trial took more time than a module may need", because=because)
    return ModuleFailed("the process that tried the module out has ended", because=because)
