"""Writing a file so that a crash leaves the old one or the new one, and never a part of one.

Temporary name in the same directory, fsync, rename, fsync of the directory: what Pillai et al.,
"All File Systems Are Not Created Equal" (OSDI 2014), found to be needed.
"""

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from meshnode.errors import DiskFull, StoreError
from meshnode.wire.tensor import Buffer

TEMPORARY_SUFFIX = ".tmp"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""No room on the disk, none in the user's quota, or none below the file size limit."""


def replace_file(path: Path, parts: Iterable[Buffer], *, mode: int = 0o644) -> None:
    """Write a file atomically and durably; the file that was there is replaced.

    Raises DiskFull or StoreError; then nothing has changed and nothing is left behind.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{os.urandom(4).hex()}{TEMPORARY_SUFFIX}")
    try:
        # The mode is given to open() itself: there is no moment at which others could read.
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with open(fd, "wb", buffering=0) as file:
            for part in parts:
                write_all(file.fileno(), part)
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_directory(path.parent)
    except OSError as error:
        raise disk_error(error, path) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_all(fd: int, data: Buffer, offset: int | None = None) -> None:
    """Write every byte, at the file's position or at an offset. Raises OSError."""
    view = memoryview(data).cast("B")
    while view:
        if offset is None:
            written = os.write(fd, view)
        else:
            written = os.pwrite(fd, view, offset)
            offset += written
        view = view[written:]


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def disk_error(error: OSError, path: Path) -> StoreError:
    """Return the StoreError for what the operating system said; DiskFull if there is no room."""
    if error.errno in _FULL:
        return DiskFull(
            f"no room left to write {path}",
            because=[os.strerror(error.errno)],
            try_=f"free some space: df -h {path.parent}",
        )
    return StoreError(f"{path}: {error.strerror or error}")
