"""The only file that calls wasmtime at run time: one instance, its memory, its calls.

Uses wasmtime-py's public API. That costs about 50 us a call and 15 us a host call; what would cost
more is avoided: exports are looked up once, and memory is a numpy view, never read or written
through the binding. Host functions must not raise: the binding keeps such an exception in one
global, from where another thread may take it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from wasmtime import (
    Caller,
    Engine,
    Func,
    FuncType,
    Global,
    Linker,
    Memory,
    Module,
    Store,
    Trap,
    TrapCode,
    ValType,
    WasmtimeError,
)

from meshnode.runtime.abi import DENIED_EXPORT, PAGE_BYTES, U32_MASK, U64_MASK, Signature
from meshnode.runtime.guest_types import TABLE_ELEMENTS_MAX

HostCall = Callable[..., int | None]
"""Takes the guest's memory (None if it has none yet) and the arguments as unsigned numbers."""
_VALUE_TYPES = {0x7F: ValType.i32, 0x7E: ValType.i64, 0x7D: ValType.f32, 0x7C: ValType.f64}
_MASKS = {0x7F: U32_MASK, 0x7E: U64_MASK}
"""Host functions take no floats."""


class GuestTrap(Exception):
    """The guest was stopped: it ran out of time, or did what traps."""

    def __init__(self, what: str, *, out_of_time: bool = False) -> None:
        super().__init__(what)
        self.what = what
        self.out_of_time = out_of_time


class NoMemory(Exception):
    """The limiter refused pages that the host asked for in the guest's memory."""


@dataclass(frozen=True, slots=True)
class HostImport:
    """A function offered to one instance."""

    signature: Signature
    call: HostCall
    ends: bool = False
    """The guest must not go on after this call (`proc_exit`)."""


class GuestMemory:
    """The guest's linear memory as bytes; every access is checked against its current length."""

    def __init__(self, memory: Memory, store: Store) -> None:
        self._memory = memory
        self._store = store
        self._view = np.empty(0, np.uint8)
        self._refresh()

    @property
    def size(self) -> int:
        """Its length in bytes, now."""
        return int(self._memory.data_len(self._store))

    def slice(self, pointer: int, size: int) -> np.ndarray | None:
        """Return a writable view of `size` bytes at `pointer`, or None if any lies outside.

        Touching memory beyond its length would be a real segmentation fault.
        """
        end = pointer + size
        if end > len(self._view):
            # Memory only grows and never moves, so a length once seen stays good.
            self._refresh()
            if end > len(self._view):
                return None
        return self._view[pointer:end]

    def grow(self, pages: int) -> int:
        """Add pages for the host's own use and return where they begin, or raise NoMemory."""
        try:
            return int(self._memory.grow(self._store, pages)) * PAGE_BYTES
        except WasmtimeError as error:
            raise NoMemory(str(error)) from error

    def _refresh(self) -> None:
        size = self.size
        if size:
            base = self._memory.get_buffer_ptr(self._store, size)
            self._view = np.frombuffer(memoryview(base), dtype=np.uint8)


class Instance:
    """A live instance. Used by one thread at a time."""

    def __init__(
        self,
        engine: Engine,
        module: Module,
        imports: Mapping[tuple[str, str], HostImport],
        *,
        memory_bytes_max: int,
        ticks: int,
    ) -> None:
        """Instantiate, the start function included; raises GuestTrap."""
        self._memory: GuestMemory | None = None
        self._functions: dict[str, Func] = {}
        self._store = Store(engine)
        self._store.set_limits(
            memory_size=memory_bytes_max,
            table_elements=TABLE_ELEMENTS_MAX,
            instances=1,
            tables=1,
            memories=1,
        )
        self._store.set_epoch_deadline(ticks)
        linker = Linker(engine)
        for (module_name, name), host in imports.items():
            linker.define_func(
                module_name, name, _func_type(host.signature), self._wrap(host), True
            )
        try:
            exports = linker.instantiate(self._store, module).exports(self._store)
        except (Trap, WasmtimeError) as error:
            self.close()
            raise _stopped(error) from error
        self._functions = {n: e for n, e in exports.items() if isinstance(e, Func)}
        memory = exports["memory"]
        assert isinstance(memory, Memory), "preflight has checked the exports"
        self._memory = GuestMemory(memory, self._store)
        denied = exports.get(DENIED_EXPORT)
        self._denied = denied if isinstance(denied, Global) else None

    @property
    def memory(self) -> GuestMemory:
        """The guest's memory."""
        assert self._memory is not None, "host functions bind it before they use it"
        return self._memory

    def call(self, name: str, *args: int, ticks: int) -> int:
        """Call an exported function of i32s; 0 if it returns nothing. Raises GuestTrap."""
        self._store.set_epoch_deadline(ticks)
        try:
            result = self._functions[name](self._store, *map(_signed, args))
        except (Trap, WasmtimeError) as error:
            raise _stopped(error) from error
        return 0 if result is None else int(result)

    def was_refused_memory(self) -> bool:
        """Return whether a `memory.grow` of the guest has failed, and forget it."""
        if self._denied is None or not self._denied.value(self._store):
            return False
        self._denied.set_value(self._store, 0)
        return True

    def close(self) -> None:
        """Free the instance and its memory.

        Needed: the binding's table of host functions keeps this object alive until the store is
        gone, and this object keeps the store.
        """
        self._memory = None
        self._functions = {}
        self._store.close()

    def _wrap(self, host: HostImport) -> Callable[..., int | None]:
        call = host.call
        masks = [_MASKS[t] for t in host.signature.params]

        def host_call(caller: Caller, *args: int) -> int | None:
            if self._memory is None:  # called from the start function, before exports are known
                memory = caller.get("memory")
                if isinstance(memory, Memory):
                    self._memory = GuestMemory(memory, self._store)
            if host.ends:
                # To raise here could stop another thread's guest instead. A compiler has put a
                # trap after this call; a guest without one is stopped at its next call or loop.
                self._store.set_epoch_deadline(0)
            return call(self._memory, *[a & mask for a, mask in zip(args, masks, strict=True)])

        return host_call


def _func_type(signature: Signature) -> FuncType:
    return FuncType(
        [_VALUE_TYPES[t]() for t in signature.params],
        [_VALUE_TYPES[t]() for t in signature.results],
    )


def _signed(value: int) -> int:
    return value - (1 << 32) if value >= 1 << 31 else value


def _stopped(error: Exception) -> GuestTrap:
    if isinstance(error, Trap):
        try:
            code = error.trap_code
        except ValueError:  # a code this version of the binding has no name for
            code = None
        if code is TrapCode.INTERRUPT:
            return GuestTrap("interrupted", out_of_time=True)
        if code is not None:
            return GuestTrap(code.name.lower().replace("_", " "))
    return GuestTrap(str(error).strip().splitlines()[-1][:200])
