"""Gallery: compiled modules on disk are native code; a file that was touched is never run."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from meshnode.runtime.runtime import Runtime
from meshnode.runtime.settings import RuntimeSettings
from tests.integration.gallery import ROW, answered, limited
from tests.unit.runtime.support import ALL, SEED_HEAD, dist, seed_guest

pytestmark = pytest.mark.integration
ECHO = dist("echo")
SEVENS = seed_guest("(f32.store (local.get $out) (f32.const 7)) i32.const 0", SEED_HEAD)


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Two good files, by their names: those of ECHO and of SEVENS."""
    folder = tmp_path_factory.mktemp("good")
    for wasm in (ECHO, SEVENS):
        answer(folder, wasm)
    found = {p.name: p.read_bytes() for p in files(folder)}
    assert len(found) == 2
    return found


def files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


def answer(folder: Path, wasm: bytes, key: bytes = b"k" * 32) -> float:
    """Load with a runtime of its own, as after a restart, and ask once."""
    runtime = Runtime(RuntimeSettings(), cache_dir=folder, mac_key=key, caps=ALL)
    loaded = runtime.load(wasm, limited(), {})
    try:
        return float(answered(loaded)[0, 0])
    finally:
        loaded.close()


def flipped(data: bytes, at: int) -> bytes:
    at %= len(data)
    return data[:at] + bytes((data[at] ^ 4,)) + data[at + 1 :]


TOUCHES: dict[str, Callable[[bytes, bytes], bytes]] = {
    "swapped for another": lambda _, other: other,
    "another's code after its own head": lambda data, other: data[:32] + other[32:],
    "another's code before its own tail": lambda data, other: other[:-64] + data[-64:],
    "cut in half": lambda data, _: data[: len(data) // 2],
    "cut by one byte": lambda data, _: data[:-1],
    "one byte longer": lambda data, _: data + b"\0",
    "one byte more before it": lambda data, _: b"\0" + data,
    "empty": lambda data, _: b"",
    "the first bytes alone": lambda data, _: data[:32],
    "the last bytes alone": lambda data, _: data[-64:],
    "a bit of its first byte": lambda data, _: flipped(data, 0),
    "a bit of its code": lambda data, _: flipped(data, -700),
    "a bit in the middle": lambda data, _: flipped(data, len(data) // 2),
    "a bit of its last byte": lambda data, _: flipped(data, -1),
    "a script": lambda data, _: b"#!/bin/sh\nexit 1\n",
}


@pytest.mark.parametrize("touch", TOUCHES)
def test_a_touched_artifact_is_replaced_and_never_run(
    tmp_path: Path, artifacts: dict[str, bytes], touch: str
) -> None:
    touched = {}
    for name, data in artifacts.items():
        other = next(v for k, v in artifacts.items() if k != name)
        touched[name] = TOUCHES[touch](data, other)
        (tmp_path / name).write_bytes(touched[name])
    assert answer(tmp_path, SEVENS) == 7
    # The file of the module that was asked for is a new one, and is used; the other is as it was.
    (new,) = [p for p in files(tmp_path) if p.read_bytes() != touched[p.name]]
    number = new.stat().st_ino
    assert answer(tmp_path, SEVENS) == 7
    assert new.stat().st_ino == number


def test_another_nodes_artifacts_are_none_of_ours(
    tmp_path: Path, artifacts: dict[str, bytes]
) -> None:
    for name, data in artifacts.items():
        (tmp_path / name).write_bytes(data)
    assert answer(tmp_path, ECHO, key=b"z" * 32) == ROW[0, 0]
    assert any(p.read_bytes() != artifacts.get(p.name) for p in files(tmp_path))


def test_a_file_that_is_a_folder_or_a_link_costs_only_time(
    tmp_path: Path, artifacts: dict[str, bytes]
) -> None:
    names = list(artifacts)
    outside = tmp_path / "outside"
    outside.write_bytes(artifacts[names[1]])
    cache = tmp_path / "cache"
    cache.mkdir()
    for name in names:
        (cache / name).mkdir()
    assert answer(cache, ECHO) == ROW[0, 0]
    for name in names:
        (cache / name).rmdir()
        (cache / name).symlink_to(outside)
    assert answer(cache, ECHO) == ROW[0, 0]
    assert outside.read_bytes() == artifacts[names[1]]


def test_an_artifact_that_was_not_touched_is_used(
    tmp_path: Path, artifacts: dict[str, bytes]
) -> None:
    for name, data in artifacts.items():
        (tmp_path / name).write_bytes(data)
        os.utime(tmp_path / name, (1, 1))
    before = {p.name: p.stat().st_ino for p in files(tmp_path)}
    assert answer(tmp_path, ECHO) == ROW[0, 0]
    assert {p.name: p.stat().st_ino for p in files(tmp_path)} == before
    assert np.any([p.stat().st_mtime > 1 for p in files(tmp_path)])
