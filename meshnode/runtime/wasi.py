"""WASI preview 1 for one instance, implemented here and not by wasmtime.

wasmtime's own WASI would give files, real clocks and sleeps that no deadline ends. This one has
three streams, clocks that tick once a millisecond, numbers that look random and follow from the
request, and a sleep that ends with the call. Everything that needs a file system is refused.
"""

import time
from collections.abc import Callable, Sequence
from enum import IntEnum
from functools import partial
from hashlib import sha256, shake_128
from struct import Struct

import numpy as np

from meshnode.runtime.abi import IMPORTS, U32_MASK, WASI_MODULE
from meshnode.runtime.binding import GuestExit, GuestMemory, HostCall
from meshnode.runtime.wasi_poll import poll_oneoff
from meshnode.runtime.wasi_stdio import STDERR, STDIN, STDOUT, LogLine, Stdio, Streams

VECTORS_MAX = 1024
"""Buffers of one read or write, as POSIX has it."""
CLOCK_RESOLUTION_NS = 1_000_000
"""Coarse enough that a guest cannot time its neighbours."""
RANDOM_PIECE_BYTES = 64 * 1024
"""Between two pieces the deadline is looked at."""
EXIT_SIGNAL = 128
"""What a shell adds to the number of a signal that ended a program."""
_U32, _U64, _VECTOR = Struct("<I"), Struct("<Q"), Struct("<II")
_FDSTAT = Struct("<BxHxxxxQQ")
_FILESTAT = Struct("<QQBxxxxxxxQQQQQ")
_REALTIME, _CLOCKS = 0, range(4)
_RIGHT_READ, _RIGHT_WRITE, _RIGHT_POLL = 1 << 1, 1 << 6, 1 << 27
_RIGHTS = {
    STDIN: _RIGHT_READ | _RIGHT_POLL,
    STDOUT: _RIGHT_WRITE | _RIGHT_POLL,
    STDERR: _RIGHT_WRITE | _RIGHT_POLL,
}


class WasiErrno(IntEnum):
    """The numbers of WASI's errno that are used here."""

    SUCCESS = 0
    BADF = 8
    FAULT = 21
    FBIG = 22
    INTR = 27
    INVAL = 28
    IO = 29
    NOTSUP = 58
    SPIPE = 70
    NOTCAPABLE = 76


class WasiHost:
    """The functions of `wasi_snapshot_preview1`; each returns an errno and raises nothing."""

    def __init__(self, stdio: Stdio, log: LogLine, now: Callable[[], float]) -> None:
        """`now` is the clock that deadlines are in."""
        self._stdio = stdio
        self._streams = Streams(stdio, log)
        self._now = now
        self._started = now()
        self._deadline = 0.0
        self._random_at = 0
        self._random_seed = b""

    def begin(self, deadline: float) -> None:
        """A call into the guest begins."""
        self._streams.flush()
        self._deadline = deadline

    def finish(self) -> None:
        """The guest has ended: log what it left unfinished."""
        self._streams.flush()

    def calls(self) -> dict[str, HostCall]:
        """Return the functions by their names; what is not of the few we have is refused."""
        ours: dict[str, HostCall] = {
            "args_get": partial(self._strings, self._stdio.arguments),
            "args_sizes_get": partial(self._string_sizes, self._stdio.arguments),
            "environ_get": partial(self._strings, self._stdio.environment),
            "environ_sizes_get": partial(self._string_sizes, self._stdio.environment),
            "clock_res_get": self._clock_res_get,
            "clock_time_get": self._clock_time_get,
            "fd_close": self._fd_close,
            "fd_fdstat_get": self._fd_fdstat_get,
            "fd_fdstat_set_flags": self._nothing_to_do,
            "fd_filestat_get": self._fd_filestat_get,
            "fd_prestat_dir_name": _no_such_file,
            "fd_prestat_get": _no_such_file,
            "fd_read": self._fd_read,
            "fd_seek": self._not_a_file,
            "fd_sync": self._nothing_to_do,
            "fd_datasync": self._nothing_to_do,
            "fd_tell": self._not_a_file,
            "fd_write": self._fd_write,
            "poll_oneoff": self._poll_oneoff,
            "proc_exit": self.proc_exit,
            "proc_raise": self._proc_raise,
            "random_get": self._random_get,
            "sched_yield": _yield,
        }
        return {n: ours.get(n, self._refusal(n)) for m, n in IMPORTS if m == WASI_MODULE}

    def _refusal(self, name: str) -> HostCall:
        # A path is relative to a directory that was opened before, and none was.
        return self._unsupported if name.startswith("fd_") else _no_capability

    # ------------------------------------------------------------------ streams

    def _fd_read(
        self, memory: GuestMemory | None, descriptor: int, vectors: int, count: int, out: int
    ) -> int:
        rooms = self._buffers(memory, vectors, count)
        if descriptor != STDIN or not self._streams.is_open(descriptor):
            return WasiErrno.BADF
        if isinstance(rooms, WasiErrno):
            return rooms
        return _put(memory, out, _U32, sum(self._streams.read(room) for room in rooms))

    def _fd_write(
        self, memory: GuestMemory | None, descriptor: int, vectors: int, count: int, out: int
    ) -> int:
        pieces = self._buffers(memory, vectors, count)
        if descriptor not in (STDOUT, STDERR) or not self._streams.is_open(descriptor):
            return WasiErrno.BADF
        if isinstance(pieces, WasiErrno):
            return pieces
        if not all(self._streams.write(descriptor, piece) for piece in pieces):
            return WasiErrno.FBIG
        return _put(memory, out, _U32, sum(map(len, pieces)))

    def _buffers(
        self, memory: GuestMemory | None, vectors: int, count: int
    ) -> list[np.ndarray] | WasiErrno:
        """Return the guest's buffers, all checked before any is used."""
        if count > VECTORS_MAX:
            return WasiErrno.INVAL
        listed = memory.slice(vectors, _VECTOR.size * count) if memory else None
        if memory is None or listed is None or self._stdio.exit_status is not None:
            return WasiErrno.FAULT
        found = [memory.slice(*pair) for pair in _VECTOR.iter_unpack(listed.data)]
        whole = [piece for piece in found if piece is not None]
        if len(whole) != count:
            return WasiErrno.FAULT
        # The same piece may be listed again and again; the answer counts in 32 bits.
        return whole if sum(map(len, whole)) <= U32_MASK else WasiErrno.INVAL

    def _fd_close(self, _: GuestMemory | None, descriptor: int) -> int:
        if not self._streams.is_open(descriptor):
            return WasiErrno.BADF
        self._streams.close(descriptor)
        return WasiErrno.SUCCESS

    def _fd_fdstat_get(self, memory: GuestMemory | None, descriptor: int, out: int) -> int:
        if not self._streams.is_open(descriptor):
            return WasiErrno.BADF
        # Type 0, unknown, as a pipe has it: a C library then buffers in blocks, not in lines.
        return _put(memory, out, _FDSTAT, 0, 0, _RIGHTS[descriptor], 0)

    def _fd_filestat_get(self, memory: GuestMemory | None, descriptor: int, out: int) -> int:
        if not self._streams.is_open(descriptor):
            return WasiErrno.BADF
        size = len(self._stdio.stdin) if descriptor == STDIN else 0
        return _put(memory, out, _FILESTAT, 0, descriptor, 0, 1, size, 0, 0, 0)

    def _nothing_to_do(self, _: GuestMemory | None, descriptor: int, *rest: int) -> int:
        return WasiErrno.SUCCESS if self._streams.is_open(descriptor) else WasiErrno.BADF

    def _not_a_file(self, _: GuestMemory | None, descriptor: int, *rest: int) -> int:
        return WasiErrno.SPIPE if self._streams.is_open(descriptor) else WasiErrno.BADF

    def _unsupported(self, _: GuestMemory | None, descriptor: int, *rest: int) -> int:
        return WasiErrno.NOTSUP if self._streams.is_open(descriptor) else WasiErrno.BADF

    # ------------------------------------------------------------------ arguments, time, chance

    def _strings(
        self, strings: Sequence[str], memory: GuestMemory | None, pointers: int, text: int
    ) -> int:
        if memory is None:
            return WasiErrno.FAULT
        encoded = [string.encode() + b"\0" for string in strings]
        table, whole = memory.slice(pointers, 4 * len(encoded)), b"".join(encoded)
        target = memory.slice(text, len(whole))
        if table is None or target is None:
            return WasiErrno.FAULT
        target[:] = np.frombuffer(whole, np.uint8)
        for at, string in enumerate(encoded):
            _U32.pack_into(table.data, 4 * at, text)
            text += len(string)
        return WasiErrno.SUCCESS

    def _string_sizes(
        self, strings: Sequence[str], memory: GuestMemory | None, count: int, size: int
    ) -> int:
        whole = sum(len(string.encode()) + 1 for string in strings)
        return _put(memory, count, _U32, len(strings)) or _put(memory, size, _U32, whole)

    def _clock_res_get(self, memory: GuestMemory | None, clock: int, out: int) -> int:
        if clock not in _CLOCKS:
            return WasiErrno.INVAL
        return _put(memory, out, _U64, CLOCK_RESOLUTION_NS)

    def _clock_time_get(self, memory: GuestMemory | None, clock: int, _: int, out: int) -> int:
        if clock not in _CLOCKS:
            return WasiErrno.INVAL
        return _put(memory, out, _U64, self._clock_ns(clock))

    def _clock_ns(self, clock: int) -> int:
        """Return the time, in whole steps: of the day, or since the instance was made."""
        elapsed = round((self._now() - self._started) * 1e9)
        exact = time.time_ns() if clock == _REALTIME else elapsed
        return exact - exact % CLOCK_RESOLUTION_NS

    def _random_get(self, memory: GuestMemory | None, pointer: int, size: int) -> int:
        """Fill memory with what follows from the request: every node gives the same answer."""
        target = memory.slice(pointer, size) if memory else None
        if target is None:
            return WasiErrno.FAULT
        if not self._random_seed:
            seed = sha256(self._stdio.seed)
            seed.update(self._stdio.stdin)
            self._random_seed = seed.digest()
        for at in range(0, size, RANDOM_PIECE_BYTES):
            if self._now() >= self._deadline:
                return WasiErrno.INTR
            piece = target[at : at + RANDOM_PIECE_BYTES]
            stream = shake_128(self._random_seed + _U64.pack(self._random_at))
            piece[:] = np.frombuffer(stream.digest(len(piece)), np.uint8)
            self._random_at += 1
        return WasiErrno.SUCCESS

    def _poll_oneoff(
        self, memory: GuestMemory | None, subscriptions: int, events: int, count: int, out: int
    ) -> int:
        if memory is None:
            return WasiErrno.FAULT
        return poll_oneoff(
            memory,
            (subscriptions, events, count, out),
            clock_ns=self._clock_ns,
            ready=self._ready,
            now=self._now,
            deadline=self._deadline,
        )

    def _ready(self, descriptor: int) -> int | None:
        """Return how much can be read or written; None if there is no such stream."""
        if not self._streams.is_open(descriptor):
            return None
        return self._streams.stdin_left if descriptor == STDIN else RANDOM_PIECE_BYTES

    # ------------------------------------------------------------------ ending

    def proc_exit(self, _: GuestMemory | None, status: int) -> None:
        """End the guest: 0 if all is well."""
        if self._stdio.exit_status is None:  # the first one counts
            self._stdio.exit_status = status
        raise GuestExit

    def _proc_raise(self, memory: GuestMemory | None, signal: int) -> int:
        self.proc_exit(memory, EXIT_SIGNAL + (signal & 0x7F))
        return WasiErrno.SUCCESS


def _put(memory: GuestMemory | None, pointer: int, layout: Struct, *values: int) -> int:
    target = memory.slice(pointer, layout.size) if memory else None
    if target is None:
        return WasiErrno.FAULT
    layout.pack_into(target.data, 0, *values)
    return WasiErrno.SUCCESS


def _no_such_file(_: GuestMemory | None, *rest: int) -> int:
    return WasiErrno.BADF


def _no_capability(_: GuestMemory | None, *rest: int) -> int:
    return WasiErrno.NOTCAPABLE


def _yield(_: GuestMemory | None) -> int:
    return WasiErrno.SUCCESS
