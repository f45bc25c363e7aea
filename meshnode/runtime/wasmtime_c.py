"""Functions of wasmtime's C interface, by prototypes of our own. For `fastcall` alone."""

from collections.abc import Callable
from ctypes import (
    CFUNCTYPE,
    POINTER,
    PYFUNCTYPE,
    c_bool,
    c_char_p,
    c_size_t,
    c_uint64,
    c_void_p,
)

from wasmtime import WasmtimeError
from wasmtime import _ffi as ffi

CALLBACK = CFUNCTYPE(c_void_p, c_void_p, c_void_p, c_void_p, c_size_t)
NO_FINALIZER = CFUNCTYPE(None, c_void_p)()


def _function(
    name: str, result: type | None, *arguments: type, quick: bool = True
) -> Callable[..., int]:
    """Return a function of the C library; a quick one keeps the interpreter's lock."""
    # Prototypes of our own: those in wasmtime-py build a pointer object for each argument.
    made = (PYFUNCTYPE if quick else CFUNCTYPE)(result, *arguments)((name, ffi.dll))
    found: Callable[..., int] = made
    return found


_P = c_void_p
context_of = _function("wasmtime_store_context", _P, _P)
set_deadline = _function("wasmtime_context_set_epoch_deadline", None, _P, c_uint64)
define = _function(
    "wasmtime_linker_define_func_unchecked",
    _P,
    *(_P, c_char_p, c_size_t, c_char_p, c_size_t, _P, CALLBACK, _P, type(NO_FINALIZER)),
)
instantiate = _function("wasmtime_instance_pre_instantiate", _P, _P, _P, _P, _P, quick=False)
call: Callable[..., int | None] = CFUNCTYPE(_P)(("wasmtime_func_call_unchecked", ffi.dll))
"""Takes what `ready` returns: to convert five numbers takes as long as the call itself."""
export = _function("wasmtime_instance_export_get", c_bool, _P, _P, c_char_p, c_size_t, _P)
callers_export = _function("wasmtime_caller_export_get", c_bool, _P, c_char_p, c_size_t, _P)
new_trap = _function("wasmtime_trap_new", _P, c_char_p, c_size_t)
memory_data = _function("wasmtime_memory_data", _P, _P, _P)
memory_size = _function("wasmtime_memory_data_size", c_size_t, _P, _P)
memory_grow = _function("wasmtime_memory_grow", _P, _P, _P, c_uint64, _P, quick=False)


def ready(context: int, function: int, slots: int, count: int, trap: int) -> tuple[object, ...]:
    """Return the arguments of `call`, converted."""
    pointers = [_P.from_param(address) for address in (context, function, slots, trap)]
    return *pointers[:3], c_size_t.from_param(count), pointers[3]


def address_of(pointer: object) -> int:
    """Return where one of wasmtime-py's objects points."""
    # Not by `cast`: what that returns, and what it was given, keep each other alive.
    address = c_void_p.from_buffer(pointer).value  # type: ignore[arg-type]  # a ctypes pointer
    assert address, "wasmtime-py raises before it hands out a null pointer"
    return address


def error_at(address: int) -> WasmtimeError:
    """Return the error at an address, which becomes its owner."""
    return WasmtimeError._from_ptr(
        POINTER(ffi.wasmtime_error_t).from_buffer_copy(c_void_p(address))
    )
