"""Content-addressed files: modules and weights by their SHA-256, verified before they are used.

    store/sha256/9f/9f2c...        the blob
    store/sha256/9f/9f2c....tree   its piece layer; its time of change is the blob's last use
    store/sha256/9f/9f2c....pin    present while the blob is pinned
    store/partial/9f2c...          a blob on its way
    store/quarantine/9f2c...       a file that was found to be something else
    store/tmp/                     emptied at every start

Every method blocks and may be called from any thread. Files are written under another name,
synced, renamed, and their directory is synced; a crash leaves the whole file or none.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from pathlib import Path
from threading import RLock
from weakref import WeakValueDictionary

from meshnode.errors import BlobNotFound, CorruptBlob, RemoteProtocolError, StoreFull
from meshnode.ids import ContentHash
from meshnode.modules.tree import PieceLayer, check_layer, piece_bytes
from meshnode.storage.disk import Disk, Identity, read_parts, size_of
from meshnode.storage.files import disk_error
from meshnode.storage.partial import Partial
from meshnode.wire.limits import PIECE_BYTES
from meshnode.wire.tensor import Buffer

__all__ = ["BlobStore", "Partial", "StoredBlob"]

EVICTED_MAX = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBlob:
    """One blob that lies here whole."""

    blob: ContentHash
    size: int
    pinned: bool


@dataclass(slots=True)
class _Entry:
    """What is known of one file."""

    size: int
    used: int
    """Rises with each use; the lowest is evicted first."""
    pinned: bool = False
    seen: Identity | None = None
    """The file's identity when its hash was last found right; None before."""
    layer: PieceLayer | None = None


class BlobStore:
    """Blobs on disk up to a budget; the least recently used go first, pinned ones never."""

    def __init__(self, root: Path, *, bytes_max: int) -> None:
        """Open the store, clean what a crash left, and keep within `bytes_max`. StoreError."""
        self._disk = Disk(root)
        self._bytes_max = bytes_max
        self._lock = RLock()
        self._uses = count()
        self._entries: dict[ContentHash, _Entry] = {}
        # Weak: a partial that nobody fetches any more may be given up for room.
        self._partials: WeakValueDictionary[ContentHash, Partial] = WeakValueDictionary()
        self._reserved = 0
        self._evicted: deque[ContentHash] = deque(maxlen=EVICTED_MAX)
        for blob, size, pinned in self._disk.open():
            self._entries[blob] = _Entry(size, next(self._uses), pinned)
        self._make_room(0)

    # ------------------------------------------------------------------ what is here

    def has(self, blob: ContentHash) -> bool:
        """Return whether a blob lies here whole. Does not touch the disk."""
        return blob in self._entries

    def size(self, blob: ContentHash) -> int:
        """Return a blob's length, or raise BlobNotFound."""
        return self._entry(blob).size

    def list(self) -> tuple[StoredBlob, ...]:
        """Return every blob that lies here, the least recently used first."""
        with self._lock:
            ordered = sorted(self._entries.items(), key=lambda item: item[1].used)
        return tuple(StoredBlob(blob=b, size=e.size, pinned=e.pinned) for b, e in ordered)

    @property
    def used_bytes(self) -> int:
        """Bytes of the budget that are taken, by whole blobs and those on their way."""
        with self._lock:
            whole = sum(e.size for e in self._entries.values())
            return self._reserved + whole + sum(size_of(p) for p in self._disk.partials())

    def take_evicted(self) -> tuple[ContentHash, ...]:
        """Return the blobs that went since the last call, so that they are offered no more."""
        with self._lock:
            gone = tuple(self._evicted)
            self._evicted.clear()
        return tuple(blob for blob in gone if blob not in self._entries)

    # ------------------------------------------------------------------ reading

    def read(self, blob: ContentHash) -> bytes:
        """Return a blob whose hash is right.

        Checked at the first read of this process, and again whenever the file has changed.
        Raises BlobNotFound, CorruptBlob (the file is then in quarantine) or StoreError.
        """
        entry = self._entry(blob)
        with self._dropping_lost(blob):
            data, seen = self._disk.read(blob)
        if entry.seen != seen:
            if sha256(data).digest() != blob:
                raise self._set_aside(blob)
            entry.seen = seen
        self._touch(blob, entry)
        return data

    def head(self, blob: ContentHash, bytes_max: int) -> bytes:
        """Return at most the first `bytes_max` bytes of a blob, verified; see `piece`."""
        if bytes_max > PIECE_BYTES:
            raise ValueError(f"a head has at most {PIECE_BYTES} bytes")
        return self.piece(blob, 0)[:bytes_max]

    def piece(self, blob: ContentHash, index: int) -> bytes:
        """Return one piece, verified each time.

        Raises BlobNotFound, CorruptBlob (the file is then in quarantine), StoreError, or
        RemoteProtocolError if the blob has no such piece.
        """
        entry = self._entry(blob)
        layer = self._layer(blob, entry)
        if not 0 <= index < len(layer.hashes):
            raise RemoteProtocolError(f"a blob of {layer.size} bytes has no piece {index}")
        with self._dropping_lost(blob):
            data = self._disk.read_piece(blob, index, piece_bytes(layer.size, index))
        if not layer.fits(index, data):
            # Either the blob or its tree has rotted; the blob's own hash says which.
            layer = self._rebuild(blob, entry)
            data = self._disk.read_piece(blob, index, piece_bytes(layer.size, index))
            if not layer.fits(index, data):
                raise self._set_aside(blob)
        self._touch(blob, entry)
        return data

    def piece_hashes(self, blob: ContentHash) -> tuple[int, bytes, tuple[bytes, ...]]:
        """Return size, root and piece layer of a blob. Raises as `piece` does."""
        layer = self._layer(blob, self._entry(blob))
        return layer.size, layer.root, layer.hashes

    def verify(self, blob: ContentHash) -> None:
        """Read a blob from disk and check its hash now, whatever was checked before.

        Raises BlobNotFound, CorruptBlob (the file is then in quarantine) or StoreError.
        """
        self._rebuild(blob, self._entry(blob))

    # ------------------------------------------------------------------ writing

    def put(self, source: Buffer | Path) -> ContentHash:
        """Store bytes or a copy of a file, and return the hash. Never evicts what is pinned.

        Raises StoreFull, DiskFull, TooLarge or StoreError; then nothing is left behind.
        """
        if isinstance(source, Path):
            try:
                with open(source, "rb", buffering=0) as file:
                    return self._store(os.fstat(file.fileno()).st_size, read_parts(file.fileno()))
            except OSError as error:
                raise disk_error(error, source) from error
        blob = ContentHash(sha256(source).digest())
        if self.has(blob):
            try:
                self.verify(blob)
            except (BlobNotFound, CorruptBlob):
                return self._store(len(source), [source])
            return blob
        return self._store(len(source), [source])

    def begin(self, blob: ContentHash, size: int, root: bytes, hashes: Iterable[bytes]) -> Partial:
        """Return the unfinished blob, with the pieces that an earlier fetch left.

        One blob has one Partial, which concurrent fetches share. Raises RemoteProtocolError if
        the hashes do not fit the root, TooLarge, StoreFull, DiskFull or StoreError.
        """
        layer = check_layer(size, root, b"".join(hashes))
        with self._lock:
            known = self._partials.get(blob)
            if known is not None and known.layer == layer and known.usable:
                return known
            path = self._disk.partial(blob)
            self._make_room(size, keep=path)
            partial = Partial(blob, layer, path, self._adopt)
            self._partials[blob] = partial
            return partial

    def pin(self, blob: ContentHash) -> None:
        """Never evict a blob, after a restart neither. Raises BlobNotFound or StoreError."""
        entry = self._entry(blob)
        self._disk.set_pin(blob, True)
        entry.pinned = True

    def unpin(self, blob: ContentHash) -> None:
        """Let a blob be evicted again. Raises BlobNotFound."""
        entry = self._entry(blob)
        self._disk.set_pin(blob, False)
        entry.pinned = False

    def delete(self, blob: ContentHash) -> None:
        """Remove a blob, pinned or not; one that is not here is fine."""
        with self._lock:
            self._entries.pop(blob, None)
            self._disk.remove(blob)

    # ------------------------------------------------------------------ parts: writing

    def _store(self, size: int, parts: Iterable[Buffer]) -> ContentHash:
        """Write a blob of at most `size` bytes and return its hash."""
        with self._lock:
            self._make_room(size)
            self._reserved += size
        try:
            with self._disk.write(parts, size) as (temporary, digest, layer):
                self._adopt(ContentHash(digest), layer, temporary)
        finally:
            with self._lock:
                self._reserved -= size
        return ContentHash(digest)

    def _adopt(self, blob: ContentHash, layer: PieceLayer, path: Path) -> None:
        """Make a written, synced and verified file a blob of the store."""
        with self._lock:
            seen = self._disk.adopt(blob, layer, path)
            self._partials.pop(blob, None)
            known = self._entries.get(blob)
            self._entries[blob] = _Entry(
                layer.size, next(self._uses), known is not None and known.pinned, seen, layer
            )

    def _make_room(self, size: int, *, keep: Path | None = None) -> None:
        """Evict until `size` more bytes fit the budget, or raise StoreFull and evict nothing."""
        over = self.used_bytes + size - self._bytes_max
        if keep is not None:
            over -= size_of(keep)
        if over <= 0:
            return
        live = {partial.path for partial in self._partials.values()}
        abandoned = [p for p in self._disk.partials() if p not in live and p != keep]
        free = sorted(
            ((b, e) for b, e in self._entries.items() if not e.pinned), key=lambda i: i[1].used
        )
        could = sum(map(size_of, abandoned)) + sum(e.size for _, e in free)
        if size and could < over:
            raise StoreFull(
                f"no room for {size} bytes in the store",
                because=[
                    f"the budget is {self._bytes_max} bytes",
                    f"{self.used_bytes} are taken, {could} of them could be given up",
                ],
                try_="raise budget.store in node.toml",
            )
        for path in abandoned:
            if over > 0:
                over -= size_of(path)
                path.unlink(missing_ok=True)
        for blob, entry in free:
            if over > 0:
                over -= entry.size
                self.delete(blob)
                self._evicted.append(blob)

    # ------------------------------------------------------------------ parts: reading

    def _entry(self, blob: ContentHash) -> _Entry:
        entry = self._entries.get(blob)
        if entry is None:
            raise BlobNotFound(f"sha256:{blob.hex()[:12]} is not in the store")
        return entry

    def _touch(self, blob: ContentHash, entry: _Entry) -> None:
        entry.used = next(self._uses)
        self._disk.touch(blob)

    def _layer(self, blob: ContentHash, entry: _Entry) -> PieceLayer:
        """Return the piece layer: known, from its file if that holds, or made anew."""
        if entry.layer is None:
            layer = self._disk.read_tree(blob)
            if layer is None or layer.size != entry.size:
                layer = self._rebuild(blob, entry)
            entry.layer = layer
        return entry.layer

    def _rebuild(self, blob: ContentHash, entry: _Entry) -> PieceLayer:
        """Hash the blob from disk and write its tree anew, or raise CorruptBlob."""
        with self._dropping_lost(blob):
            digest, layer, seen = self._disk.hash(blob)
        if digest != blob:
            raise self._set_aside(blob)
        self._disk.write_tree(blob, layer)
        entry.seen, entry.layer = seen, layer
        return layer

    @contextmanager
    def _dropping_lost(self, blob: ContentHash) -> Iterator[None]:
        """Forget a blob whose file somebody removed."""
        try:
            yield
        except BlobNotFound:
            self._entries.pop(blob, None)
            raise

    def _set_aside(self, blob: ContentHash) -> CorruptBlob:
        """Take a rotten file out of the store and return the error to raise."""
        with self._lock:
            self._entries.pop(blob, None)
            aside = self._disk.quarantine(blob)
        return CorruptBlob(
            f"the stored file sha256:{blob.hex()[:12]} is no longer what its name says",
            because=[f"it was moved to {aside}"],
            try_="it is fetched again when it is next needed",
        )
