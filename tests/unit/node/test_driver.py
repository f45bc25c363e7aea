"""Driver: effects in order, timers on time, re-entry flattened, and equal to the simulator."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import trio

from meshnode.batching.batcher import Batcher, BatcherEffect, BatcherInput, Offer, Run, RunFinished
from meshnode.batching.settings import BatchingSettings
from meshnode.ids import RequestId
from meshnode.node.driver import Driver, deliver_safely
from tests.sim.world import World

SETTINGS = BatchingSettings(batch_max=3, window_ms_max=5.0, queue_max=8)
ARRIVALS = [0.0, 0.001, 0.0065, 0.007, 0.0071, 0.0072, 0.03]
RUN_S = 0.004
Trace = list[tuple[float, BatcherEffect]]


def offers() -> list[tuple[float, Offer]]:
    return [(t, Offer(RequestId(bytes([i])), t + 1.0)) for i, t in enumerate(ARRIVALS)]


def in_simulation() -> Trace:
    world: World[BatcherInput, BatcherEffect] = World()
    trace: Trace = []
    batcher = Batcher(SETTINGS)

    def perform(effect: BatcherEffect) -> None:
        trace.append((round(world.now, 6), effect))
        if isinstance(effect, Run):
            world.at(world.now + RUN_S, batcher, RunFinished())

    world.add(batcher, perform)
    for when, event in offers():
        world.at(when, batcher, event)
    world.run()
    return trace


async def under_trio() -> Trace:
    trace: Trace = []
    start = trio.current_time()

    async with trio.open_nursery() as nursery:

        async def finish_later() -> None:
            await trio.sleep(RUN_S)
            driver.handle(RunFinished())

        def perform(effect: BatcherEffect) -> None:
            trace.append((round(trio.current_time() - start, 6), effect))
            if isinstance(effect, Run):
                nursery.start_soon(finish_later)

        driver: Driver[BatcherInput, BatcherEffect] = Driver(Batcher(SETTINGS), perform)
        nursery.start_soon(driver.run)
        for when, event in offers():
            await trio.sleep_until(start + when)
            driver.handle(Offer(event.request_id, start + event.run_by))
        await trio.sleep(1.0)
        nursery.cancel_scope.cancel()
    return trace


async def test_trio_and_the_simulator_agree(autojump_clock: trio.testing.MockClock) -> None:
    assert await under_trio() == in_simulation()


@dataclass
class Countdown:
    """A machine whose effects lead to further inputs."""

    seen: list[int]

    def handle(self, event: int, now: float) -> Sequence[int]:
        self.seen.append(event)
        return [event * 10, event * 10 + 1] if event < 100 else []

    def tick(self, now: float) -> Sequence[int]:
        return []

    def next_timer(self) -> float | None:
        return None


async def test_an_effect_may_feed_its_own_machine(autojump_clock: trio.testing.MockClock) -> None:
    machine = Countdown([])
    performed: list[int] = []

    def perform(effect: int) -> None:
        performed.append(effect)
        if effect < 100:
            driver.handle(effect)

    driver = Driver(machine, perform)
    driver.handle(1)
    assert performed == [10, 11, 100, 101, 110, 111]


def test_a_bug_met_on_a_message_does_not_end_the_node(caplog: pytest.LogCaptureFixture) -> None:
    def broken(event: object) -> None:
        raise ZeroDivisionError

    deliver_safely(broken)("anything")
    assert "it was dropped" in caplog.text
