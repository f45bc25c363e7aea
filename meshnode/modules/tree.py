"""The verification tree of a blob: which 256 KiB are right, before the whole file is there.

BEP 52: SHA-256 over leaves of 16 KiB (the last one as short as it is), a binary tree above them,
the leaf layer filled with zero hashes to a power of two. The layer at which one hash covers a
piece of 256 KiB is the *piece layer*; the top is the *root*. A blob of one piece has a tree of
just as many leaves as it needs, and its piece layer is its root. An empty blob has no pieces.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from meshnode.errors import RemoteProtocolError, TooLarge
from meshnode.wire.limits import BLOB_BYTES_MAX, LEAF_BYTES, PIECE_BYTES
from meshnode.wire.tensor import Buffer

HASH_BYTES = 32
LEAVES_PER_PIECE = PIECE_BYTES // LEAF_BYTES
_ZERO = bytes(HASH_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class PieceLayer:
    """What is needed to check any piece of a blob; `check_layer` makes one from a peer's bytes."""

    size: int
    """Of the blob, in bytes."""
    root: bytes
    """The root of its tree."""
    hashes: tuple[bytes, ...]
    """One for each piece; they add up to `root`."""

    def fits(self, index: int, data: Buffer) -> bool:
        """Return whether `data` is exactly piece `index`."""
        return (
            0 <= index < len(self.hashes)
            and len(data) == piece_bytes(self.size, index)
            and hash_piece(data, self.size) == self.hashes[index]
        )


def piece_count(size: int) -> int:
    """Return how many pieces a blob of `size` bytes has."""
    return -(-size // PIECE_BYTES)


def piece_bytes(size: int, index: int) -> int:
    """Return the length of one piece; only the last one is shorter. IndexError if there is none."""
    if not 0 <= index < piece_count(size):
        raise IndexError(f"a blob of {size} bytes has no piece {index}")
    return min(PIECE_BYTES, size - index * PIECE_BYTES)


def piece_hashes(data: Buffer) -> list[bytes]:
    """Return the piece layer: 32 bytes for each piece, in order."""
    view = memoryview(data)
    size = len(view)
    return [
        hash_piece(view[i * PIECE_BYTES : (i + 1) * PIECE_BYTES], size)
        for i in range(piece_count(size))
    ]


def hash_piece(piece: Buffer, size: int) -> bytes:
    """Return the hash of one piece of a blob of `size` bytes."""
    view = memoryview(piece)
    leaves = [sha256(view[i : i + LEAF_BYTES]).digest() for i in range(0, len(view), LEAF_BYTES)]
    if size > PIECE_BYTES:
        leaves += [_ZERO] * (LEAVES_PER_PIECE - len(leaves))
    return _top(leaves, _ZERO)


def root_of(data: Buffer) -> bytes:
    """Return the root of a blob's tree; 32 zero bytes for an empty blob."""
    return root_of_layer(piece_hashes(data))


def root_of_layer(hashes: Sequence[bytes]) -> bytes:
    """Return the root above a piece layer."""
    return _top(list(hashes), _EMPTY_PIECE)


def check_layer(size: int, root: bytes, layer: Buffer) -> PieceLayer:
    """Return the piece layer that a peer sent as concatenated hashes.

    Raises RemoteProtocolError if it is not the one below `root`, TooLarge if no blob may be so.
    """
    if not 0 <= size <= BLOB_BYTES_MAX:
        raise TooLarge(f"a blob of {size} bytes, at most {BLOB_BYTES_MAX} are accepted")
    if len(layer) != piece_count(size) * HASH_BYTES:
        raise RemoteProtocolError(
            f"a piece layer of {len(layer)} bytes for a blob of {piece_count(size)} pieces"
        )
    raw = bytes(layer)
    hashes = tuple(raw[i : i + HASH_BYTES] for i in range(0, len(raw), HASH_BYTES))
    if root_of_layer(hashes) != root:
        raise RemoteProtocolError("the piece layer does not fit its root")
    return PieceLayer(size=size, root=root, hashes=hashes)


def layer_of(data: Buffer) -> PieceLayer:
    """Return the piece layer of a whole blob."""
    hashes = tuple(piece_hashes(data))
    return PieceLayer(size=len(data), root=root_of_layer(hashes), hashes=hashes)


class BlobHasher:
    """Hash and piece layer of a blob that is read once, in parts of any size."""

    def __init__(self) -> None:
        self._whole = sha256()
        self._leaf = sha256()
        self._room = LEAF_BYTES
        self._leaves: list[bytes] = []
        self._layer: list[bytes] = []
        self.size = 0
        """Bytes taken so far."""

    def update(self, data: Buffer) -> None:
        """Take the next bytes of the blob."""
        self._whole.update(data)
        view = memoryview(data)
        self.size += len(view)
        while view:
            part = view[: self._room]
            self._leaf.update(part)
            self._room -= len(part)
            view = view[len(part) :]
            if self._room == 0:
                self._end_leaf()

    def finish(self) -> tuple[bytes, PieceLayer]:
        """Return the SHA-256 of the blob and its piece layer. Call once, after all `update`s."""
        if self._room < LEAF_BYTES:
            self._end_leaf()
        if self._leaves:
            if self._layer:
                self._leaves += [_ZERO] * (LEAVES_PER_PIECE - len(self._leaves))
            self._layer.append(_top(self._leaves, _ZERO))
        hashes = tuple(self._layer)
        layer = PieceLayer(size=self.size, root=root_of_layer(hashes), hashes=hashes)
        return self._whole.digest(), layer

    def _end_leaf(self) -> None:
        self._leaves.append(self._leaf.digest())
        self._leaf, self._room = sha256(), LEAF_BYTES
        if len(self._leaves) == LEAVES_PER_PIECE:
            self._layer.append(_top(self._leaves, _ZERO))
            self._leaves = []


def _top(layer: list[bytes], filler: bytes) -> bytes:
    """Return the root above a layer, which is filled up to a power of two with `filler`.

    The filler of the next layer is the hash of two fillers, so only the end of each layer is
    ever filled: at most one hash a layer.
    """
    if not layer:
        return _ZERO
    while len(layer) > 1:
        if len(layer) % 2:
            layer = [*layer, filler]
        layer = [sha256(layer[i] + layer[i + 1]).digest() for i in range(0, len(layer), 2)]
        filler = sha256(filler + filler).digest()
    return layer[0]


_EMPTY_PIECE = _top([_ZERO] * LEAVES_PER_PIECE, _ZERO)
"""What fills the piece layer: the top of sixteen zero leaves."""
