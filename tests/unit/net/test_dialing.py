"""Several ways raced on a virtual clock: order, pauses, and who is closed."""

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from meshnode.errors import PeerUnreachable
from meshnode.ids import Address
from meshnode.net.dialing import race
from meshnode.reach.steps import Step, Way

STEPS = (
    Step(Way.DIRECT, Address("192.0.2.1", 1), 0.0),
    Step(Way.CALL_BACK, None, 1.0),
    Step(Way.CIRCUIT, None, 2.5),
)


class Pipe:
    """Stands where a Connection would; only whether it was closed matters here."""

    closed = ""

    def close(self, reason: str) -> None:
        self.closed = reason


class Ways:
    """How long each way takes, and whether it works then."""

    def __init__(self, **outcomes: tuple[float, bool]) -> None:
        self.outcomes = outcomes
        self.begun: list[tuple[str, float]] = []
        self.pipes: dict[str, Pipe] = {}

    async def __call__(self, step: Step) -> Any:
        self.begun.append((step.way.name, trio.current_time()))
        after_s, works = self.outcomes[step.way.name]
        await trio.sleep(after_s)
        if not works:
            raise PeerUnreachable("", because=[f"{step.way.name} failed"])
        self.pipes[step.way.name] = Pipe()
        return self.pipes[step.way.name]


async def test_a_way_that_works_at_once_is_the_only_one_tried(autojump_clock: MockClock) -> None:
    ways = Ways(DIRECT=(0.1, True))
    found, step = await race(STEPS, ways, each_s=5)
    assert step is STEPS[0]
    assert found is ways.pipes["DIRECT"]
    assert [name for name, _ in ways.begun] == ["DIRECT"]


async def test_a_silent_way_delays_the_next_by_its_pause(autojump_clock: MockClock) -> None:
    ways = Ways(DIRECT=(99, True), CALL_BACK=(99, True), CIRCUIT=(0.2, True))
    began = trio.current_time()
    _, step = await race(STEPS, ways, each_s=5)
    assert step.way is Way.CIRCUIT
    assert [(n, round(at - began, 3)) for n, at in ways.begun] == [
        ("DIRECT", 0.0),
        ("CALL_BACK", 1.0),
        ("CIRCUIT", 2.5),
    ]


async def test_a_failed_way_lets_the_next_begin_at_once(autojump_clock: MockClock) -> None:
    ways = Ways(DIRECT=(0.1, False), CALL_BACK=(0.1, False), CIRCUIT=(0.1, True))
    began = trio.current_time()
    _, step = await race(STEPS, ways, each_s=5)
    assert step.way is Way.CIRCUIT
    assert trio.current_time() - began < 0.5


async def test_when_nothing_works_each_way_says_why(autojump_clock: MockClock) -> None:
    ways = Ways(DIRECT=(99, True), CALL_BACK=(0.1, False), CIRCUIT=(0.1, False))
    with pytest.raises(PeerUnreachable) as caught:
        await race(STEPS, ways, each_s=5)
    assert caught.value.because == (
        "192.0.2.1:1: no answer within 5 s",
        "called back: CALL_BACK failed",
        "relayed: CIRCUIT failed",
    )
    assert caught.value.message == ""


async def test_a_race_of_one_ends_as_any_other(autojump_clock: MockClock) -> None:
    found, step = await race(STEPS[:1], ways := Ways(DIRECT=(0.1, True)), each_s=5)
    assert (found, step) == (ways.pipes["DIRECT"], STEPS[0])
    with pytest.raises(PeerUnreachable) as caught:
        await race(STEPS[:1], Ways(DIRECT=(99, True)), each_s=5)
    assert caught.value.because == ("192.0.2.1:1: no answer within 5 s",)


@pytest.mark.parametrize("count", [1, 2])
async def test_cancelled_as_it_wins_nothing_stays_open(
    autojump_clock: MockClock, count: int
) -> None:
    ways = Ways(DIRECT=(0.1, True), CALL_BACK=(99, True))
    with trio.CancelScope() as scope:
        made = ways.__call__

        async def cancelled(step: Step) -> Any:
            pipe = await made(step)
            scope.cancel()
            return pipe

        await race(STEPS[:count], cancelled, each_s=5)
        await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert ways.pipes["DIRECT"].closed or count == 1
