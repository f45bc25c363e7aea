"""Every function of WASI preview 1 on the memory of a real instance, with half right arguments.

The functions are those a guest gets, guard and all, once as a command guest has them and once as
every other; the clock they see is moved by hand, so that sleeps and deadlines take no time.
Asserted: only errnos come back, no call needed the guard, nothing in memory changes but what a call
is to write, stdout stays within its limit, and `proc_exit` and `proc_raise` alone end the guest.
"""

from collections.abc import Callable
from contextlib import suppress
from random import Random
from struct import Struct

import numpy as np

from meshnode.modules.manifest import Limits
from meshnode.runtime.abi import IMPORTS, WASI_MODULE
from meshnode.runtime.binding import GuestExit, HostCall, NoMemory
from meshnode.runtime.hal import Hal
from meshnode.runtime.sandbox import Sandbox
from meshnode.runtime.wasi import WasiErrno
from meshnode.runtime.wasi_stdio import Stdio
from meshnode.wire.limits import MIB
from tests.fuzz.long.hostcalls import spoiled
from tests.fuzz.long.mutate import EDGES
from tests.fuzz.long.quiet import quiet_guests
from tests.fuzz.long.ranges import changed_outside
from tests.unit.runtime.support import ALL, compiled, engine, manifest, seed_guest

OUT_AT, VECTORS_AT, ASKED_AT, EVENTS_AT, TEXT_AT, DATA_AT = 16, 1024, 12288, 16384, 24576, 32768
"""Where the good call's things lie."""
NAMES = sorted(name for module, name in IMPORTS if module == WASI_MODULE)
BUSY = ("fd_read", "fd_write", "fd_write", "poll_oneoff", "random_get", "args_get", "environ_get")
ERRNOS = {int(e) for e in WasiErrno}
ENDINGS = ("proc_exit", "proc_raise")
STDOUT_BYTES_MAX = 64 * 1024
COMPARED = 1 / 8
_SUBSCRIPTION = Struct("<QBxxxxxxxIxxxxQQHxxxxxx")
_WRITTEN = {
    "args_sizes_get": ((0, 4), (1, 4)),
    "environ_sizes_get": ((0, 4), (1, 4)),
    "clock_res_get": ((1, 8),),
    "clock_time_get": ((2, 8),),
    "fd_fdstat_get": ((1, 24),),
    "fd_filestat_get": ((1, 64),),
    "fd_read": ((3, 4),),
    "fd_write": ((3, 4),),
}
"""Where a call may write: which argument points there, and how many bytes."""


class Fuzzer:
    """Holds an instance, which is made anew for each block, and the functions."""

    block = 5_000

    def __init__(self) -> None:
        quiet_guests()
        self._time = 0.0
        self._guest = compiled(seed_guest("i32.const 0"), manifest())
        self._box: Sandbox | None = None
        self.fresh()

    def fresh(self) -> None:
        """Begin a block with a new instance, so that a block can be repeated alone."""
        if self._box is not None:
            self._box.close()
        limits = Limits(memory_bytes=8 * MIB, run_ms=5000, output_bytes=MIB)
        self._box = Sandbox(self._guest, Hal("fuzz", ALL, {}, log_lines_max=4), limits, engine()[1])
        self._sides = [_Side(self._now, command=True), _Side(self._now, command=False)]

    def round(self, rng: Random) -> str:
        """Make one call."""
        assert self._box is not None
        if rng.random() < 0.001:
            with suppress(NoMemory):
                self._box.memory.grow(rng.choice((0, 1, 1, 1, 3, 3, 3, 60)))
        at = rng.randrange(2)
        side = self._sides[at]
        name = rng.choice(BUSY) if rng.random() < 0.6 else rng.choice(NAMES)
        end = self._box.memory.size
        # Else every sleep that a guest asks for would be one.
        span = rng.choice((1e-6, 5e-6, 2e-5)) if name == "poll_oneoff" else rng.choice((1e-6, 1.0))
        side.hal.begin(self._now() + span)
        args = self._arguments(rng, name, end)
        found = self._call(rng, side, name, args)
        if side.hal.exit_status is not None and rng.random() < 0.2:
            self._sides[at] = _Side(self._now, command=at == 0)
        return f"{name} {found}"

    def _call(self, rng: Random, side: "_Side", name: str, args: list[int]) -> str:
        assert self._box is not None
        memory = self._box.memory
        whole = memory.slice(0, memory.size)
        assert whole is not None
        before = whole.copy() if rng.random() < COMPARED * min(1, MIB / len(whole)) else None
        allowed = self._allowed(name, args, whole)
        try:
            result = side.calls[name](memory, *args)
        except GuestExit:
            assert name in ENDINGS
            assert side.hal.exit_status is not None
            return "ended"
        assert name not in ENDINGS
        assert side.hal.fault is None, side.hal.fault
        assert result in ERRNOS, result
        if before is not None:
            assert not changed_outside(before, whole, allowed), (name, args, result)
        assert side.stdio.stdout is None or len(side.stdio.stdout) <= STDOUT_BYTES_MAX
        return WasiErrno(result).name.lower()

    def _now(self) -> float:
        self._time += 1e-6
        return self._time

    def _write(self, at: int, data: bytes) -> None:
        assert self._box is not None
        place = self._box.memory.slice(at, len(data))
        if place is not None:
            place[:] = np.frombuffer(data, np.uint8)

    # ------------------------------------------------------------------ arguments

    def _arguments(self, rng: Random, name: str, end: int) -> list[int]:
        wrong = rng.choice((0, 0, 1, 1, 2))
        made = self._good(rng, name, end, wrong)
        params = IMPORTS[WASI_MODULE, name].signature.params
        made = spoiled(rng, made, end, wrong)
        return [
            a & (2**64 - 1 if t == 0x7E else 2**32 - 1) for a, t in zip(made, params, strict=True)
        ]

    def _good(self, rng: Random, name: str, end: int, wrong: int) -> list[int]:
        match name:
            case "fd_read" | "fd_write":
                count = self._vectors(rng, end, wrong)
                descriptor = 0 if name == "fd_read" else rng.choice((1, 2))
                return [descriptor, VECTORS_AT, count, OUT_AT]
            case "poll_oneoff":
                return [ASKED_AT, EVENTS_AT, self._subscriptions(rng, wrong), OUT_AT]
            case "random_get":
                return [DATA_AT, rng.choice((0, 1, 99, 99, 99, 4096, 4096, 4096, end - DATA_AT))]
            case "args_get" | "environ_get":
                return [OUT_AT, TEXT_AT]
            case "args_sizes_get" | "environ_sizes_get":
                return [OUT_AT, OUT_AT + 8]
            case "clock_time_get":
                return [rng.randrange(5), 1, OUT_AT]
            case "fd_close" if rng.random() < 0.9:  # few would stay open
                return [rng.randrange(3, 6)]
        count = len(IMPORTS[WASI_MODULE, name].signature.params)
        return [rng.randrange(4), *[OUT_AT + rng.randrange(16) for _ in range(count - 1)]][:count]

    def _vectors(self, rng: Random, end: int, wrong: int) -> int:
        """Write buffers, mostly small, sometimes the whole memory again and again."""
        count = rng.choice((0, 1, 1, 2, 7, 1024 if wrong else 3))
        if count == 1024:
            pairs = [[0, end]] * count
        else:
            pairs = [[DATA_AT + rng.randrange(999), rng.randrange(300)] for _ in range(count)]
            if rng.random() < 0.5:  # text, so that there are lines
                self._write(DATA_AT, bytes(rng.choices(b"ab \n\r\xff", k=40)))
        if wrong and count and rng.random() < 0.5:
            at = rng.randrange(count)
            pairs[at] = spoiled(rng, pairs[at], end, 1)
        words = np.array([[w & 0xFFFFFFFF for w in pair] for pair in pairs], "<u4")
        self._write(VECTORS_AT, words.tobytes())
        return count

    def _subscriptions(self, rng: Random, wrong: int) -> int:
        """Write what to wait for: mostly streams, and clocks that strike soon."""
        count = rng.choice((1, 1, 2, 5, 64))
        made = []
        for _ in range(count):
            fields = [rng.randrange(2**64), rng.choice((0, 0, 1, 2)), rng.randrange(4)]
            fields += [rng.choice((0, 1, 2000, 30_000)), 0, rng.choice((0, 0, 1))]
            if wrong and rng.random() < 0.2:
                fields[rng.randrange(6)] = rng.choice((*EDGES, rng.randrange(2**64)))
            widths = (64, 8, 32, 64, 64, 16)
            made.append(
                _SUBSCRIPTION.pack(*(f & (1 << w) - 1 for f, w in zip(fields, widths, strict=True)))
            )
        self._write(ASKED_AT, b"".join(made))
        return count

    def _allowed(self, name: str, args: list[int], memory: np.ndarray) -> list[tuple[int, int]]:
        """Return the ranges that a call may write to; read before it, for it may change them."""
        ranges = [(args[i], args[i] + size) for i, size in _WRITTEN.get(name, ())]
        match name:
            case "fd_read":
                listed = memory[args[1] : args[1] + 8 * min(args[2], 1024)].tobytes()
                words = np.frombuffer(listed[: len(listed) // 8 * 8], "<u4").reshape(-1, 2)
                ranges += [(p, p + n) for p, n in words.tolist()]
            case "random_get":
                ranges.append((args[0], args[0] + args[1]))
            case "args_get" | "environ_get":
                strings = ARGUMENTS if name == "args_get" else ENVIRONMENT
                text = sum(len(s.encode()) + 1 for s in strings)
                ranges += [(args[0], args[0] + 4 * len(strings)), (args[1], args[1] + text)]
            case "poll_oneoff":
                ranges += [(args[1], args[1] + 32 * min(args[2], 64)), (args[3], args[3] + 4)]
        return ranges


ARGUMENTS = ("fuzz", "", "ü" * 40)
ENVIRONMENT = ("MESHNODE_INPUT_0=float32 2 4", "EMPTY=")


class _Side:
    """The functions of one kind of guest, and what they work on."""

    def __init__(self, now: Callable[[], float], *, command: bool) -> None:
        self.stdio = Stdio(seed=b"fuzz")
        if command:
            self.stdio = Stdio(
                stdin=memoryview(bytes(range(256)) * 20),
                stdout=bytearray(),
                stdout_bytes_max=STDOUT_BYTES_MAX,
                arguments=ARGUMENTS,
                environment=ENVIRONMENT,
                seed=b"fuzz",
            )
        self.hal = Hal("fuzz", ALL, {}, log_lines_max=4, stdio=self.stdio, now=now)
        wanted = [key for key in IMPORTS if key[0] == WASI_MODULE]
        self.calls: dict[str, HostCall] = {
            key[1]: each.call for key, each in self.hal.imports(wanted).items()
        }
