"""The one room that speaks to wasmtime's C interface directly: under a microsecond a call.

wasmtime-py spends 50 us on an exported call and 10 us on a host call, in building and checking
values that here are known to be right: preflight has proved every type that crosses, and the linker
compares the imports' once more. So values are written straight into 16-byte slots, in buffers that
are used again and again. It is written for the releases that `binding.PINNED` names.

What must stay true here:
* No exception leaves a callback: the C code that called it could not handle it. It is kept in the
  instance, the guest is stopped by a trap, and whoever called the guest gets it.
* A callback knows its instance by the thread it is called on. So one linked module serves all its
  instances and threads, and nothing that C holds refers to an instance: nothing leaks.
* The callbacks of a module live as long as any instance of it, which refers to the module.
"""

import threading
from collections.abc import Mapping
from ctypes import (
    POINTER,
    Array,
    addressof,
    c_double,
    c_float,
    c_ubyte,
    c_uint32,
    c_uint64,
    c_void_p,
)
from struct import Struct
from typing import Literal

from wasmtime import Engine, FuncType, Global, Linker, Module, Store, Trap, ValType
from wasmtime import _ffi as ffi

from meshnode.runtime import wasmtime_c as c
from meshnode.runtime.abi import DENIED_EXPORT, U32_MASK, Signature
from meshnode.runtime.binding import (
    F32,
    F64,
    I32,
    I64,
    INTEGERS,
    STORE_LIMITS,
    HostCall,
    HostImport,
    ImportKey,
    Prepared,
    stopped,
)
from meshnode.runtime.guest_memory import GuestMemory, NoMemory
from meshnode.runtime.wasmtime_c import address_of, error_at

SLOT_BYTES = 16
"""A `wasmtime_val_raw_t`: room for a v128, whatever lies in it."""
_SLOTS_SEEN_MAX = 64
"""Addresses of argument slots remembered by one import; they are few, unless a guest recurses."""
_VALUE_TYPES = {I32: ValType.i32, I64: ValType.i64, F32: ValType.f32, F64: ValType.f64}
_LETTERS = {I32: "I12x", I64: "Q8x", F32: "f12x", F64: "d8x"}
_Slots = Array[c_uint32] | Array[c_uint64] | Array[c_float] | Array[c_double]
_RESULTS: dict[int, type[_Slots]] = {
    I32: c_uint32 * 1,
    I64: c_uint64 * 1,
    F32: c_float * 1,
    F64: c_double * 1,
}
"""Where a result is written; an integer wraps to its width."""
_READ: dict[bytes, Literal["", "i", "q"]] = {b"": "", bytes((I32,)): "i", bytes((I64,)): "q"}
"""How an export's result is read from the first slot; not at all if it has none."""
_MASKS = {I32: U32_MASK, I64: (1 << 64) - 1}


class _Here(threading.local):
    """What runs on this thread."""

    instance: "FastInstance | None" = None


_here = _Here()


class FastMemory(GuestMemory):
    """A memory reached through the C interface."""

    def __init__(self, memory: ffi.wasmtime_memory_t, store: Store, context: int) -> None:
        self._store = store  # kept alive: the address below is of something in it
        self._context = context
        self._memory = memory
        self._at = addressof(memory)
        super().__init__()

    def _length(self) -> int:
        return c.memory_size(self._context, self._at)

    def _bytes(self, size: int) -> tuple[int, memoryview]:
        base: int = c.memory_data(self._context, self._at)
        return base, memoryview((c_ubyte * size).from_address(base))

    def _grow(self, pages: int) -> int:
        before = c_uint64()
        if error := c.memory_grow(self._context, self._at, pages, addressof(before)):
            raise NoMemory(str(error_at(error)))
        return before.value


class FastModule:
    """A module with its imports resolved once, for instances on any thread."""

    def __init__(
        self,
        engine: Engine,
        module: Module,
        imports: Mapping[ImportKey, Signature],
        exports: Mapping[str, Signature],
    ) -> None:
        self.engine = engine
        self.exports = {name: _Shape(s) for name, s in exports.items() if _callable(s)}
        self._order = tuple(imports)
        self._callbacks = [_callback(i, s) for i, s in enumerate(imports.values())]
        linker = Linker(engine)
        for (space, name), callback in zip(imports, self._callbacks, strict=True):
            signature = imports[space, name]
            type_ = FuncType(
                [_VALUE_TYPES[t]() for t in signature.params],
                [_VALUE_TYPES[t]() for t in signature.results],
            )
            first, second = space.encode(), name.encode()
            if error := c.define(
                address_of(linker.ptr()),
                *(first, len(first), second, len(second)),
                *(address_of(type_.ptr()), callback, None, c.NO_FINALIZER),
            ):
                raise error_at(error)
        self._ready = linker.instantiate_pre(module)

    def instantiate(
        self, imports: Mapping[ImportKey, HostImport], *, memory_bytes_max: int, ticks: int
    ) -> "FastInstance":
        """See `Linked`."""
        store = Store(self.engine)
        store.set_limits(memory_size=memory_bytes_max, **STORE_LIMITS)
        instance = FastInstance(self, store, [imports[key].ending() for key in self._order])
        try:
            instance.start(address_of(self._ready.ptr()), ticks)
        except BaseException:
            instance.close()
            raise
        return instance


class FastInstance:
    """A live instance. Used by one thread at a time."""

    def __init__(self, module: FastModule, store: Store, calls: list[HostCall]) -> None:
        self._module = module
        self._store = store
        self._context: int = c.context_of(address_of(store.ptr()))
        self._calls = calls
        self._memory: GuestMemory | None = None
        self._instance = ffi.wasmtime_instance_t()
        self._found: dict[str, _Export] = {}
        self._trap = c_void_p()
        self._trap_at = addressof(self._trap)
        self._raised: BaseException | None = None

    def start(self, ready: int, ticks: int) -> None:
        """Instantiate, the start function included."""
        c.set_deadline(self._context, ticks)
        outer, _here.instance = _here.instance, self
        try:
            error = c.instantiate(ready, self._context, addressof(self._instance), self._trap_at)
        finally:
            _here.instance = outer
        if error or self._trap.value:
            raise self._ended(error)
        found = self._look_up("memory", ffi.WASMTIME_EXTERN_MEMORY)
        assert found is not None, "preflight has checked the exports"
        self._memory = FastMemory(found.of.memory, self._store, self._context)

    @property
    def memory(self) -> GuestMemory:
        """See `Instance`."""
        assert self._memory is not None, "host functions bind it before they use it"
        return self._memory

    def call(self, name: str, *args: int, ticks: int) -> int:
        """See `Instance`."""
        return self.prepare(name, *args)(ticks)

    def prepare(self, name: str, *args: int) -> Prepared:
        """See `Instance`."""
        export = self._found.get(name) or self._find(name)
        slots, packed, result = export.slots, export.packed(args), export.result
        context, trap, here = self._context, self._trap, _here
        given = c.ready(context, export.function_at, export.slots_at, export.count, self._trap_at)
        run, set_deadline = c.call, c.set_deadline

        def call(ticks: int | None) -> int:
            assert self._context, "the instance was closed"
            if ticks is not None:
                set_deadline(context, ticks)
            slots[:] = packed
            outer = here.instance
            here.instance = self
            try:
                error = run(*given)
            finally:
                here.instance = outer
            if error or trap.value:
                raise self._ended(error)
            return result[0] if result is not None else 0

        return call

    def was_refused_memory(self) -> bool:
        """See `Instance`."""
        found = self._look_up(DENIED_EXPORT, ffi.WASMTIME_EXTERN_GLOBAL)
        if found is None:
            return False
        denied = Global._from_raw(found.of.global_)
        if not denied.value(self._store):
            return False
        denied.set_value(self._store, 0)
        return True

    def close(self) -> None:
        """See `Instance`."""
        if self._memory is not None:
            self._memory.close()
        self._memory = None
        self._found = {}
        self._calls = []
        self._context = 0
        self._store.close()

    def fail(self, error: BaseException) -> int:
        """A host function raised: return the trap that stops the guest."""
        self._raised = error
        trap: int = c.new_trap(b"host function", 13)
        return trap

    def _bind_early(self, caller: int) -> GuestMemory | None:
        """Return the memory while the start function runs, before exports are known."""
        found = ffi.wasmtime_extern_t()
        there = c.callers_export(caller, b"memory", 6, addressof(found))
        if not there or not _is(found, ffi.WASMTIME_EXTERN_MEMORY):
            return None
        self._memory = FastMemory(found.of.memory, self._store, self._context)
        return self._memory

    def _look_up(self, name: str, kind: c_ubyte) -> ffi.wasmtime_extern_t | None:
        assert self._context, "the instance was closed"
        found, raw = ffi.wasmtime_extern_t(), name.encode()
        there = c.export(self._context, addressof(self._instance), raw, len(raw), addressof(found))
        return found if there and _is(found, kind) else None

    def _find(self, name: str) -> "_Export":
        shape, found = self._module.exports[name], self._look_up(name, ffi.WASMTIME_EXTERN_FUNC)
        assert found is not None, "preflight has checked the exports"
        made = self._found[name] = _Export(shape, found)
        return made

    def _ended(self, error: int | None) -> BaseException:
        raised, self._raised = self._raised, None
        if error:
            reason: Exception = error_at(error)
        else:
            reason = Trap._from_ptr(POINTER(ffi.wasm_trap_t).from_buffer_copy(self._trap))
            self._trap.value = None
        return raised if raised is not None else stopped(reason)


class _Shape:
    """How the values of a function of integers lie in slots."""

    def __init__(self, signature: Signature) -> None:
        self.layout = _layout(signature.params)
        self.masks = [_MASKS[t] for t in signature.params]
        self.count = max(len(signature.params), len(signature.results), 1)
        self.result = _READ[signature.results]


class _Export:
    """An exported function of one instance, with its slots."""

    __slots__ = ("_found", "_shape", "count", "function_at", "result", "slots", "slots_at")

    def __init__(self, shape: _Shape, found: ffi.wasmtime_extern_t) -> None:
        self._found, self._shape = found, shape
        self.function_at = addressof(found.of.func)
        self.count = shape.count
        room = (c_ubyte * (SLOT_BYTES * shape.count))()
        self.slots_at = addressof(room)
        self.slots = memoryview(room).cast("B")
        self.result = self.slots.cast(shape.result) if shape.result else None

    def packed(self, args: tuple[int, ...]) -> bytes:
        """Return what the slots hold for arguments; a negative or too large one wraps."""
        shape = self._shape
        given = shape.layout.pack(*(a & m for a, m in zip(args, shape.masks, strict=True)))
        return given.ljust(len(self.slots), b"\0")


def _callback(index: int, signature: Signature) -> object:
    """Return the C function behind an import; it finds its instance on the thread it runs on."""
    unpack = _layout(signature.params).unpack_from
    count = max(len(signature.params), len(signature.results))
    size = count * SLOT_BYTES
    result_kind = _RESULTS[signature.results[0]] if signature.results else None
    seen: dict[int | None, tuple[Array[c_ubyte], _Slots | None]] = {}

    def answer(_: int | None, caller: int, at: int | None, __: int) -> int | None:
        instance = _here.instance
        assert instance is not None, "only an instance that was called calls back"
        try:
            slots = seen.get(at)
            if slots is None:
                if len(seen) >= _SLOTS_SEEN_MAX:
                    seen.clear()
                slots = seen[at] = (
                    (c_ubyte * size).from_address(at or 0),
                    result_kind.from_address(at or 0) if result_kind else None,
                )
            arguments, result = slots
            memory = instance._memory or instance._bind_early(caller)
            answered = instance._calls[index](memory, *unpack(arguments))
            if result is not None:
                result[0] = answered
        except BaseException as error:
            return instance.fail(error)
        return None

    return c.CALLBACK(answer)


def _layout(types: bytes) -> Struct:
    return Struct("<" + "".join(_LETTERS[t] for t in types))


def _callable(signature: Signature) -> bool:
    return all(t in INTEGERS for t in signature.params + signature.results) and (
        len(signature.results) <= 1
    )


def _is(found: ffi.wasmtime_extern_t, kind: c_ubyte) -> bool:
    given: object = found.kind  # an int: ctypes reads such a field as one
    return given == kind.value
