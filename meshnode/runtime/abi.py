"""The guest ABI in numbers: record layout, tensor types, errnos, and every import and export.

`docs/guest-abi.md` is the text, `guests/abi/meshnode_guest.h` the same for C; a test compares
them. Everything is little-endian and 32 bits wide.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

from meshnode.caps import Caps

PAGE_BYTES = 65536
U32_MASK = 0xFFFF_FFFF
RECORD = struct.Struct("<IIB3xII")
"""A tensor: dims_ptr, dims_len, type, three bytes to ignore, data_ptr, data_len (in bytes).

The layout of `tensor` in wasi-nn's WITX, so that one struct serves both."""
ANY_DIM = U32_MASK
"""How `describe` writes a dimension that may have any size."""

MODELS_OPEN_MAX = 16
MODEL_NAME_BYTES_MAX = 4096
LOG_LINE_BYTES_MAX = 1024


class Errno(IntEnum):
    """What host functions and `infer` return; the numbers of wasi-nn's nn_errno."""

    SUCCESS = 0
    INVALID_ARGUMENT = 1
    INVALID_ENCODING = 2
    MISSING_MEMORY = 3
    BUSY = 4
    RUNTIME_ERROR = 5
    UNSUPPORTED_OPERATION = 6
    TOO_LARGE = 7
    NOT_FOUND = 8


SEED_TOO_SMALL = -1
"""What `predict` of the seed ABI returns for "your output buffer is too small"."""

TENSOR_TYPES = {
    # wasi-nn's WITX has the first six; ours begin at 16 so that none is ever taken for another.
    "float16": 0,
    "float32": 1,
    "float64": 2,
    "uint8": 3,
    "int32": 4,
    "int64": 5,
    "bool": 16,
    "int8": 17,
    "uint16": 18,
    "int16": 19,
    "uint32": 20,
    "uint64": 21,
}
"""The number of each dtype in a record."""
TYPE_DTYPES = {number: dtype for dtype, number in TENSOR_TYPES.items()}

I32 = b"\x7f"
NO_CAPS = Caps(0)


@dataclass(frozen=True, slots=True)
class Signature:
    """A function type, as Wasm value type bytes (7f i32, 7e i64, 7d f32, 7c f64)."""

    params: bytes
    results: bytes

    def __str__(self) -> str:
        """Return for example `(i32 i32) -> i32`."""
        return f"({_names(self.params)}) -> {_names(self.results) or 'nothing'}"


@dataclass(frozen=True, slots=True)
class HostFunction:
    """Something a guest may import, and the capability that it takes."""

    signature: Signature
    needs: Caps = NO_CAPS


def _names(types: bytes) -> str:
    known = {0x7F: "i32", 0x7E: "i64", 0x7D: "f32", 0x7C: "f64"}
    return " ".join(known.get(t, f"{t:#x}") for t in types)


_QUERY_CAPS = HostFunction(Signature(b"", I32))
IMPORTS = {
    ("env", "query_caps"): _QUERY_CAPS,
    ("meshnode", "query_caps"): _QUERY_CAPS,
    ("meshnode", "log"): HostFunction(Signature(I32 * 3, b"")),
    ("meshnode", "model_open"): HostFunction(Signature(I32 * 2, I32), Caps.NN),
    ("meshnode", "describe"): HostFunction(Signature(I32 * 4, I32), Caps.NN),
    ("meshnode", "infer"): HostFunction(Signature(I32 * 5, I32), Caps.NN),
}
"""All there is. A module that imports anything else is refused before it is compiled."""

FOREIGN_MODULES = {
    "wasi_snapshot_preview1": Caps.WASI,
    "wasi_unstable": Caps.WASI,
    "wasi_ephemeral_nn": Caps.NN,
}
"""Import modules that are known but not served, and the capability they would take."""

REQUIRED_EXPORTS = {
    "seed": {"init": Signature(b"", I32), "predict": Signature(I32 * 4, I32)},
    "infer": {"infer": Signature(I32 * 4, I32)},
}
"""What a guest must export, by the manifest's `abi`; and a memory named `memory`."""
OPTIONAL_EXPORTS = {
    "alloc": Signature(I32, I32),
    "init": Signature(b"", I32),
    "_initialize": Signature(b"", b""),
}
"""What the host uses if it is there; then its type must be this one."""
DENIED_EXPORT = "meshnode.denied"
"""A global that `growth` adds: not 0 once the guest was refused memory."""
