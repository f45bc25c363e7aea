"""A blob of four pieces, the last one short."""

from hashlib import sha256

from meshnode.ids import ContentHash
from meshnode.wire.limits import PIECE_BYTES

DATA = b"".join(i.to_bytes(2, "big") * (PIECE_BYTES // 2) for i in range(1, 5))[:-77]
HASH = ContentHash(sha256(DATA).digest())


def piece(index: int) -> bytes:
    return DATA[index * PIECE_BYTES : (index + 1) * PIECE_BYTES]
