import os
from pathlib import Path

import pytest

from meshnode.runtime import aot
from meshnode.runtime.aot import AotCache

KEY = b"k" * 33


def only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_what_was_stored_is_loaded(tmp_path: Path) -> None:
    cache = AotCache(tmp_path / "aot", b"secret")
    assert cache.load(KEY) is None
    cache.store(KEY, b"native code")
    assert cache.load(KEY) == b"native code"
    assert AotCache(tmp_path / "aot", b"secret").load(KEY) == b"native code"
    assert (tmp_path / "aot").stat().st_mode & 0o77 == 0
    assert only_file(tmp_path / "aot").stat().st_mode & 0o77 == 0


@pytest.mark.parametrize("change", ["flip", "cut", "empty", "swap", "other key"])
def test_a_changed_file_counts_as_none(tmp_path: Path, change: str) -> None:
    cache = AotCache(tmp_path, b"secret")
    cache.store(KEY, b"native code")
    path = only_file(tmp_path)
    data = path.read_bytes()
    if change == "flip":
        path.write_bytes(data[:-1] + bytes((data[-1] ^ 1,)))
    elif change == "cut":
        path.write_bytes(data[:-1])
    elif change == "empty":
        path.write_bytes(b"")
    elif change == "other key":
        cache = AotCache(tmp_path, b"another node's secret")
    elif change == "swap":
        other = b"o" * 33
        cache.store(other, b"other code")
        (second,) = set(tmp_path.iterdir()) - {path}
        path.write_bytes(second.read_bytes())
    assert cache.load(KEY) is None


def test_the_least_recently_used_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aot, "FILES_MAX", 2)
    cache = AotCache(tmp_path, b"secret")
    for i, key in enumerate((b"a", b"b")):
        cache.store(key, key)
        newest = max(tmp_path.iterdir(), key=lambda p: p.stat().st_mtime_ns)
        os.utime(newest, (i, i))
    assert cache.load(b"a") == b"a"
    cache.store(b"c", b"c")
    assert [cache.load(k) for k in (b"a", b"b", b"c")] == [b"a", None, b"c"]


def test_a_folder_that_cannot_be_written_only_costs_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = AotCache(tmp_path / "file", b"secret")
    cache.store(KEY, b"native code")
    assert cache.load(KEY) is None
