from dataclasses import replace
from pathlib import Path

import pytest

from meshnode.errors import CompileLimit, MalformedModule
from meshnode.runtime import compiler
from meshnode.runtime.aot import AotCache
from meshnode.runtime.compiler import Compiler, compile_apart
from meshnode.runtime.preflight import preflight, read_guest
from meshnode.runtime.settings import RuntimeSettings
from meshnode.wire.limits import MIB
from tests.unit.runtime.support import ALL, dist, engine, manifest, seed_guest

SETTINGS = RuntimeSettings()


def guest_of(wasm: bytes) -> object:
    return preflight(wasm, manifest(), allowed=ALL, memory_bytes_max=64 * MIB)


def test_a_guest_is_compiled_once_then_comes_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = guest_of(seed_guest("i32.const 0"))
    first = Compiler(engine()[0], SETTINGS, AotCache(tmp_path, b"key"))
    module = first.module(guest)
    assert first.module(guest) is module
    (file,) = tmp_path.iterdir()

    def no_compiler(*_: object) -> bytes:
        raise AssertionError("compiled again")

    with monkeypatch.context() as patch:
        patch.setattr(compiler, "compile_apart", no_compiler)
        Compiler(engine()[0], SETTINGS, AotCache(tmp_path, b"key")).module(guest)
    file.write_bytes(file.read_bytes()[:-7])
    again = Compiler(engine()[0], SETTINGS, AotCache(tmp_path, b"key"))
    assert {e.name for e in again.module(guest).exports} >= {"predict", "init"}


def test_only_our_own_guests_are_compiled_in_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apart: list[bytes] = []

    def counted(wasm: bytes, settings: RuntimeSettings) -> bytes:
        apart.append(wasm)
        return compile_apart(wasm, settings)

    monkeypatch.setattr(compiler, "compile_apart", counted)
    own = Compiler(engine()[0], SETTINGS, AotCache(tmp_path, b"key"))
    own.module(guest_of(dist("echo")))
    assert not apart
    changed = dist("echo").replace(b"predict", b"predicT", 1)  # its code is the same
    own.module(read_guest(changed))
    assert len(apart) == 1


def test_what_wasmtime_refuses_is_malformed() -> None:
    invalid = seed_guest("i32.const 0").replace(b"\x41\x00\x0b", b"\x41\x00\x1a", 1)
    with pytest.raises(MalformedModule, match="not valid Wasm"):
        compile_apart(invalid, SETTINGS)


def test_a_slow_compilation_is_killed() -> None:
    # Spawning alone takes longer than this.
    with pytest.raises(CompileLimit, match=r"longer than 0\.01 s"):
        compile_apart(dist("echo"), replace(SETTINGS, compile_s_max=0.01))


def test_a_compiler_without_memory_ends_as_a_limit() -> None:
    with pytest.raises(CompileLimit, match="it may use 32 MiB"):
        compile_apart(dist("echo"), replace(SETTINGS, compile_memory_bytes_max=32 * MIB))
