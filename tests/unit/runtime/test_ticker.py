import signal
import subprocess
import sys
import threading
import weakref
from math import inf
from pathlib import Path
from time import perf_counter

from hypothesis import given
from hypothesis import strategies as st

from meshnode.runtime.ticker import Alarm, RunClock, Ticker, Ticks

TICK_S = 0.002


class Count:
    """Counts ticks and lets a test wait for them."""

    def __init__(self) -> None:
        self.value = 0
        self.changed = threading.Condition()

    def __call__(self) -> None:
        with self.changed:
            self.value += 1
            self.changed.notify_all()

    def wait_for(self, value: int) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: self.value >= value, timeout=10)


def test_it_ticks_while_something_runs_and_keeps_to_the_clock() -> None:
    count = Count()
    ticker = Ticker(count, tick_ms=2)
    started = perf_counter()
    ticker.enter()
    assert count.wait_for(20)
    elapsed = perf_counter() - started
    ticker.leave()
    assert elapsed >= 20 * TICK_S
    # Late wake-ups are caught up with: ticks never lag far behind the clock.
    assert count.value >= elapsed / TICK_S - 50


def test_it_stops_when_nothing_runs_and_starts_again() -> None:
    count = Count()
    ticker = Ticker(count, tick_ms=2)
    for _ in range(2):
        before = count.value
        ticker.enter()
        assert count.wait_for(before + 2)
        ticker.leave()
        with count.changed:
            while count.changed.wait(timeout=0.3):
                pass
    assert count.value < 2 * (2 + 400)


def test_the_deadline_is_never_early() -> None:
    count = Count()
    ticker = Ticker(count, tick_ms=2)
    ticker.enter()
    for seconds in (0.0001, 0.02, 0.0333):
        deadline, tick = ticker.begin(seconds)
        assert count.wait_for(tick)
        assert ticker.now() >= deadline
        ticker.leave()
    ticker.leave()


EVENTS = st.tuples(
    st.sampled_from(["call", "call", "tick", "pause"]), st.floats(0, 0.02, allow_subnormal=False)
)


@given(st.lists(EVENTS, max_size=40), st.sampled_from([0.0004, 0.005, 0.1]))
def test_a_guest_that_is_told_a_new_tick_only_stops_at_the_first_after_its_deadline(
    events: list[tuple[str, float]], run_s: float
) -> None:
    ticks, now = Ticks(0.005), 1.0
    ticks.start(now)
    told = stops_at = epoch = 0  # what a sandbox remembers, and what wasmtime does
    for event, passed_s in events:
        now += passed_s
        if event == "call":
            deadline = now + run_s
            tick = ticks.first_after(deadline)
            if tick != told:
                told, stops_at = tick, epoch + tick - ticks.made
            # The guest runs on from here: when is it stopped?
            waits = stops_at - ticks.made
            stopped = ticks.next_at() + (waits - 1) * ticks.tick_s
            assert deadline - 1e-9 <= stopped <= deadline + ticks.tick_s + 1e-9
        elif event == "tick":
            made = ticks.due(now) - ticks.made
            assert made >= 0
            ticks.made += made
            epoch += made
            assert now < ticks.next_at() + 1e-9
        else:  # nothing ran: for a while nobody ticked
            now += 1 + passed_s
            ticks.start(now)


class Bell(Alarm):
    def __init__(self, ticker: Ticker) -> None:
        super().__init__()
        self.ticker = ticker
        self.rung_at = 0.0
        self.rung = threading.Event()

    def ring(self) -> None:
        self.rung_at = self.rung_at or self.ticker.now()
        self.rung.set()


def test_an_alarm_rings_after_its_deadline_and_can_be_set_again() -> None:
    ticker = Ticker(lambda: None, tick_ms=2)
    bell = Bell(ticker)
    ticker.add(bell)
    ticker.enter()
    for _ in range(20):
        bell.deadline = ticker.now() + 10
        bell.deadline = inf
    assert not bell.rung.is_set()
    deadline = bell.deadline = ticker.now() + 0.02
    assert bell.rung.wait(10)
    assert bell.rung_at >= deadline
    ticker.leave()


def test_an_alarm_that_nobody_keeps_is_forgotten() -> None:
    ticker = Ticker(lambda: None, tick_ms=2)
    ticker.add(bell := Bell(ticker))
    gone = weakref.ref(bell)
    del bell
    assert gone() is None


def test_a_freeze_of_the_process_is_nobodys_time() -> None:
    clock = RunClock()
    clock.start(100.0, 7.0)
    clock.woken(100.005, 7.005, after_s=0.005)
    clock.woken(100.015, 7.006, after_s=0.005)  # a little late: no matter why
    assert clock.frozen_s == 0.0
    clock.woken(160.015, 7.007, after_s=0.005)  # a laptop slept for a minute
    assert abs(clock.frozen_s - 59.995) < 1e-6


def test_a_guest_that_keeps_the_processor_busy_cannot_stop_its_clock() -> None:
    clock = RunClock()
    clock.start(100.0, 7.0)
    clock.woken(100.4, 7.4, after_s=0.005)  # the ticking thread was starved, the guest was not
    clock.woken(100.8, 8.2, after_s=0.005)  # two threads
    assert clock.frozen_s < 1e-6
    clock.woken(101.2, 8.3, after_s=0.005)  # it got a quarter of the processor
    assert abs(clock.frozen_s - 0.3) < 1e-6


def test_a_stopped_and_continued_process_gives_its_guest_the_whole_time(tmp_path: Path) -> None:
    script = tmp_path / "frozen.py"
    script.write_text(FROZEN)
    child = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ticking\n"
    child.send_signal(signal.SIGSTOP)
    stopped_at = perf_counter()
    while perf_counter() - stopped_at < 0.6:
        pass
    child.send_signal(signal.SIGCONT)
    counted, waited = map(float, child.communicate(timeout=20)[0].split())
    assert waited >= 0.7
    assert counted < waited - 0.4


FROZEN = """
import signal
import subprocess
import sys
import threading
from pathlib import Path
from time import perf_counter
from meshnode.runtime.ticker import Alarm, Ticker

class Bell(Alarm):
    def ring(self):
        done.set()

done = threading.Event()
ticker, bell = Ticker(lambda: None, tick_ms=5), Bell()
ticker.add(bell)
ticker.enter()
wall, own = perf_counter(), ticker.now()
bell.deadline = own + 0.2
print("ticking", flush=True)
assert done.wait(20)
print(ticker.now() - own, perf_counter() - wall)
"""
