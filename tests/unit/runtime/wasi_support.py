"""WASI guests in text, and the runtime that lets them in."""

from collections.abc import Callable
from pathlib import Path

from meshnode.caps import Caps
from meshnode.modules.manifest import Limits, Manifest
from meshnode.runtime.abi import IMPORTS, WASI_MODULE
from meshnode.runtime.runtime import LoadedModule, Runtime
from meshnode.runtime.settings import RuntimeSettings
from meshnode.wire.limits import MIB
from tests.unit.runtime.support import ALL, manifest, wat

OPEN_CAPS = ALL | Caps.NN_LOAD | Caps.WASI
Load = Callable[..., LoadedModule]


def runtime(
    folder: Path,
    caps: Caps = OPEN_CAPS,
    allowed: Caps = OPEN_CAPS,
    binding: str = "auto",
) -> Runtime:
    settings = RuntimeSettings(caps_allowed=allowed, binding=binding)
    return Runtime(settings, cache_dir=folder, mac_key=b"k" * 32, caps=caps)


def about(**changes: object) -> Manifest:
    fields: dict[str, object] = {
        "abi": "command",
        "required": Caps.CPU | Caps.NN | Caps.WASI,
        "limits": Limits(memory_bytes=2 * MIB, run_ms=500, output_bytes=MIB),
    }
    return manifest(**(fields | changes))


def imports(*names: str) -> str:
    """Import functions of WASI as $name."""
    kinds = {0x7F: "i32", 0x7E: "i64"}
    found = []
    for name in names:
        signature = IMPORTS[WASI_MODULE, name].signature
        params = "".join(f"(param {kinds[t]})" for t in signature.params)
        results = "".join(f"(result {kinds[t]})" for t in signature.results)
        found.append(f'(import "{WASI_MODULE}" "{name}" (func ${name} {params} {results}))')
    return "".join(found)


def vector(at: int, pointer: int, size: int) -> str:
    """Write an iovec to the guest's memory."""
    return (
        f"(i32.store (i32.const {at}) (i32.const {pointer}))"
        f"(i32.store (i32.const {at + 4}) (i32.const {size}))"
    )


def start(body: str) -> str:
    return f'(func $main (export "_start") (local $at i32) (local $n i32) {body})'


def command(
    body: str, *names: str, head: str = "", memory: str = '(memory (export "memory") 2)'
) -> bytes:
    return wat(f"{imports(*names)} {memory} {head} {start(body)}")


WRITE = "(drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))"
READ_ALL = """
  (local.set $at (i32.const 4096))
  (block $done (loop $more
    (i32.store (i32.const 0) (local.get $at)) (i32.store (i32.const 4) (i32.const 1000))
    (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    (br_if $done (i32.eqz (i32.load (i32.const 8))))
    (local.set $at (i32.add (local.get $at) (i32.load (i32.const 8)))) (br $more)))
  (i32.store (i32.const 0) (i32.const 4096))
  (i32.store (i32.const 4) (i32.sub (local.get $at) (i32.const 4096)))
"""
"""Reads stdin to 4096 in pieces; the iovec at 0 is then all of it."""
ECHO = command(READ_ALL + WRITE, "fd_read", "fd_write")
