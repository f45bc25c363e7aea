"""A blob that is on its way: pieces in any order, each verified before it is written.

The file is sparse and has its final size, so what is there is what is not a hole. After a crash
or a restart every piece found is hashed again; no bitmap on disk can claim more than is true.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock

from meshnode.errors import DiskFull, HashMismatch
from meshnode.ids import ContentHash
from meshnode.modules.tree import BlobHasher, PieceLayer, piece_bytes
from meshnode.storage.disk import read_parts, size_of
from meshnode.storage.files import disk_error, write_all
from meshnode.wire.limits import PIECE_BYTES
from meshnode.wire.tensor import Buffer


class Partial:
    """The pieces of one blob that are here so far. Thread-safe; made by `BlobStore.begin`.

    Holds no open file, so nothing has to be closed when a fetch is cancelled.
    """

    def __init__(
        self,
        blob: ContentHash,
        layer: PieceLayer,
        path: Path,
        adopt: Callable[[ContentHash, PieceLayer, Path], None],
    ) -> None:
        """Open or resume; raises DiskFull or StoreError. `adopt` takes over the finished file."""
        self.blob = blob
        self.layer = layer
        self.path = path
        self._adopt = adopt
        self._lock = Lock()
        self._finished = False
        try:
            self._have = _resume(path, layer)
        except OSError as error:
            if size_of(path) == 0:  # made just now, and no room for it
                path.unlink(missing_ok=True)
            raise disk_error(error, path) from error

    def have(self) -> set[int]:
        """Return the pieces that are here, verified."""
        with self._lock:
            return set(self._have)

    def missing(self) -> list[int]:
        """Return the pieces that are not here yet, in order."""
        with self._lock:
            return [i for i in range(len(self.layer.hashes)) if i not in self._have]

    def write(self, index: int, data: Buffer) -> None:
        """Write one piece; a second time is harmless.

        Raises HashMismatch if it is not that piece, StoreError, or DiskFull; a full disk also
        drops what was here, so that nothing is left behind.
        """
        if not self.layer.fits(index, data):
            raise HashMismatch(f"piece {index} of {self.blob.hex()[:12]} is not the promised one")
        try:
            fd = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                write_all(fd, data, index * PIECE_BYTES)
            finally:
                os.close(fd)
        except OSError as error:
            trouble = disk_error(error, self.path)
            if isinstance(trouble, DiskFull):
                self.discard()
            raise trouble from error
        with self._lock:
            self._have.add(index)

    def finish(self) -> ContentHash:
        """Verify the whole file against the blob's hash and move it into the store.

        A second call is harmless. Raises HashMismatch (the file is then gone), DiskFull or
        StoreError. ValueError if pieces are missing.
        """
        with self._lock:
            if self._finished:
                return self.blob
            if len(self._have) != len(self.layer.hashes):
                raise ValueError("pieces are missing")
            hasher = BlobHasher()
            try:
                with open(self.path, "r+b", buffering=0) as file:
                    for part in read_parts(file.fileno()):
                        hasher.update(part)
                    os.fsync(file.fileno())
            except OSError as error:
                raise disk_error(error, self.path) from error
            digest, layer = hasher.finish()
            if digest != self.blob or layer != self.layer:
                self._drop()
                raise HashMismatch(
                    f"the file that was fetched as sha256:{self.blob.hex()[:12]} is another one",
                    because=[f"its SHA-256 is {digest.hex()}"],
                )
            self._adopt(self.blob, self.layer, self.path)
            self._finished = True
            return self.blob

    def discard(self) -> None:
        """Delete what is here."""
        with self._lock:
            self._drop()

    @property
    def usable(self) -> bool:
        """Whether pieces can still be written to it: neither finished nor deleted."""
        return not self._finished and self.path.exists()

    def _drop(self) -> None:
        self._have.clear()
        self.path.unlink(missing_ok=True)


def _resume(path: Path, layer: PieceLayer) -> set[int]:
    """Make the file ready and return which pieces of it hold, or raise OSError."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if os.fstat(fd).st_size != layer.size:
            # New, or of another claimed size; in the latter case nothing in it can be trusted.
            os.ftruncate(fd, 0)
            os.ftruncate(fd, layer.size)
            return set()
        return {i for i in _touched(fd, layer) if layer.fits(i, _read_piece(fd, layer, i))}
    finally:
        os.close(fd)


def _touched(fd: int, layer: PieceLayer) -> Iterator[int]:
    """Yield the pieces that are not wholly a hole in the file."""
    position, last = 0, -1
    while position < layer.size:
        try:
            start = os.lseek(fd, position, os.SEEK_DATA)
        except OSError:
            return  # ENXIO: no data from here to the end
        position = os.lseek(fd, start, os.SEEK_HOLE)
        first = max(start // PIECE_BYTES, last + 1)
        last = (position - 1) // PIECE_BYTES
        yield from range(first, last + 1)


def _read_piece(fd: int, layer: PieceLayer, index: int) -> bytes:
    return os.pread(fd, piece_bytes(layer.size, index), index * PIECE_BYTES)
