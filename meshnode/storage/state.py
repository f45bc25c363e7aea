"""Small files that survive a restart: CBOR state, and secrets that only their owner can read."""

import errno
import logging
import os
import stat
from pathlib import Path

from meshnode.errors import IdentityError, RemoteProtocolError, StoreError
from meshnode.storage.files import disk_error, replace_file
from meshnode.wire import cbor
from meshnode.wire.limits import MIB

_log = logging.getLogger(__name__)
STATE_BYTES_MAX = 8 * MIB
SECRET_BYTES_MAX = MIB
SECRET_MODE = 0o600
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def read_secret(path: Path) -> bytes | None:
    """Return the bytes of a secret file, or None if there is none.

    Raises IdentityError if others than its owner may read or write it, if it is not a plain file,
    or if it cannot be read. The check is made on the opened file, so it cannot be swapped.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise IdentityError(f"{path} cannot be read: {error.strerror}") from error
    try:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode):
            raise IdentityError(f"{path} is not a file")
        if facts.st_mode & _OTHERS:
            raise IdentityError(
                f"{path} is a secret, and others can read or change it",
                because=[f"its mode is {stat.S_IMODE(facts.st_mode):04o}, it must be 0600"],
                try_=f"chmod 600 {path}",
            )
        if facts.st_size > SECRET_BYTES_MAX:
            raise IdentityError(f"{path} has {facts.st_size} bytes: it is not one of our secrets")
        with open(fd, "rb", closefd=False) as file:
            return file.read(SECRET_BYTES_MAX)
    finally:
        os.close(fd)


def write_secret(path: Path, secret: bytes) -> None:
    """Write a secret atomically with mode 0600; its directory is made 0700 if it is missing.

    Raises DiskFull or StoreError; the secret that was there is then unchanged.
    """
    _make_directory(path.parent)
    replace_file(path, [secret], mode=SECRET_MODE)


def read_state(path: Path) -> cbor.Plain:
    """Return the plain value in a state file, or None if there is none.

    A file that is not the CBOR we write counts as none: state can be learnt again, and a node
    must not be kept from starting by it. It is moved aside under `.damaged`, and a line is logged.
    """
    try:
        return cbor.loads(_read_plain(path), bytes_max=STATE_BYTES_MAX)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error
    except RemoteProtocolError as error:
        aside = path.with_name(path.name + ".damaged")
        _log.warning("%s is damaged and was moved to %s: %s", path, aside.name, error)
        os.replace(path, aside)
        return None


def _read_plain(path: Path) -> bytes:
    """Return a file's bytes, one more than the bound at most. What is no file is not waited for."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(mode):
            raise RemoteProtocolError("it is no plain file")
        with open(fd, "rb", closefd=False) as file:
            return file.read(STATE_BYTES_MAX + 1)
    finally:
        os.close(fd)


def write_state(path: Path, plain: cbor.Plain) -> None:
    """Write a plain value atomically. Raises DiskFull or StoreError; the old file then stays."""
    _make_directory(path.parent)
    replace_file(path, [cbor.dumps(plain)], mode=SECRET_MODE)


def _make_directory(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise disk_error(error, directory) from error
