"""From a guest's bytes to a module that can be instantiated: cache, or a child that compiles.

Only the few guests that come with meshnode are compiled in this process.
"""

import os
import subprocess
import sys
import threading
from collections import OrderedDict
from math import ceil
from pathlib import Path

from wasmtime import Engine, Module, WasmtimeError

from meshnode.errors import CompileLimit, MalformedModule
from meshnode.runtime import growth
from meshnode.runtime.aot import AotCache
from meshnode.runtime.compile_child import EXIT_REFUSED
from meshnode.runtime.preflight import Guest
from meshnode.runtime.settings import RuntimeSettings
from meshnode.runtime.shipped import shipped_as
from meshnode.wire.limits import MIB

MODULES_MAX = 16
"""Kept ready in memory. Every packed ONNX file has the same guest, so these are few."""
_PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "LANG", "LC_ALL")
"""Of the environment; the rest may hold secrets and is none of a compiler's business."""


class Compiler:
    """Compiles each guest once. Thread-safe."""

    def __init__(self, engine: Engine, settings: RuntimeSettings, cache: AotCache) -> None:
        self.engine = engine
        self.settings = settings
        self._cache = cache
        self._ready: OrderedDict[bytes, Module] = OrderedDict()
        # One at a time: a compilation uses every core.
        self._lock = threading.Lock()

    def module(self, guest: Guest) -> Module:
        """Return the compiled guest; its code is looked through before a compiler sees it.

        Raises MalformedModule or CompileLimit.
        """
        key = self._cache.key_of(guest.wasm) + bytes((growth.REVISION,))
        with self._lock:
            module = self._ready.get(key) or self._from_cache(key) or self._compile(key, guest)
            self._ready[key] = module
            self._ready.move_to_end(key)
            while len(self._ready) > MODULES_MAX:
                self._ready.popitem(last=False)
            return module

    def forget(self) -> None:
        """Keep nothing ready in memory: what is asked for next comes from its file."""
        with self._lock:
            self._ready.clear()

    def _from_cache(self, key: bytes) -> Module | None:
        with self._cache.opened(key) as path:
            if path is None:
                return None
            try:
                return Module.deserialize_file(self.engine, str(path))
            except WasmtimeError:  # of a wasmtime that calls itself by the same version
                return None

    def _compile(self, key: bytes, guest: Guest) -> Module:
        wasm = growth.note_refusals(guest, guest.scan())
        if shipped_as(guest):
            # Our own code is no bomb; starting a process for it would take thirty times as long.
            artifact = bytes(Module(self.engine, wasm).serialize())
        else:
            artifact = compile_apart(wasm, self.settings)
        self._cache.store(key, artifact)
        return Module.deserialize(self.engine, artifact)


def compile_apart(wasm: bytes, settings: RuntimeSettings) -> bytes:
    """Return the artifact of a module, compiled in a process of its own.

    Raises MalformedModule with the compiler's reason, or CompileLimit.
    """
    command = [
        sys.executable,
        "-P",  # never import from the working directory
        "-m",
        "meshnode.runtime.compile_child",
        str(settings.compile_memory_bytes_max),
        # Threads add up: the wall clock below is the limit, this one only ends an orphan.
        str(ceil(settings.compile_s_max) * (os.cpu_count() or 1) + 1),
    ]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_environment(),
        cwd=os.sep,
    ) as child:
        try:
            artifact, complaint = child.communicate(wasm, timeout=settings.compile_s_max)
        except subprocess.TimeoutExpired as error:
            child.kill()
            raise CompileLimit(
                f"compiling the module took longer than {settings.compile_s_max:g} s"
            ) from error
        except BaseException:
            child.kill()
            raise
    if child.returncode == EXIT_REFUSED:
        reason = complaint.decode("utf-8", "replace").strip().splitlines()
        raise MalformedModule("the module is not valid Wasm", because=reason[-2:])
    if child.returncode:
        raise CompileLimit(
            "compiling the module ended before it was done; it may use "
            f"{settings.compile_memory_bytes_max // MIB} MiB",
            because=[
                f"exit status {child.returncode}",
                *complaint.decode("utf-8", "replace").strip().splitlines()[-1:],
            ],
        )
    return artifact


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    here = str(Path(__file__).parents[2])  # where this very package lies, installed or not
    path = os.environ.get("PYTHONPATH")
    return kept | {"PYTHONPATH": os.pathsep.join(filter(None, (here, path)))}
