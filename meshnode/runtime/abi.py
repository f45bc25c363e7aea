"""The guest ABI in numbers: record layout, tensor types, errnos, and every import and export.

`docs/guest-abi.md` is the text, `guests/abi/meshnode_guest.h` the same for C; a test compares
them. Everything is little-endian and 32 bits wide.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

from meshnode.caps import Caps
from meshnode.wire.limits import MIB

PAGE_BYTES = 65536
U32_MASK = 0xFFFF_FFFF
U64_MASK = 0xFFFF_FFFF_FFFF_FFFF
RECORD = struct.Struct("<IIB3xII")
"""A tensor: dims_ptr, dims_len, type, three bytes to ignore, data_ptr, data_len (in bytes).

The layout of `tensor` in wasi-nn's WITX, so that one struct serves both."""
ANY_DIM = U32_MASK
"""How `describe` writes a dimension that may have any size."""

MODELS_OPEN_MAX = 16
MODEL_NAME_BYTES_MAX = 4096
LOG_LINE_BYTES_MAX = 1024

NN_MODULE = "wasi_ephemeral_nn"
NN_GRAPHS_MAX = 16
NN_CONTEXTS_MAX = 64
NN_BUILDERS_MAX = 16
NN_BYTES_MAX = 256 * MIB
"""Inputs and outputs that the host keeps for one instance: a context keeps its last ones."""

WASI_MODULE = "wasi_snapshot_preview1"


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

I32, I64 = b"\x7f", b"\x7e"
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


def _signature(params: str, results: bytes = I32) -> Signature:
    """Return a signature from a letter for each parameter: i for i32, l for i64."""
    return Signature(params.encode().replace(b"i", I32).replace(b"l", I64), results)


_NN = {
    "load": "iiiii",
    "load_by_name": "iii",
    "init_execution_context": "ii",
    "set_input": "iii",
    "get_output": "iiiii",
    "compute": "i",
}
"""wasi-nn as WITX has it, every result an errno."""
_WASI = {
    "args_get": "ii",
    "args_sizes_get": "ii",
    "clock_res_get": "ii",
    "clock_time_get": "ili",
    "environ_get": "ii",
    "environ_sizes_get": "ii",
    "fd_advise": "illi",
    "fd_allocate": "ill",
    "fd_close": "i",
    "fd_datasync": "i",
    "fd_fdstat_get": "ii",
    "fd_fdstat_set_flags": "ii",
    "fd_fdstat_set_rights": "ill",
    "fd_filestat_get": "ii",
    "fd_filestat_set_size": "il",
    "fd_filestat_set_times": "illi",
    "fd_pread": "iiili",
    "fd_prestat_dir_name": "iii",
    "fd_prestat_get": "ii",
    "fd_pwrite": "iiili",
    "fd_read": "iiii",
    "fd_readdir": "iiili",
    "fd_renumber": "ii",
    "fd_seek": "ilii",
    "fd_sync": "i",
    "fd_tell": "ii",
    "fd_write": "iiii",
    "path_create_directory": "iii",
    "path_filestat_get": "iiiii",
    "path_filestat_set_times": "iiiilli",
    "path_link": "iiiiiii",
    "path_open": "iiiiillii",
    "path_readlink": "iiiiii",
    "path_remove_directory": "iii",
    "path_rename": "iiiiii",
    "path_symlink": "iiiii",
    "path_unlink_file": "iii",
    "poll_oneoff": "iiii",
    "random_get": "ii",
    "sched_yield": "",
    "sock_accept": "iii",
    "sock_recv": "iiiiii",
    "sock_send": "iiiii",
    "sock_shutdown": "ii",
}
"""All of WASI preview 1 that returns an errno; most of it only to be refused politely."""

_QUERY_CAPS = HostFunction(Signature(b"", I32))
IMPORTS = {
    ("env", "query_caps"): _QUERY_CAPS,
    ("meshnode", "query_caps"): _QUERY_CAPS,
    ("meshnode", "log"): HostFunction(Signature(I32 * 3, b"")),
    ("meshnode", "model_open"): HostFunction(Signature(I32 * 2, I32), Caps.NN),
    ("meshnode", "describe"): HostFunction(Signature(I32 * 4, I32), Caps.NN),
    ("meshnode", "infer"): HostFunction(Signature(I32 * 5, I32), Caps.NN),
    # Guests that name their models import `load` too, so importing it takes no more than NN;
    # the call is refused to a module without NN_LOAD.
    **{(NN_MODULE, n): HostFunction(_signature(p), Caps.NN) for n, p in _NN.items()},
    **{(WASI_MODULE, n): HostFunction(_signature(p), Caps.WASI) for n, p in _WASI.items()},
    (WASI_MODULE, "proc_exit"): HostFunction(_signature("i", b""), Caps.WASI),
    (WASI_MODULE, "proc_raise"): HostFunction(_signature("i"), Caps.WASI),
}
"""All there is. A module that imports anything else is refused before it is compiled."""

FOREIGN_MODULES = {"wasi_unstable": Caps.WASI}
"""Import modules that are known but not served, and the capability they would take."""

REQUIRED_EXPORTS = {
    "seed": {"init": Signature(b"", I32), "predict": Signature(I32 * 4, I32)},
    "infer": {"infer": Signature(I32 * 4, I32)},
    "command": {},
}
"""What a guest must export, by the manifest's `abi`; and a memory named `memory`."""
COMMAND_EXPORTS = {"_start": Signature(b"", b"")}
"""What the host calls of a command guest; one that has a start section may do without."""
OPTIONAL_EXPORTS = {
    "alloc": Signature(I32, I32),
    "init": Signature(b"", I32),
    "_initialize": Signature(b"", b""),
}
"""What the host uses if it is there; then its type must be this one."""
DENIED_EXPORT = "meshnode.denied"
"""A global that `growth` adds: not 0 once the guest was refused memory."""
