"""The one clock hand of the runtime: stops guests, and model runs, that pass their deadline.

wasmtime compares a counter, the epoch, at every loop and call of a guest; somebody has to move it.
A thread does, only while a guest runs, and for a moment longer so that the next request need not
wake it. onnxruntime knows nothing of epochs: its runs are told to terminate from the same thread.

Its time stands still while the whole process does (a suspended laptop, a frozen virtual machine):
a guest is not guilty of time in which nothing ran.
"""

import threading
from collections.abc import Callable
from math import ceil, inf
from time import perf_counter, process_time
from weakref import WeakSet

_LINGER_S = 0.05
"""Ticking goes on this long after the last guest: a busy node never wakes the thread."""
_IDLE_S = 30.0
"""A thread that has nothing to do for this long ends; the next run starts another."""
_NAP_S_MIN = 0.0005
"""Below this a nap costs more than it lasts."""
FREEZE_S_MIN = 0.02
"""A wake-up that is later than this is asked for its reason: busy, or frozen."""


class RunClock:
    """Wall time without the time in which this process was frozen. Pure; one thread advances it."""

    def __init__(self) -> None:
        self.frozen_s = 0.0
        """What has to be taken from wall time so far."""
        self._wall_s = 0.0
        self._cpu_s = 0.0

    def start(self, wall_s: float, cpu_s: float) -> None:
        """Begin to watch: what lies before does not count."""
        self._wall_s, self._cpu_s = wall_s, cpu_s

    def woken(self, wall_s: float, cpu_s: float, *, after_s: float) -> None:
        """A sleep of `after_s` has ended: late and without CPU time used, it was a freeze.

        CPU time is the process's: while a guest spins, it passes no slower than wall time, so a
        guest cannot make its own clock stand still.
        """
        passed, used = wall_s - self._wall_s, cpu_s - self._cpu_s
        if passed > after_s + FREEZE_S_MIN:
            self.frozen_s += max(0.0, passed - max(after_s, used))
        self._wall_s, self._cpu_s = wall_s, cpu_s


class Ticks:
    """When ticks are due, and how many have been made; those never begin anew. Pure.

    The epoch of an engine moves with each of them and only then. So a guest that is told to stop at
    a tick once, stops there: whoever wants it to stop at the same one again need not say so.
    """

    def __init__(self, tick_s: float) -> None:
        self.tick_s = tick_s
        self.made = 0
        self._before = 0
        """Ticks made when they began the last time: those of a pause are not caught up with."""
        self.started = 0.0
        """When that was."""

    def start(self, now: float) -> None:
        """Ticks are due from now on."""
        self.started, self._before = now, self.made

    def due(self, now: float) -> int:
        """Return how many ticks must have been made by now, in all."""
        return self._before + int((now - self.started) / self.tick_s)

    def first_after(self, deadline: float) -> int:
        """Return the number of the first tick that is made at this time or later."""
        return self._before + ceil((deadline - self.started) / self.tick_s)

    def next_at(self) -> float:
        """Return when the next one is due."""
        return self.started + (self.made - self._before + 1) * self.tick_s


class Alarm:
    """Something to be stopped at a deadline, again and again: made once, set for each run.

    Whoever runs sets `deadline`, and `inf` when it has ended. If by then `Ticker.now()` has passed
    the deadline, the alarm may be rung still, from the ticking thread, and is not to be used again;
    if not, it will not be.
    """

    def __init__(self) -> None:
        self.deadline = inf
        """In the ticker's time."""

    def ring(self) -> None:
        """The deadline has passed; called at every tick until it is set anew."""
        raise NotImplementedError


class Ticker:
    """Ticks while anything is running. Thread-safe."""

    def __init__(self, advance: Callable[[], None], *, tick_ms: int) -> None:
        self._advance = advance
        self.ticks = Ticks(tick_ms / 1000)
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._nap = threading.Event()
        self._running: list[None] = []
        """One entry for each of what runs; adding and taking are atomic, and need no lock."""
        self._ticking = False
        self._clock = RunClock()
        self._thread: threading.Thread | None = None
        self._alarms: WeakSet[Alarm] = WeakSet()

    def now(self) -> float:
        """Return the time in seconds that deadlines here are in: wall time less freezes."""
        return perf_counter() - self._clock.frozen_s

    def begin(self, seconds: float) -> tuple[float, int]:
        """Enter, and return when a call that may take so long has to end: the time, and the tick.

        Ticks come at their time or later: the first one after the deadline is what counts.
        """
        self._running.append(None)
        if not self._ticking:
            self._resume()
        deadline = perf_counter() - self._clock.frozen_s + seconds
        return deadline, self.ticks.first_after(deadline)

    def enter(self) -> None:
        """Something starts to run: tick until as many have left."""
        self._running.append(None)
        if not self._ticking:
            self._resume()

    def _resume(self) -> None:
        with self._lock:
            if not self._ticking:
                self._start()

    def _start(self) -> None:
        self._ticking = True
        self._clock.start(perf_counter(), process_time())
        self.ticks.start(self.now())
        self._wake.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="meshnode-ticker", daemon=True)
            self._thread.start()

    def leave(self) -> None:
        """It has ended."""
        self._running.pop()

    def add(self, alarm: Alarm) -> None:
        """Ring this alarm when its deadline passes, as long as somebody else keeps it."""
        with self._lock:
            self._alarms.add(alarm)

    def _run(self) -> None:
        while True:
            if not self._wake.wait(_IDLE_S):
                with self._lock:
                    if not self._ticking:
                        self._thread = None
                        return
            self._tick_until_idle()

    def _tick_until_idle(self) -> None:
        ticks = self.ticks
        last_busy = ticks.started
        nap_s = ticks.tick_s
        while True:
            self._nap.wait(nap_s)
            self._clock.woken(perf_counter(), process_time(), after_s=nap_s)
            now = self.now()
            # Late wake-ups are caught up with, so that ticks stay wall time on a busy machine.
            for _ in range(ticks.due(now) - ticks.made):
                self._advance()
                ticks.made += 1
            with self._lock:
                next_at = min(self._ring(now), ticks.next_at())
                if self._running:
                    last_busy = now
                elif now - last_busy > _LINGER_S and self._stop():
                    return
            nap_s = max(next_at - now, _NAP_S_MIN)

    def _stop(self) -> bool:
        """Stop ticking, unless something has begun to run just now."""
        # In this order: who enters adds itself first and looks then whether there is ticking.
        self._ticking = False
        if self._running:
            self._ticking = True
            return False
        self._wake.clear()
        return True

    def _ring(self, now: float) -> float:
        """Ring the alarms whose time has come, and return when the next one's will."""
        earliest = inf
        for alarm in self._alarms:
            # Read once: its owner may set it at any moment.
            deadline = alarm.deadline
            if now >= deadline:
                alarm.ring()
            else:
                earliest = min(earliest, deadline)
        return earliest
