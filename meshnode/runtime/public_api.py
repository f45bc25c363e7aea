"""Guests through wasmtime-py's public interface: about 50 us a call and 15 us a host call.

The fallback for a wasmtime that `fastcall` does not know, and what `fastcall` is compared with.
What would cost more still is avoided: exports are looked up once, and memory is a numpy view.
"""

import ctypes
from collections.abc import Callable, Mapping

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
    ValType,
    WasmtimeError,
)

from meshnode.runtime.abi import DENIED_EXPORT, U32_MASK, Signature
from meshnode.runtime.binding import (
    F32,
    F64,
    I32,
    I64,
    STORE_LIMITS,
    GuestTrap,
    HostCall,
    HostImport,
    ImportKey,
    Prepared,
    stopped,
)
from meshnode.runtime.guest_memory import GuestMemory, NoMemory

_VALUE_TYPES = {I32: ValType.i32, I64: ValType.i64, F32: ValType.f32, F64: ValType.f64}
_U64_MASK = (1 << 64) - 1
_MASKS = {I32: U32_MASK, I64: _U64_MASK}


class _Stop(Exception):
    """Stops a guest from within a host function; the real reason is kept in the instance.

    wasmtime-py holds it in one global until the call has ended, and there another thread may take
    it for its own: so it says nothing, and whoever gets it looks at home first.
    """


class PublicMemory(GuestMemory):
    """A memory reached through wasmtime-py."""

    def __init__(self, memory: Memory, store: Store) -> None:
        self._memory = memory
        self._store = store
        super().__init__()

    def _length(self) -> int:
        return int(self._memory.data_len(self._store))

    def _bytes(self, size: int) -> tuple[int, memoryview]:
        held = self._memory.get_buffer_ptr(self._store, size)
        return ctypes.addressof(held), memoryview(held)

    def _grow(self, pages: int) -> int:
        try:
            return int(self._memory.grow(self._store, pages))
        except WasmtimeError as error:
            raise NoMemory(str(error)) from error


class PublicModule:
    """A module; its linker is made anew for each instance, whose functions it holds."""

    def __init__(
        self, engine: Engine, module: Module, imports: Mapping[ImportKey, Signature]
    ) -> None:
        self._engine = engine
        self._module = module
        self._types = {key: _func_type(signature) for key, signature in imports.items()}

    def instantiate(
        self, imports: Mapping[ImportKey, HostImport], *, memory_bytes_max: int, ticks: int
    ) -> "PublicInstance":
        """See `Linked`."""
        store = Store(self._engine)
        store.set_limits(memory_size=memory_bytes_max, **STORE_LIMITS)
        store.set_epoch_deadline(ticks)
        instance = PublicInstance(store)
        linker = Linker(self._engine)
        for key, type_ in self._types.items():
            linker.define_func(*key, type_, instance.offered(imports[key]), True)
        try:
            instance.start(linker, self._module)
        except BaseException:
            instance.close()
            raise
        return instance


class PublicInstance:
    """A live instance. Used by one thread at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._memory: GuestMemory | None = None
        self._functions: dict[str, Func] = {}
        self._denied: Global | None = None
        self._raised: BaseException | None = None

    def start(self, linker: Linker, module: Module) -> None:
        """Instantiate, the start function included."""
        try:
            exports = linker.instantiate(self._store, module).exports(self._store)
        except (Trap, WasmtimeError, _Stop) as error:
            raise self._ended(error) from error
        self._functions = {n: e for n, e in exports.items() if isinstance(e, Func)}
        memory = exports["memory"]
        assert isinstance(memory, Memory), "preflight has checked the exports"
        self._memory = PublicMemory(memory, self._store)
        denied = exports.get(DENIED_EXPORT)
        self._denied = denied if isinstance(denied, Global) else None

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
        function = self._functions[name]
        given = [
            _signed(value, 64 if type_ == ValType.i64() else 32)
            for value, type_ in zip(args, function.type(self._store).params, strict=True)
        ]

        def call(ticks: int | None) -> int:
            if ticks is not None:
                self._store.set_epoch_deadline(ticks)
            try:
                result = function(self._store, *given)
            except (Trap, WasmtimeError, _Stop) as error:
                raise self._ended(error) from error
            return 0 if result is None else int(result)

        return call

    def was_refused_memory(self) -> bool:
        """See `Instance`."""
        if self._denied is None or not self._denied.value(self._store):
            return False
        self._denied.set_value(self._store, 0)
        return True

    def close(self) -> None:
        """See `Instance`.

        Needed: the binding's table of host functions keeps this object alive until the store is
        gone, and this object keeps the store.
        """
        if self._memory is not None:
            self._memory.close()
        self._memory = self._denied = None
        self._functions = {}
        self._store.close()

    def offered(self, host: HostImport) -> Callable[..., int | float | None]:
        """Return the function as wasmtime-py calls it; it raises nothing but `_Stop`."""
        call: HostCall = host.ending()
        masks = [_MASKS.get(t) for t in host.signature.params]
        bits = [64 if t == I64 else 32 for t in host.signature.results if t in _MASKS]
        has_result = bool(host.signature.results)

        def host_call(caller: Caller, *args: int) -> int | float | None:
            try:
                if self._memory is None:  # the start function calls, before exports are known
                    memory = caller.get("memory")
                    if isinstance(memory, Memory):
                        self._memory = PublicMemory(memory, self._store)
                given = [a if m is None else a & m for a, m in zip(args, masks, strict=True)]
                result = call(self._memory, *given)
            except BaseException as error:
                self._raised = error
                raise _Stop from None
            if not has_result:
                return None
            assert result is not None, "a host function with a result returns one"
            return _signed(int(result), bits[0]) if bits else result

        return host_call

    def _ended(self, error: Exception) -> BaseException:
        raised, self._raised = self._raised, None
        if raised is not None:
            return raised
        if isinstance(error, _Stop):
            return GuestTrap("stopped, and another guest's failure at that moment hides why")
        return stopped(error)


def _func_type(signature: Signature) -> FuncType:
    return FuncType(
        [_VALUE_TYPES[t]() for t in signature.params],
        [_VALUE_TYPES[t]() for t in signature.results],
    )


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value
