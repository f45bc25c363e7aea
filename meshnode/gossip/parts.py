"""Parts: whom a table believes present, as 64 hashes that two nodes can compare in 256 bytes.

Each member falls into the part that its tag's first byte names. A part's hash is the exclusive or
of its members' hashes, so that a change costs one hash and no look at the others.
"""

from hashlib import blake2b
from struct import Struct

from meshnode.ids import NodeTag
from meshnode.wire.membership_table import PART_BYTES, PARTS

ROW_BYTES = PARTS * PART_BYTES
_ROW = Struct(f">{PARTS}I")


def part_of(tag: NodeTag) -> int:
    """Return the number of the part that a member falls into."""
    return tag[0] % PARTS


class Parts:
    """The hashes of one table; a member is put in, and taken out, by its tag and incarnation."""

    def __init__(self) -> None:
        self._hashes = [0] * PARTS

    def toggle(self, tag: NodeTag, incarnation: int) -> None:
        """Put a member in that is out, or take one out that is in."""
        self._hashes[part_of(tag)] ^= _hash(tag, incarnation)

    def row(self, tag: NodeTag, incarnation: int) -> bytes:
        """Return all hashes, with one more member (the own node) in."""
        hashes = self._hashes.copy()
        hashes[part_of(tag)] ^= _hash(tag, incarnation)
        return _ROW.pack(*hashes)


def differing(a: bytes, b: bytes) -> list[int]:
    """Return the numbers of the parts in which two rows differ."""
    if a == b:
        return []
    return [
        i
        for i in range(PARTS)
        if a[i * PART_BYTES : (i + 1) * PART_BYTES] != b[i * PART_BYTES : (i + 1) * PART_BYTES]
    ]


def _hash(tag: NodeTag, incarnation: int) -> int:
    digest = blake2b(tag + incarnation.to_bytes(8, "big"), digest_size=PART_BYTES).digest()
    return int.from_bytes(digest, "big")
