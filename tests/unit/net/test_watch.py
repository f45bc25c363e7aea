"""One task for the time of many connections.

Each test asks for the clock itself: pytest-trio does not see one that only a fixture has.
"""

from math import inf

import pytest
import trio
import trio.testing

from meshnode.net.watch import Watch


class Ticked:
    """Notes when it was ticked, and asks for the next tick after a while."""

    def __init__(self, *pauses: float) -> None:
        self.pauses = list(pauses)
        self.at: list[float] = []

    def tick(self, now: float) -> float:
        self.at.append(now)
        return now + self.pauses.pop(0) if self.pauses else inf


@pytest.fixture
async def watch(nursery: trio.Nursery) -> Watch:
    made = Watch()
    nursery.start_soon(made.run)
    return made


async def test_each_is_ticked_when_it_said_and_then_when_it_asked(
    watch: Watch, autojump_clock: trio.testing.MockClock
) -> None:
    began = trio.current_time()
    one, two = Ticked(3, 4), Ticked(5)
    watch.add(one, 0.0)
    watch.add(two, 0.0)
    await trio.sleep(20)
    assert [at - began for at in one.at] == pytest.approx([0, 3, 7], abs=0.1)
    assert [at - began for at in two.at] == pytest.approx([0, 5], abs=0.1)


async def test_an_earlier_time_wakes_it_and_a_later_one_does_not(
    watch: Watch, autojump_clock: trio.testing.MockClock
) -> None:
    one = Ticked(100, 100, 100)
    watch.add(one, 0.0)
    await trio.sleep(1)
    watch.wake_by(one, trio.current_time() + 2)
    watch.wake_by(one, trio.current_time() + 50)
    await trio.sleep(10)
    assert len(one.at) == 2


async def test_who_was_removed_is_left_alone(
    watch: Watch, autojump_clock: trio.testing.MockClock
) -> None:
    one, two = Ticked(1, 1, 1, 1), Ticked(1, 1, 1, 1)
    watch.add(one, 0.0)
    watch.add(two, 0.0)
    await trio.sleep(1.5)
    watch.remove(one)
    watch.wake_by(one, 0.0)
    await trio.sleep(10)
    assert (len(one.at), len(two.at), len(watch)) == (2, 5, 1)
