import threading
from time import perf_counter

from meshnode.runtime.ticker import Ticker

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
    ticker = Ticker(lambda: None, tick_ms=5)
    assert ticker.ticks(0.1) == 21
    assert ticker.ticks(0.0001) == 2


def test_what_is_watched_is_stopped_after_its_deadline() -> None:
    ticker = Ticker(lambda: None, tick_ms=2)
    stopped = threading.Event()
    ticker.enter()
    deadline = perf_counter() + 0.02
    key = ticker.watch(deadline, stopped.set)
    assert stopped.wait(10)
    assert perf_counter() >= deadline
    ticker.unwatch(key)
    spared = threading.Event()
    ticker.unwatch(ticker.watch(perf_counter() + 0.01, spared.set))
    assert not spared.wait(0.05)
    ticker.leave()
