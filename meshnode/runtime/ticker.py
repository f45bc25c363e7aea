"""The one clock hand of the runtime: stops guests, and model runs, that pass their deadline.

wasmtime compares a counter, the epoch, at every loop and call of a guest; somebody has to move it.
A thread does, only while a guest runs, and for a moment longer so that the next request need not
wake it. onnxruntime knows nothing of epochs: its runs are told to terminate from the same thread.
"""

import threading
from collections.abc import Callable
from itertools import count
from math import ceil
from time import perf_counter

_LINGER_S = 0.05
"""Ticking goes on this long after the last guest: a busy node never wakes the thread."""
_IDLE_S = 30.0
"""A thread that has nothing to do for this long ends; the next run starts another."""


class Ticker:
    """Ticks while anything is running. Thread-safe."""

    def __init__(self, advance: Callable[[], None], *, tick_ms: int) -> None:
        self._advance = advance
        self._tick_s = tick_ms / 1000
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._nap = threading.Event()
        self._running = 0
        self._ticking = False
        self._started = perf_counter()
        self._done = 0
        """Ticks made since `_started`."""
        self._thread: threading.Thread | None = None
        self._keys = count()
        self._watched: dict[int, tuple[float, Callable[[], None]]] = {}

    def ticks(self, seconds: float) -> int:
        """Return the epoch deadline, in ticks from now, of a call that may take this long."""
        # One more, because the tick at hand is already partly over; and those that are due by the
        # clock but late, which would otherwise be taken from this call's time.
        late = int((perf_counter() - self._started) / self._tick_s) - self._done
        return ceil(seconds / self._tick_s) + 1 + (max(0, late) if self._ticking else 0)

    def enter(self) -> None:
        """Something starts to run: tick until as many have left."""
        with self._lock:
            self._running += 1
            if self._ticking:
                return
            self._ticking = True
            self._started, self._done = perf_counter(), 0
            self._wake.set()
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="meshnode-ticker", daemon=True
                )
                self._thread.start()

    def leave(self) -> None:
        """It has ended."""
        with self._lock:
            self._running -= 1

    def watch(self, deadline: float, stop: Callable[[], None]) -> int:
        """Call `stop` from the ticking thread once `perf_counter()` passes `deadline`.

        Only between `enter` and `leave`. Returns the key for `unwatch`.
        """
        key = next(self._keys)
        self._watched[key] = (deadline, stop)
        return key

    def unwatch(self, key: int) -> None:
        """It ended in time, or was stopped."""
        self._watched.pop(key, None)

    def _run(self) -> None:
        while True:
            if not self._wake.wait(_IDLE_S):
                with self._lock:
                    if not self._ticking:
                        self._thread = None
                        return
            self._tick_until_idle()

    def _tick_until_idle(self) -> None:
        last_busy = self._started
        while True:
            self._nap.wait(self._tick_s)
            now = perf_counter()
            # Late wake-ups are caught up with, so that ticks stay wall time on a busy machine.
            due = int((now - self._started) / self._tick_s)
            for _ in range(due - self._done):
                self._advance()
            self._done = due
            for deadline, stop in list(self._watched.values()):
                if now >= deadline:
                    stop()
            with self._lock:
                if self._running:
                    last_busy = now
                elif now - last_busy > _LINGER_S:
                    self._ticking = False
                    self._wake.clear()
                    return
