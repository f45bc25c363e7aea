import os
from pathlib import Path

import pytest

from meshnode.errors import BlobNotFound
from meshnode.ids import ContentHash
from meshnode.modules.tree import layer_of
from meshnode.storage.disk import QUARANTINE_MAX, Disk, read_parts, size_of

BLOB = ContentHash(bytes.fromhex("9f" + "2c" * 31))


def test_the_layout_is_the_documented_one(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    assert disk.open() == []
    with disk.write([b"da", b"ta"], 4) as (path, _, layer):
        disk.adopt(BLOB, layer, path)
    assert (tmp_path / "sha256" / "9f" / BLOB.hex()).read_bytes() == b"data"
    assert disk.read_tree(BLOB) == layer_of(b"data")
    assert os.listdir(tmp_path / "tmp") == []


def test_opening_removes_what_a_crash_left(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    disk.open()
    (tmp_path / "tmp" / "half").write_bytes(b"x")
    shelf = tmp_path / "sha256" / "9f"
    shelf.mkdir()
    (shelf / (BLOB.hex() + ".tree")).write_bytes(b"x")
    (shelf / (BLOB.hex() + ".tree.123.tmp")).write_bytes(b"x")
    (shelf / "notes").write_bytes(b"a stranger's file stays")
    assert disk.open() == []
    assert os.listdir(tmp_path / "tmp") == []
    assert os.listdir(shelf) == ["notes"]


def test_quarantine_is_bounded(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    disk.open()
    for i in range(QUARANTINE_MAX + 2):
        blob = ContentHash(bytes([i]) * 32)
        with disk.write([b"x"], 1) as (path, _, layer):
            disk.adopt(blob, layer, path)
        assert disk.quarantine(blob).exists()
    assert len(os.listdir(tmp_path / "quarantine")) == QUARANTINE_MAX


def test_a_file_that_is_gone_is_not_found(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    disk.open()
    with pytest.raises(BlobNotFound):
        disk.read(BLOB)
    assert size_of(tmp_path / "absent") == 0
    disk.touch(BLOB)


def test_a_big_file_is_read_in_parts(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(bytes(5 << 18))
    with open(path, "rb") as file:
        assert [len(part) for part in read_parts(file.fileno())] == [1 << 20, 1 << 18]
