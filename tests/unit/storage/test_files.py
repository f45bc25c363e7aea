import errno
import os
import stat
from pathlib import Path

import pytest

from meshnode.errors import DiskFull, StoreError
from meshnode.storage.files import disk_error, replace_file


def test_a_file_is_written_whole_and_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "f"
    replace_file(path, [b"one", memoryview(b"two")])
    assert path.read_bytes() == b"onetwo"
    replace_file(path, [b"three"])
    assert path.read_bytes() == b"three"
    assert os.listdir(tmp_path) == ["f"]


def test_the_mode_is_set_from_the_first_moment(tmp_path: Path) -> None:
    replace_file(tmp_path / "s", [b"x"], mode=0o600)
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o600


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "f"
    replace_file(path, [b"old"])

    def parts():
        yield b"new"
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DiskFull, match="no room left to write"):
        replace_file(path, parts())
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]


def test_a_missing_directory_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file"):
        replace_file(tmp_path / "absent" / "f", [b""])


def test_what_the_system_says_becomes_the_error_that_fits(tmp_path: Path) -> None:
    for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        assert isinstance(disk_error(OSError(code, "x"), tmp_path), DiskFull)
    other = disk_error(OSError(errno.EIO, "Input/output error"), tmp_path)
    assert not isinstance(other, DiskFull)
