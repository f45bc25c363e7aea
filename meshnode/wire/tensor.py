"""What every message and every door says of a tensor: its header, and the bytes beside it.

Apart from `messages`, because client verbs need this and not the thirty messages of the wire.
"""

from dataclasses import dataclass
from typing import TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview
Body: TypeAlias = tuple[Buffer, ...]
"""Consecutive buffers; what is received is at most one memoryview."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorHeader:
    """One tensor of a body: little-endian, C order, padded to 8 bytes after the last element."""

    name: str
    dtype: str
    """A numpy name: bool, uint8..64, int8..64, float16, float32 or float64."""
    shape: tuple[int, ...]
    size: int
    """Bytes, without the padding."""
