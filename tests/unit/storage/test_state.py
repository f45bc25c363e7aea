import os
import stat
from pathlib import Path

import pytest

from meshnode.errors import IdentityError, StoreError
from meshnode.storage.state import read_secret, read_state, write_secret, write_state


def test_a_secret_comes_back_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "home" / "identity.key"
    write_secret(path, b"s" * 32)
    assert read_secret(path) == b"s" * 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_umask_cannot_open_a_secret(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_secret(tmp_path / "k", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "k").stat().st_mode) == 0o600


def test_a_missing_secret_is_none(tmp_path: Path) -> None:
    assert read_secret(tmp_path / "k") is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_secret_that_others_can_read_or_change_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "k"
    write_secret(path, b"x")
    path.chmod(mode)
    with pytest.raises(IdentityError, match=str(path)) as caught:
        read_secret(path)
    assert caught.value.try_ == f"chmod 600 {path}"
    assert f"{mode:04o}" in caught.value.because[0]


def test_what_is_no_plain_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match="not a file"):
        read_secret(tmp_path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(IdentityError, match="not a file"):
        read_secret(tmp_path / "pipe")


def test_replacing_a_secret_leaves_one_file(tmp_path: Path) -> None:
    write_secret(tmp_path / "k", b"old")
    write_secret(tmp_path / "k", b"new")
    assert read_secret(tmp_path / "k") == b"new"
    assert os.listdir(tmp_path) == ["k"]


def test_state_comes_back(tmp_path: Path) -> None:
    plain = {"format": 1, "contacts": [[b"k" * 32, "::1", 6174]], "incarnation": 7}
    write_state(tmp_path / "state.cbor", plain)
    assert read_state(tmp_path / "state.cbor") == plain
    assert read_state(tmp_path / "absent.cbor") is None


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"\x80\x04\x95pickle", b"\xa1\x01\x02", b"\x01\x01"]
)
def test_a_damaged_state_counts_as_none_and_is_kept_aside(
    tmp_path: Path, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "state.cbor"
    path.write_bytes(data)
    assert read_state(path) is None
    assert not path.exists()
    assert (tmp_path / "state.cbor.damaged").read_bytes() == data
    assert "is damaged" in caplog.text


def test_a_state_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        read_state(tmp_path)
