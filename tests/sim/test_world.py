"""The world's time: clocks that are off, nodes that are starved, timers that move."""

import pytest

from meshnode.sim.clocks import Clock, Pace
from meshnode.sim.world import World


class Ticker:
    """Ticks each second of its own clock, and notes when by the world's."""

    def __init__(self, world: World[str, str]) -> None:
        self.world = world
        self.ticks: list[tuple[float, float]] = []
        self.heard: list[tuple[float, str]] = []
        self._at = 0.0

    def handle(self, event: str, now: float) -> list[str]:
        self.heard.append((self.world.now, event))
        return []

    def tick(self, now: float) -> list[str]:
        if now >= self._at:
            self.ticks.append((self.world.now, now))
            self._at = now + 1.0
        return []

    def next_timer(self) -> float:
        return self._at


def test_a_clock_that_runs_fast_makes_timers_come_early() -> None:
    world: World[str, str] = World()
    ticker = Ticker(world)
    world.add(ticker, lambda effect: None, clock=Clock(offset_s=0.0, rate=2.0))
    world.run(10.0)
    assert len(ticker.ticks) == 21
    assert ticker.ticks[-1] == (10.0, 20.0)


def test_a_clock_that_jumps_takes_its_timers_with_it() -> None:
    world: World[str, str] = World()
    ticker, clock = Ticker(world), Clock()
    world.add(ticker, lambda effect: None, clock=clock)
    world.run(2.5)
    clock.jump(100.0)
    world.rearm(ticker)
    world.run(2.6)
    assert ticker.ticks[-1] == (2.5, 102.5)
    with pytest.raises(ValueError, match="backwards"):
        clock.jump(-1.0)


def test_a_starved_node_serves_everything_late_and_in_order() -> None:
    world: World[str, str] = World()
    ticker, pace = Ticker(world), Pace()
    world.add(ticker, lambda effect: None, pace=pace)
    world.run(0.5)
    pace.stall(3.0)
    for when, event in ((1.0, "a"), (2.0, "b"), (2.0, "c"), (4.0, "d")):
        world.at(when, ticker, event)
    world.run(4.5)
    assert ticker.heard == [(3.0, "a"), (3.0, "b"), (3.0, "c"), (4.0, "d")]
    assert [when for when, _ in ticker.ticks] == [0.0, 3.0, 4.0]


def test_a_slow_processor_serves_one_after_the_other_and_drops_what_is_too_much() -> None:
    world: World[str, str] = World()
    ticker, pace = Ticker(world), Pace(each_s=0.25, backlog_max=2)
    world.add(ticker, lambda effect: None, pace=pace)
    world.run(0.5)
    for event in "abcde":
        world.at(0.6, ticker, event)
    world.run(0.99)
    assert ticker.heard == [(0.6, "a"), (0.85, "b")]
    assert pace.dropped == 2
    world.run(1.2)
    assert ticker.heard[-1] == (1.1, "c")


def test_what_is_due_for_a_machine_that_is_gone_is_dropped() -> None:
    world: World[str, str] = World()
    ticker = Ticker(world)
    world.add(ticker, lambda effect: None)
    world.at(1.5, ticker, "never")
    world.run(1.0)
    world.remove(ticker)
    world.run(9.0)
    assert ticker.heard == []
    assert len(ticker.ticks) == 2
    assert world.now == 9.0
