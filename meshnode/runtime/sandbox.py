"""One guest instance under its limits. A guest that traps is thrown away; nothing is reused."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from time import perf_counter

from wasmtime import Engine, Module

from meshnode.errors import (
    GuestStatus,
    MemoryLimit,
    MeshnodeError,
    TimeLimit,
    Trapped,
)
from meshnode.modules.manifest import Limits
from meshnode.runtime.abi import Errno, Signature
from meshnode.runtime.binding import (
    GuestExit,
    GuestMemory,
    GuestTrap,
    ImportKey,
    Instance,
    Linked,
    bind,
)
from meshnode.runtime.engine import STACK_BYTES_MAX
from meshnode.runtime.hal import Hal
from meshnode.runtime.ticker import Ticker
from meshnode.wire.limits import KIB, MIB


@dataclass(frozen=True, kw_only=True)
class CompiledGuest:
    """What an instance is made from; shared by all instances of a module."""

    engine: Engine
    module: Module
    imports: Mapping[ImportKey, Signature]
    """The types that preflight has proved, as those of the exports."""
    exports: Mapping[str, Signature]
    """Functions only."""
    binding: str = "auto"
    """See `RuntimeSettings.binding`."""
    keeps_nothing: bool = False
    """No request can leave anything in it for the next: known code, or an instance for each."""

    @cached_property
    def linked(self) -> Linked:
        """The module with its imports resolved, which is done once for all instances."""
        return bind(self.engine, self.module, self.imports, self.exports, binding=self.binding)


class Sandbox:
    """A live instance. Used by one thread at a time; dead after its first trap."""

    def __init__(self, guest: CompiledGuest, hal: Hal, limits: Limits, ticker: Ticker) -> None:
        """Instantiate and initialise: the start function, `_initialize`, `init`.

        Raises as `call` does.
        """
        self.limits = limits
        self.alive = False
        self._guest = guest
        self._hal = hal
        self._ticker = ticker
        self._run_s = limits.run_ms / 1000
        self._tick = 0
        """The one at which the instance was told to stop, last."""
        self._instance: Instance | None = None
        self.init_s = 0.0
        """What `_initialize` and `init` took."""
        started = perf_counter()
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        self.start_s = perf_counter() - started - self.init_s
        """What instantiating took, the start function included."""
        self.alive = True

    @property
    def memory(self) -> GuestMemory:
        """The guest's memory."""
        assert self._instance is not None, "a closed sandbox has no memory"
        return self._instance.memory

    @property
    def memory_bytes(self) -> int:
        """What the guest's memory takes now."""
        return 0 if self._instance is None else self._instance.memory.size

    def has(self, export: str) -> bool:
        """Return whether the guest exports this."""
        return export in self._guest.exports

    def call(self, name: str, *args: int) -> int:
        """Call an export and return its i32.

        Raises TimeLimit, MemoryLimit or Trapped, naming the limit; the sandbox is then dead. If a
        model run failed inside, that is what is raised once the guest fails because of it.
        """
        return self.prepare(name, *args)()

    def prepare(self, name: str, *args: int) -> Callable[[], int]:
        """Return a call with its arguments, for one that is made again and again; see `call`."""
        assert self._instance is not None, "the sandbox was closed"
        call, hal, ticker = self._instance.prepare(name, *args), self._hal, self._ticker
        begin, leave, ticks = ticker.begin, ticker.leave, ticker.ticks

        def again() -> int:
            deadline, tick = begin(self._run_s)
            hal.begin(deadline)
            try:
                if tick == self._tick:
                    return call(None)
                self._tick = tick
                return call(tick - ticks.made)
            except BaseException as error:
                self.alive = False
                if isinstance(error, GuestTrap):
                    raise self._reason(error, name) from error
                if isinstance(error, GuestExit):
                    raise self._exited(name) from error
                raise  # of a host function: the guest was stopped in the middle
            finally:
                leave()

        return again

    def allow(self, run_ms: int) -> None:
        """Give each call from now on this much time."""
        self.limits = replace(self.limits, run_ms=run_ms)
        self._run_s = run_ms / 1000

    def failure(self, name: str, status: int) -> MeshnodeError:
        """Return the error for a guest that returned a status: its cause, if we know it."""
        if isinstance(self._hal.fault, TimeLimit):
            return self._time_limit(name)
        if self._hal.fault is not None:
            return self._hal.fault
        assert self._instance is not None, "the sandbox was closed"
        if self._instance.was_refused_memory():
            return self._memory_limit(f"{name} then returned {status}")
        known = {e.value: e.name.lower() for e in Errno}
        meaning = f" ({known[status]})" if status in known else ""
        return GuestStatus(f"the guest's {name} returned {status}{meaning}")

    def no_memory(self, wanted: int) -> MemoryLimit:
        """Return the error for a request that does not fit into the guest's memory."""
        return MemoryLimit(
            "the request and its answer do not fit into the guest's memory limit of "
            f"{_size(self.limits.memory_bytes)}",
            because=[f"they take {wanted} bytes of it, the guest has {self.memory_bytes} now"],
        )

    def close(self) -> None:
        """Free the instance and what was opened for it."""
        self.alive = False
        self._hal.close()
        if self._instance is not None:
            self._instance.close()
            self._instance = None

    def _start(self) -> None:
        deadline, self._tick = self._ticker.begin(self._run_s)
        self._hal.begin(deadline)
        try:
            self._instance = self._guest.linked.instantiate(
                self._hal.imports(self._guest.imports),
                memory_bytes_max=self.limits.memory_bytes,
                ticks=self._tick - self._ticker.ticks.made,
            )
        except GuestTrap as trap:
            raise self._reason(trap, "the start function") from trap
        except GuestExit as ended:
            raise self._exited("the start function") from ended
        finally:
            self._ticker.leave()
        started = perf_counter()
        for name in ("_initialize", "init"):
            if self.has(name) and (status := self.call(name)):
                raise self.failure(name, status)
        self.init_s = perf_counter() - started

    def _reason(self, trap: GuestTrap, name: str) -> MeshnodeError:
        refused = self._instance is not None and self._instance.was_refused_memory()
        if refused and not isinstance(self._hal.fault, TimeLimit):
            ending = "ran on until it was stopped" if trap.out_of_time else f"trapped: {trap.what}"
            return self._memory_limit(f"{name} then {ending}")
        if trap.out_of_time or isinstance(self._hal.fault, TimeLimit):
            return self._time_limit(name)
        if self._hal.fault is not None:
            return self._hal.fault
        because = [f"in {name}"]
        if trap.what == "stack overflow":
            because.append(f"its stack may have {STACK_BYTES_MAX // KIB} KiB")
        return Trapped(f"the guest trapped: {trap.what}", because=because)

    def _exited(self, name: str) -> MeshnodeError:
        """Return the error for a guest that ended itself: its cause, if we know it."""
        ending = f"ended itself in {name} with status {self._hal.exit_status}"
        if isinstance(self._hal.fault, TimeLimit):
            return self._time_limit(name)
        if self._hal.fault is not None:
            return self._hal.fault
        if self._instance is not None and self._instance.was_refused_memory():
            return self._memory_limit(f"it then {ending}")
        return GuestStatus(f"the guest {ending}")

    def _time_limit(self, name: str) -> TimeLimit:
        where = name if self._hal.fault is None else f"a model that {name} ran"
        return TimeLimit(
            f"the guest ran longer than its limit of {self.limits.run_ms} ms and was stopped",
            because=[f"in {where}"],
        )

    def _memory_limit(self, what: str) -> MemoryLimit:
        return MemoryLimit(
            f"the guest asked for more memory than its limit of {_size(self.limits.memory_bytes)}",
            because=[what],
        )


def _size(count: int) -> str:
    return f"{count // MIB} MiB" if count % MIB == 0 else f"{count // KIB} KiB"
