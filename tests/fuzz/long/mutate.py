"""Changes bytes as an attacker would: bits, numbers at the edge, pieces doubled, cut or moved."""

from collections.abc import Sequence
from random import Random

EDGES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 0x1_0000_0000)


def leb(value: int, *, padded: int = 0) -> bytes:
    """Return LEB128, with more bytes than needed if `padded`."""
    out = bytearray()
    while value >= 0x80 or len(out) < padded:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def mutated(rng: Random, data: bytes, others: Sequence[bytes] = ()) -> bytes:
    """Return `data` with one to six changes."""
    made = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        at = rng.randrange(len(made) + 1)
        size = rng.choice((1, 1, 2, 4, 8, rng.randrange(64)))
        match rng.randrange(9):
            case 0 if made:
                made[at - 1] ^= 1 << rng.randrange(8)
            case 1 if made:
                made[at - 1] = rng.choice(
                    (0, 1, 0x40, 0x60, 0x7B, 0x7F, 0x80, 0xFF, rng.randrange(256))
                )
            case 2:
                del made[at : at + size]
            case 3:
                made[at:at] = rng.randbytes(size)
            case 4:
                made[at : at + rng.randrange(6)] = leb(rng.choice(EDGES), padded=rng.randrange(6))
            case 5:
                piece = made[at : at + size]
                to = rng.randrange(len(made) + 1)
                made[to:to] = piece * rng.choice((1, 1, 2, 16))
            case 6 if others:
                other = rng.choice(others)
                cut = rng.randrange(len(other) + 1)
                made[at : at + size] = other[cut : cut + rng.randrange(128)]
            case 7:
                del made[at:]
            case _:
                made[at:at] = rng.choice(EDGES).to_bytes(5, "little")[: rng.choice((1, 2, 4))]
    return bytes(made)
