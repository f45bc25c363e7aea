"""Tensors without numpy: their dtypes, the layout of a body, the .npy head, and JSON lists.

The doors need no more than this to carry a tensor, so a client verb starts without importing
numpy. The .npy format is the one of numpy's "A simple file format for NumPy arrays" (NEP 1).
Little-endian hosts only, as the wire is.
"""

import ast
import math
import struct
from array import array
from collections.abc import Sequence
from itertools import chain

from meshnode.errors import UnreadableInput, WrongShape, WrongTensors
from meshnode.wire.limits import RANK_MAX
from meshnode.wire.tensor import Body, Buffer, TensorHeader

DTYPES: dict[str, tuple[str, str, int]] = {
    "bool": ("|b1", "?", 1),
    "uint8": ("|u1", "B", 1),
    "uint16": ("<u2", "H", 2),
    "uint32": ("<u4", "I", 4),
    "uint64": ("<u8", "Q", 8),
    "int8": ("|i1", "b", 1),
    "int16": ("<i2", "h", 2),
    "int32": ("<i4", "i", 4),
    "int64": ("<i8", "q", 8),
    "float16": ("<f2", "e", 2),
    "float32": ("<f4", "f", 4),
    "float64": ("<f8", "d", 8),
}
"""numpy's name: the .npy description, the struct letter, bytes of one element."""

ALIGN = 8
NPY_HEAD_BYTES_MAX = 10_000
"""numpy's own bound for a header that is evaluated (`max_header_size`)."""
_BY_DESCRIPTION = {description: name for name, (description, _, _) in DTYPES.items()}
_ADDRESSES = 2**63
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def header(name: str, dtype: str, shape: Sequence[int]) -> TensorHeader:
    """Return the header of a tensor, its size computed; raise UnreadableInput for a bad dtype."""
    if dtype not in DTYPES:
        raise UnreadableInput(
            f"tensor '{name}' has the unknown dtype '{dtype}'", because=[f"known: {_known()}"]
        )
    wrong = len(shape) > RANK_MAX or any(d < 0 for d in shape)
    if wrong or not holdable(shape, DTYPES[dtype][2]):
        raise UnreadableInput(f"tensor '{name}' has the impossible shape {list(shape)}")
    size = math.prod(shape) * DTYPES[dtype][2]
    return TensorHeader(name=name, dtype=dtype, shape=tuple(shape), size=size)


def holdable(shape: Sequence[int], item_bytes: int) -> bool:
    """Return whether numpy can have an array of this shape.

    One without elements may still be too large: beside a 0 the other sizes count as they are.
    """
    return math.prod(size for size in shape if size) * item_bytes < _ADDRESSES


def padded(size: int) -> int:
    """Return the bytes a tensor takes in a body: its size, rounded up to 8."""
    return -(-size // ALIGN) * ALIGN


def body_bytes(headers: Sequence[TensorHeader]) -> int:
    """Return the length of the body that these headers describe."""
    return sum(padded(h.size) for h in headers)


def join_body(headers: Sequence[TensorHeader], buffers: Sequence[Buffer]) -> Body:
    """Return a body: each tensor's bytes, then its padding. Nothing is copied."""
    parts: list[Buffer] = []
    for head, buffer in zip(headers, buffers, strict=True):
        assert len(buffer) == head.size, "a buffer has the size its header says"
        parts += [buffer] if not (gap := padded(head.size) - head.size) else [buffer, bytes(gap)]
    return tuple(parts)


def flat(body: Body) -> memoryview:
    """Return a body as one view of bytes; copies only if it is in several buffers."""
    return memoryview(body[0] if len(body) == 1 else b"".join(body)).cast("B")


def split_body(headers: Sequence[TensorHeader], body: Buffer) -> list[memoryview]:
    """Return one view for each tensor of a body, or raise WrongShape if the sizes do not add up."""
    if body_bytes(headers) != len(body):
        raise WrongShape(f"{len(body)} bytes of tensors came, {body_bytes(headers)} were announced")
    view, start, views = memoryview(body), 0, []
    for head in headers:
        if not holdable(head.shape, DTYPES[head.dtype][2]):
            raise WrongShape(f"tensor '{head.name}' is too large: {list(head.shape)}")
        views.append(view[start : start + head.size])
        start += padded(head.size)
    return views


# ------------------------------------------------------------------------------ .npy


def read_npy(data: Buffer, what: str) -> tuple[str, tuple[int, ...], memoryview]:
    """Return dtype, shape and bytes of an .npy file held in memory, or raise UnreadableInput.

    Pickled objects are never loaded. Big-endian and Fortran-ordered arrays are refused with the
    call that converts them.
    """
    dtype, shape, start = npy_head(memoryview(data), what)
    body = memoryview(data)[start:]
    wanted = math.prod(shape) * DTYPES[dtype][2]
    if len(body) != wanted:
        raise UnreadableInput(
            f"{what} is cut short or has bytes too many",
            because=[f"{dtype}{list(shape)} takes {wanted} bytes, {len(body)} are there"],
        )
    return dtype, shape, body


def npy_head(data: memoryview, what: str) -> tuple[str, tuple[int, ...], int]:
    """Return dtype, shape and where the elements start, or raise UnreadableInput."""
    if len(data) < 10 or bytes(data[:6]) != b"\x93NUMPY":
        raise UnreadableInput(f"{what} is not an .npy file")
    wide = data[6] >= 2
    start = 12 if wide else 10
    if len(data) < start:
        raise UnreadableInput(f"{what} is cut short")
    length = int.from_bytes(data[8:start], "little")
    if length > NPY_HEAD_BYTES_MAX or len(data) < start + length:
        raise UnreadableInput(f"{what} has a header of {length} bytes")
    try:
        head = ast.literal_eval(bytes(data[start : start + length]).decode("utf-8").strip())
        description, order, shape = head["descr"], head["fortran_order"], head["shape"]
        dims = tuple(d for d in shape if type(d) is int and 0 <= d < 2**48)
        if len(dims) != len(shape) or len(shape) > RANK_MAX or type(shape) is not tuple:
            raise ValueError("shape")
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError) as error:
        raise UnreadableInput(f"{what} has a header that is not numpy's") from error
    return _npy_dtype(description, what), _c_order(dims, order, what), start + length


def npy_bytes(head: TensorHeader) -> bytes:
    """Return the .npy header for a tensor; its elements follow."""
    shape = (
        f"({head.shape[0]},)" if len(head.shape) == 1 else f"({', '.join(map(str, head.shape))})"
    )
    text = f"{{'descr': '{DTYPES[head.dtype][0]}', 'fortran_order': False, 'shape': {shape}, }}"
    gap = -(10 + len(text) + 1) % 64
    return (
        b"\x93NUMPY\x01\x00"
        + struct.pack("<H", len(text) + gap + 1)
        + f"{text}{' ' * gap}\n".encode()
    )


def _npy_dtype(description: object, what: str) -> str:
    if isinstance(description, str) and description in _BY_DESCRIPTION:
        return _BY_DESCRIPTION[description]
    if isinstance(description, str) and description.startswith(">"):
        raise UnreadableInput(
            f"{what} is big-endian", try_="np.save(FILE, a.astype(a.dtype.newbyteorder('<')))"
        )
    raise UnreadableInput(
        f"{what} holds elements of type {description!r}", because=[f"known: {_known()}"]
    )


def _c_order(dims: tuple[int, ...], fortran: object, what: str) -> tuple[int, ...]:
    if fortran and len(dims) > 1:
        raise UnreadableInput(
            f"{what} is in Fortran order", try_="np.save(FILE, np.ascontiguousarray(a))"
        )
    return dims


# ------------------------------------------------------------------------------ lists


def from_lists(value: object, dtype: str, what: str) -> tuple[tuple[int, ...], bytes]:
    """Return shape and bytes of nested lists of numbers, or raise UnreadableInput.

    "NaN", "Infinity" and "-Infinity" stand for the floats that JSON has no word for.
    """
    if dtype not in DTYPES:
        raise UnreadableInput(f"{what} has the unknown dtype '{dtype}'", because=[_known()])
    shape: list[int] = []
    level: list[object] = [value]
    while level and isinstance(level[0], list):
        length = len(level[0])
        if not all(isinstance(item, list) and len(item) == length for item in level):
            raise UnreadableInput(f"{what} has rows of different lengths")
        shape.append(length)
        level = list(chain.from_iterable(item for item in level if isinstance(item, list)))
        if len(shape) > RANK_MAX:
            raise UnreadableInput(f"{what} is nested deeper than {RANK_MAX}")
    return tuple(shape), _pack(level, dtype, what)


def from_json(name: str, value: object, dtype: str) -> tuple[TensorHeader, bytes]:
    """Return one tensor from lists, or from an object that also gives its dtype and shape."""
    what = f"tensor '{name}'"
    shape: object = None
    if isinstance(value, dict):
        dtype, shape, value = str(value.get("dtype", dtype)), value.get("shape"), value.get("data")
    if not dtype:
        raise WrongTensors(f"the module has no input '{name}'")
    found, data = from_lists(value, dtype, what)
    if shape is None:
        return header(name, dtype, found), data
    if not isinstance(shape, list) or not all(type(d) is int for d in shape):
        raise UnreadableInput(f"{what} has a shape that is not a list of whole numbers")
    head = header(name, dtype, shape)
    if head.size != len(data):
        raise UnreadableInput(
            f"{what} has other data than its shape {shape} says", because=[f"data is {list(found)}"]
        )
    return head, data


def to_lists(head: TensorHeader, data: Buffer) -> object:
    """Return a tensor as nested lists (a number if it has no dimension).

    Floats that are not finite become the texts "NaN", "Infinity" and "-Infinity".
    """
    letter = DTYPES[head.dtype][1]
    flat: list[object] = list(struct.unpack(f"<{math.prod(head.shape)}{letter}", data))
    if letter in "efd":
        flat = [v if math.isfinite(v) else _spell(v) for v in flat if isinstance(v, float)]
    for axis in range(len(head.shape) - 1, 0, -1):
        length, rows = head.shape[axis], math.prod(head.shape[:axis])
        flat = [flat[i * length : (i + 1) * length] for i in range(rows)]
    return flat if head.shape else flat[0]


def _spell(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _pack(flat: list[object], dtype: str, what: str) -> bytes:
    letter = DTYPES[dtype][1]
    try:
        if letter == "?":
            if not all(v is True or v is False for v in flat):
                raise TypeError("a bool tensor takes true and false")
            return bytes(flat)  # type: ignore[arg-type]  # checked: all bool
        if any(isinstance(v, bool) for v in flat):
            raise TypeError("true and false are not numbers")
        if letter in "efd":
            flat = [_NOT_FINITE[v] if isinstance(v, str) else v for v in flat]
        if letter == "e":
            return struct.pack(f"<{len(flat)}e", *flat)
        return array(letter, flat).tobytes()  # type: ignore[type-var]  # array checks each element
    except (TypeError, ValueError, OverflowError, KeyError, struct.error) as error:
        raise UnreadableInput(f"{what} does not fit {dtype}", because=[str(error)]) from error


def _known() -> str:
    return ", ".join(DTYPES)
