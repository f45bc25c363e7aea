import os
from pathlib import Path

import pytest

from meshnode.identity.file_tags import SALT_BYTES, TAG_BYTES
from meshnode.runtime import aot
from meshnode.runtime.aot import AotCache

KEY = b"k" * 33
TAIL = SALT_BYTES + TAG_BYTES


def load(cache: AotCache, key: bytes) -> bytes | None:
    """What whoever maps the file sees, without the tail."""
    with cache.opened(key) as path:
        return None if path is None else path.read_bytes()[:-TAIL]


def only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_what_was_stored_is_loaded(tmp_path: Path) -> None:
    cache = AotCache(tmp_path / "aot", b"secret")
    assert load(cache, KEY) is None
    cache.store(KEY, b"native code")
    assert load(cache, KEY) == b"native code"
    assert load(AotCache(tmp_path / "aot", b"secret"), KEY) == b"native code"
    assert (tmp_path / "aot").stat().st_mode & 0o77 == 0
    assert only_file(tmp_path / "aot").stat().st_mode & 0o77 == 0


def test_a_key_is_of_one_code_and_one_node(tmp_path: Path) -> None:
    cache = AotCache(tmp_path, b"secret")
    assert cache.key_of(b"code") == AotCache(tmp_path, b"secret").key_of(b"code")
    others = {cache.key_of(b"Code"), AotCache(tmp_path, b"other").key_of(b"code")}
    assert len(others | {cache.key_of(b"code")}) == 3


@pytest.mark.parametrize(
    "change", ["flip", "flip code", "cut", "longer", "empty", "swap", "link", "other key"]
)
def test_a_changed_file_counts_as_none(tmp_path: Path, change: str) -> None:
    cache = AotCache(tmp_path, b"secret")
    cache.store(KEY, b"native code")
    path = only_file(tmp_path)
    data = path.read_bytes()
    if change == "flip":
        path.write_bytes(data[:-1] + bytes((data[-1] ^ 1,)))
    elif change == "flip code":
        path.write_bytes(bytes((data[0] ^ 1,)) + data[1:])
    elif change == "longer":
        path.write_bytes(data + b"\0")
    elif change == "link":
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
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
    assert load(cache, KEY) is None


def test_the_least_recently_used_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aot, "FILES_MAX", 2)
    cache = AotCache(tmp_path, b"secret")
    for i, key in enumerate((b"a", b"b")):
        cache.store(key, key)
        newest = max(tmp_path.iterdir(), key=lambda p: p.stat().st_mtime_ns)
        os.utime(newest, (i, i))
    assert load(cache, b"a") == b"a"
    cache.store(b"c", b"c")
    assert [load(cache, k) for k in (b"a", b"b", b"c")] == [b"a", None, b"c"]


def test_a_folder_that_cannot_be_written_only_costs_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = AotCache(tmp_path / "file", b"secret")
    cache.store(KEY, b"native code")
    assert load(cache, KEY) is None


def test_the_file_that_was_checked_is_the_one_that_is_used(tmp_path: Path) -> None:
    cache = AotCache(tmp_path, b"secret")
    cache.store(KEY, b"native code")
    file = only_file(tmp_path)
    other = tmp_path / "other"
    other.write_bytes(b"evil code!!" + bytes(TAIL))
    with cache.opened(KEY) as path:
        os.replace(other, file)
        assert path is not None
        assert path.read_bytes()[:-TAIL] == b"native code"
    assert load(cache, KEY) is None
