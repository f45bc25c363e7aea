"""Where blobs lie on disk, and the few ways in which their files are touched.

`blobs.py` decides; this file does. Errors of the operating system become DiskFull, StoreError or,
for a file that is gone, BlobNotFound.
"""

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from meshnode.errors import BlobNotFound, RemoteProtocolError, StoreError, TooLarge
from meshnode.ids import ContentHash
from meshnode.modules.tree import BlobHasher, PieceLayer, check_layer
from meshnode.storage.files import (
    TEMPORARY_SUFFIX,
    disk_error,
    replace_file,
    sync_directory,
    write_all,
)
from meshnode.wire import cbor
from meshnode.wire.limits import BLOB_BYTES_MAX, MIB, PIECE_BYTES
from meshnode.wire.tensor import Buffer

Identity = tuple[int, int, int, int]
"""inode, size, time of modification, time of change: another file or another content differs."""

READ_BYTES = MIB
"""One read while hashing: large enough for the disk, small enough for any device."""
QUARANTINE_MAX = 2
"""Enough to see what happened; more would fill the disk of whom it happens to."""
TREE = ".tree"
PIN = ".pin"
_TREE_FORMAT = 1
_TREE_BYTES_MAX = MIB
_HEX_CHARS = 64


class Disk:
    """The directories of a store."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._blobs = root / "sha256"
        self._partial = root / "partial"
        self._quarantine = root / "quarantine"
        self._temporary = root / "tmp"

    def open(self) -> list[tuple[ContentHash, int, bool]]:
        """Make the directories, remove what a crash left, and list (blob, size, pinned).

        The least recently used comes first. Raises DiskFull or StoreError.
        """
        try:
            shutil.rmtree(self._temporary, ignore_errors=True)
            for directory in (self._blobs, self._partial, self._quarantine, self._temporary):
                directory.mkdir(parents=True, exist_ok=True)
            found = [entry for path in sorted(self._blobs.iterdir()) for entry in _scan(path)]
        except OSError as error:
            raise disk_error(error, self._root) from error
        return [(blob, size, pinned) for _, blob, size, pinned in sorted(found)]

    def partial(self, blob: ContentHash) -> Path:
        """Return where a blob on its way lies."""
        return self._partial / blob.hex()

    def partials(self) -> list[Path]:
        """Return the files of all blobs on their way."""
        return list(self._partial.iterdir())

    # ------------------------------------------------------------------ reading

    def read(self, blob: ContentHash) -> tuple[bytes, Identity]:
        """Return a file's bytes and which file that was."""
        with self._opened(blob) as fd:
            identity = identity_of(os.fstat(fd))
            with open(fd, "rb", closefd=False) as file:
                return file.read(), identity

    def read_piece(self, blob: ContentHash, index: int, size: int) -> bytes:
        """Return the bytes where a piece lies; fewer if the file is cut off."""
        with self._opened(blob) as fd:
            return os.pread(fd, size, index * PIECE_BYTES)

    def hash(self, blob: ContentHash) -> tuple[bytes, PieceLayer, Identity]:
        """Return SHA-256 and piece layer of a file, read in parts, and which file that was."""
        hasher = BlobHasher()
        with self._opened(blob) as fd:
            identity = identity_of(os.fstat(fd))
            for part in read_parts(fd):
                hasher.update(part)
        return *hasher.finish(), identity

    def read_tree(self, blob: ContentHash) -> PieceLayer | None:
        """Return the piece layer kept beside a blob, or None if there is none that holds."""
        try:
            with open(self._path(blob, TREE), "rb") as file:
                plain = cbor.loads(file.read(_TREE_BYTES_MAX), bytes_max=_TREE_BYTES_MAX)
            if isinstance(plain, dict) and plain["format"] == _TREE_FORMAT:
                return check_layer(plain["size"], plain["root"], plain["hashes"])
        except (OSError, RemoteProtocolError, TooLarge, KeyError, TypeError):
            pass
        return None

    # ------------------------------------------------------------------ writing

    @contextmanager
    def write(self, parts: Iterable[Buffer], size: int) -> Iterator[tuple[Path, bytes, PieceLayer]]:
        """Write a synced temporary file, give its path, SHA-256 and piece layer, then remove it.

        The caller moves it away by `adopt`. Raises DiskFull or StoreError, TooLarge if the parts
        come to more than `size`.
        """
        if size > BLOB_BYTES_MAX:
            raise TooLarge(f"a file of {size} bytes, at most {BLOB_BYTES_MAX} are stored")
        temporary, hasher = self._temporary / os.urandom(8).hex(), BlobHasher()
        try:
            with open(temporary, "xb", buffering=0) as file:
                for part in parts:
                    hasher.update(part)
                    if hasher.size > size:
                        raise TooLarge("the file grew while it was read")
                    write_all(file.fileno(), part)
                os.fsync(file.fileno())
            digest, layer = hasher.finish()
            yield temporary, digest, layer
        except OSError as error:
            raise disk_error(error, temporary) from error
        finally:
            temporary.unlink(missing_ok=True)

    def adopt(self, blob: ContentHash, layer: PieceLayer, path: Path) -> Identity:
        """Rename a synced file to its blob's place; durable when this returns."""
        final = self._path(blob)
        try:
            final.parent.mkdir(exist_ok=True)
            self.write_tree(blob, layer)
            os.replace(path, final)
            sync_directory(final.parent)
            sync_directory(self._blobs)
            return identity_of(final.stat())
        except OSError as error:
            if not final.exists():
                self.remove(blob)
            raise disk_error(error, final) from error

    def write_tree(self, blob: ContentHash, layer: PieceLayer) -> None:
        """Keep a piece layer beside its blob."""
        plain = {
            "format": _TREE_FORMAT,
            "size": layer.size,
            "root": layer.root,
            "hashes": b"".join(layer.hashes),
        }
        replace_file(self._path(blob, TREE), [cbor.dumps(plain)])

    def set_pin(self, blob: ContentHash, pinned: bool) -> None:
        """Note whether a blob is pinned, over restarts."""
        path = self._path(blob, PIN)
        try:
            path.touch() if pinned else path.unlink(missing_ok=True)
        except OSError as error:
            raise disk_error(error, path) from error

    def touch(self, blob: ContentHash) -> None:
        """Note that a blob was used now; a failure only makes its eviction come earlier."""
        try:
            os.utime(self._path(blob, TREE))
        except OSError:
            return

    def remove(self, blob: ContentHash) -> None:
        """Delete a blob and what lies beside it."""
        for suffix in ("", TREE, PIN):
            self._path(blob, suffix).unlink(missing_ok=True)

    def quarantine(self, blob: ContentHash) -> Path:
        """Move a rotten file out of the store; the oldest of those that lie there goes."""
        aside = self._quarantine / blob.hex()
        try:
            os.replace(self._path(blob), aside)
        except OSError as error:
            raise StoreError(f"{self._path(blob)} cannot be set aside: {error}") from error
        finally:
            self.remove(blob)
        kept = sorted(self._quarantine.iterdir(), key=lambda p: p.stat().st_ctime_ns)
        for path in kept[:-QUARANTINE_MAX]:
            path.unlink(missing_ok=True)
        return aside

    # ------------------------------------------------------------------ parts

    def _path(self, blob: ContentHash, suffix: str = "") -> Path:
        name = blob.hex()
        return self._blobs / name[:2] / (name + suffix)

    @contextmanager
    def _opened(self, blob: ContentHash) -> Iterator[int]:
        path = self._path(blob)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise BlobNotFound(f"{path} is gone") from error
        except OSError as error:
            raise disk_error(error, path) from error
        try:
            yield fd
        except OSError as error:
            raise disk_error(error, path) from error
        finally:
            os.close(fd)


def identity_of(facts: os.stat_result) -> Identity:
    """Return what changes when a file is replaced or written to."""
    return facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def read_parts(fd: int) -> Iterator[memoryview]:
    """Yield a file in parts from its beginning; each is overwritten by the next. OSError."""
    buffer, position = bytearray(READ_BYTES), 0
    while count := os.preadv(fd, [buffer], position):
        yield memoryview(buffer)[:count]
        position += count


def size_of(path: Path) -> int:
    """Return a file's length, 0 if it is gone."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _scan(directory: Path) -> Iterator[tuple[int, ContentHash, int, bool]]:
    """Yield (last use, blob, size, pinned) of one directory, removing what belongs to nothing."""
    if not directory.is_dir():
        return
    names = {entry.name: entry.stat() for entry in os.scandir(directory) if entry.is_file()}
    for name, facts in names.items():
        stem, dot, _ = name.partition(".")
        if dot and (stem not in names or name.endswith(TEMPORARY_SUFFIX)):
            (directory / name).unlink()
        if dot or not _is_blob_name(name, directory.name):
            continue
        used = names.get(name + TREE, facts).st_mtime_ns
        yield used, ContentHash(bytes.fromhex(name)), facts.st_size, name + PIN in names


def _is_blob_name(name: str, directory: str) -> bool:
    return (
        len(name) == _HEX_CHARS
        and name.startswith(directory)
        and all(c in "0123456789abcdef" for c in name)
    )
