"""What a WASI guest sees of the world: three streams, its arguments and its environment.

There are no files. A command guest reads its request from stdin and writes its answer to stdout;
stderr, and the stdout of every other guest, become lines of the node's log.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from meshnode.runtime.abi import LOG_LINE_BYTES_MAX

STDIN, STDOUT, STDERR = 0, 1, 2

LOG_BYTES_MAX = 64 * LOG_LINE_BYTES_MAX
"""Looked at in one call of the guest; the log takes fewer lines than that anyway."""

LogLine = Callable[[int, bytes], None]
"""Takes a level of the guest ABI and one line."""


@dataclass(slots=True, kw_only=True)
class Stdio:
    """One run of a command guest."""

    stdin: memoryview = field(default_factory=lambda: memoryview(b""))
    stdout: bytearray | None = None
    """What it wrote so far; None if stdout is for the log."""
    stdout_bytes_max: int = 0
    arguments: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    """`KEY=value` each."""
    seed: bytes = b""
    """What `random_get` gives follows from this and stdin."""
    overflowed: bool = False
    """It tried to write more than `stdout_bytes_max`."""
    exit_status: int | None = None
    """What the guest ended itself with; None if it did not."""


class Streams:
    """The three streams of one instance, by file descriptor."""

    def __init__(self, stdio: Stdio, log: LogLine) -> None:
        self._stdio = stdio
        self._stdin = np.frombuffer(stdio.stdin, np.uint8)
        self._at = 0
        self._log_room = LOG_BYTES_MAX
        self._lines = {STDOUT: _Lines(1, log), STDERR: _Lines(2, log)}
        self._open = {STDIN, STDOUT, STDERR}

    def is_open(self, descriptor: int) -> bool:
        """Return whether there is such a stream."""
        return descriptor in self._open

    def close(self, descriptor: int) -> None:
        """The guest has no more use for it."""
        self._open.discard(descriptor)

    @property
    def stdin_left(self) -> int:
        """Bytes that were not read yet."""
        return len(self._stdin) - self._at

    def read(self, room: np.ndarray) -> int:
        """Fill the room from stdin and return how much that was; 0 at its end."""
        size = min(len(room), self.stdin_left)
        room[:size] = self._stdin[self._at : self._at + size]
        self._at += size
        return size

    def write(self, descriptor: int, data: np.ndarray) -> bool:
        """Take bytes for stdout or stderr; false if they are more than may be written."""
        stdio = self._stdio
        if descriptor != STDOUT or stdio.stdout is None:
            heard = data[: self._log_room]
            self._log_room -= len(heard)
            self._lines[descriptor].write(heard)
            return True
        if len(stdio.stdout) + len(data) > stdio.stdout_bytes_max:
            stdio.overflowed = True
            return False
        stdio.stdout.extend(data.data)
        return True

    def flush(self) -> None:
        """Log what was not ended by a newline: a call has ended, or another begins."""
        self._log_room = LOG_BYTES_MAX
        for lines in self._lines.values():
            lines.flush()


class _Lines:
    """Cuts a stream into lines; long ones are cut, never kept."""

    def __init__(self, level: int, log: LogLine) -> None:
        self._level = level
        self._log = log
        self._line = bytearray()

    def write(self, data: np.ndarray) -> None:
        for piece in data.tobytes().splitlines(keepends=True):
            self._line += piece[: LOG_LINE_BYTES_MAX - len(self._line)]
            if piece.endswith((b"\n", b"\r")):
                self.flush()

    def flush(self) -> None:
        if line := bytes(self._line).rstrip(b"\r\n"):
            self._log(self._level, line)
        self._line.clear()
