"""What the runtime asks of a binding to wasmtime: linked modules, instances, and how they end.

There are two: `fastcall` speaks to wasmtime's C interface directly, `public_api` uses wasmtime-py
as it is meant to be used and is some fifty times slower. `bind` chooses; nobody above knows which.

A host function must not raise. One that does all the same ends the guest, and its exception comes
out of the call that the host has made: it is kept in the instance, because the one global in which
wasmtime-py keeps such an exception can be emptied by another thread.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Protocol

from wasmtime import Engine, Module, Trap, TrapCode

from meshnode.runtime.abi import Signature
from meshnode.runtime.guest_memory import GuestMemory as GuestMemory
from meshnode.runtime.guest_memory import NoMemory as NoMemory
from meshnode.runtime.guest_types import NUMBERS, TABLE_ELEMENTS_MAX

_log = logging.getLogger(__name__)
HostCall = Callable[..., int | None]
"""Takes the guest's memory (None if it has none yet) and the arguments: i32 and i64 as unsigned
numbers, f32 and f64 as floats."""
ImportKey = tuple[str, str]
Prepared = Callable[[int | None], int]
"""A call with its arguments, to be made as often as one likes: takes the ticks after which it is
stopped, or None if the tick is the same as at the instance's last call. Raises GuestTrap."""
I32, I64, F32, F64 = NUMBERS
"""The bytes that stand for value types in a `Signature`."""
INTEGERS = (I32, I64)
STORE_LIMITS = {"table_elements": TABLE_ELEMENTS_MAX, "instances": 1, "tables": 1, "memories": 1}
"""Of every store, beside the size of its memory."""


class GuestTrap(Exception):
    """The guest was stopped: it ran out of time, or did what traps."""

    def __init__(self, what: str, *, out_of_time: bool = False) -> None:
        super().__init__(what)
        self.what = what
        self.out_of_time = out_of_time


class GuestExit(BaseException):
    """The guest has ended itself: the one thing that a host function raises on purpose."""


@dataclass(frozen=True, slots=True)
class HostImport:
    """A function offered to one instance."""

    signature: Signature
    call: HostCall
    ends: bool = False
    """The guest must not go on after this call (`proc_exit`): it ends with a GuestTrap."""

    def ending(self) -> HostCall:
        """Return what a binding has to call; it raises if the guest is to end."""
        return self._end if self.ends else self.call

    def _end(self, *args: object) -> int | None:
        self.call(*args)
        raise GuestTrap("ended by itself")


class Instance(Protocol):
    """A live instance. Used by one thread at a time."""

    @property
    def memory(self) -> GuestMemory:
        """The guest's memory."""
        ...

    def call(self, name: str, *args: int, ticks: int) -> int:
        """Call an exported function of integers; 0 if it returns nothing. Raises GuestTrap."""
        ...

    def prepare(self, name: str, *args: int) -> Prepared:
        """Return the call of an exported function of integers."""
        ...

    def was_refused_memory(self) -> bool:
        """Return whether a `memory.grow` of the guest has failed, and forget it."""
        ...

    def close(self) -> None:
        """Free the instance and its memory. Twice is harmless."""
        ...


class Linked(Protocol):
    """A module whose imports are resolved, by type: each instance brings its own functions."""

    def instantiate(
        self, imports: Mapping[ImportKey, HostImport], *, memory_bytes_max: int, ticks: int
    ) -> Instance:
        """Return an instance, its start function run. Raises GuestTrap."""
        ...


def bind(
    engine: Engine,
    module: Module,
    imports: Mapping[ImportKey, Signature],
    exports: Mapping[str, Signature],
    *,
    binding: str,
) -> Linked:
    """Return the module ready for instances.

    `imports` and `exports` are the function types that preflight has proved; `binding` is "auto"
    or "public".
    """
    if binding == "auto" and fast():
        from meshnode.runtime.fastcall import FastModule

        return FastModule(engine, module, imports, exports)
    from meshnode.runtime.public_api import PublicModule

    return PublicModule(engine, module, imports)


PINNED = "50."
"""The wasmtime releases whose C interface `fastcall` was written for and is tested with."""


@cache
def fast() -> bool:
    """Return whether the wasmtime that is installed is one that `fastcall` knows."""
    if not (installed := version("wasmtime")).startswith(PINNED):
        _log.warning(
            "guests are called through wasmtime's public interface, which is slower: "
            "the fast one is for wasmtime %sx, installed is %s",
            PINNED,
            installed,
        )
        return False
    return True


def stopped(error: Exception) -> GuestTrap:
    """Return the trap for an error of wasmtime, with its code's name if it has one."""
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
