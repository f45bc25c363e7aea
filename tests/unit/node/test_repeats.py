"""Repeats: a request is run once within its time, whoever leaves meanwhile."""

from collections.abc import Awaitable, Callable

import numpy as np
import pytest
import trio
import trio.testing

from meshnode.errors import AnsweredBefore, GuestStatus, Overloaded, RemoteProtocolError
from meshnode.ids import ContentHash, NodeId, RequestId
from meshnode.node.queued import Answer
from meshnode.node.repeats import KEPT_BYTES_MAX, KEPT_MAX, Repeats, Run
from meshnode.wire.messages import Predict, Prediction, TensorHeader, Timing

PEER, OTHER = NodeId(b"p" * 32), NodeId(b"o" * 32)
MODULE = ContentHash(b"m" * 32)


def request(number: int = 1, *, shape: tuple[int, ...] = (1,)) -> Predict:
    head = TensorHeader(name="x", dtype="uint8", shape=shape, size=shape[0])
    return Predict(
        request_id=RequestId(number.to_bytes(16, "big")),
        module=MODULE,
        source="cam",
        budget_ms=1000,
        hops_left=0,
        tensors=(head,),
        body=(bytes(8),),
    )


def answer(body: bytes = b"y" * 8) -> Prediction:
    return Prediction(
        request_id=RequestId(bytes(16)),
        served_by=OTHER,
        module=MODULE,
        tensors=(),
        timing=Timing(),
        batch=1,
        body=(body,),
    )


class Lane:
    """Runs that end when they are told to; counts them."""

    def __init__(self, *, fails: Exception | None = None, starts: bool = True) -> None:
        self.runs = 0
        self.fails = fails
        self.starts = starts
        self.may_end = trio.Event()
        self.keeper: Run | None = None

    async def run(self, keeper: Run) -> Prediction:
        self.runs += 1
        self.keeper = keeper
        keeper.pack = lambda _: answer(b"late" * 2)
        if self.starts:
            keeper.began()
        await self.may_end.wait()
        if self.fails is not None:
            raise self.fails
        return answer()


def in_a_while() -> float:
    return trio.current_time() + 60


async def asks(
    repeats: Repeats,
    run: Callable[[Run], Awaitable[Prediction]],
    got: list[object],
    made: Predict | None = None,
) -> None:
    try:
        got.append(await repeats.once(PEER, made or request(), in_a_while(), run))
    except Exception as error:
        got.append(error)


async def test_a_second_one_waits_for_the_first_and_both_get_its_answer() -> None:
    repeats, lane, got = Repeats(), Lane(), list[object]()
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(asks, repeats, lane.run, got)
        await trio.testing.wait_all_tasks_blocked()
        lane.may_end.set()
    await asks(repeats, lane.run, got)
    assert lane.runs == 1
    assert got == [answer()] * 4


async def test_a_failure_of_the_module_is_told_again_and_not_run_again() -> None:
    repeats, lane, got = Repeats(), Lane(fails=GuestStatus("7")), list[object]()
    lane.may_end.set()
    for _ in range(3):
        await asks(repeats, lane.run, got)
    assert lane.runs == 1
    assert all(isinstance(error, GuestStatus) for error in got)


async def test_what_was_refused_without_a_run_is_as_good_as_new() -> None:
    repeats, lane, got = Repeats(), Lane(fails=Overloaded("full"), starts=False), list[object]()
    lane.may_end.set()
    await asks(repeats, lane.run, got)
    lane.fails = None
    await asks(repeats, lane.run, got)
    assert lane.runs == 2
    assert got[1] == answer()


async def test_whoever_asks_again_after_he_lost_his_connection_gets_what_still_ran() -> None:
    repeats, lane, got = Repeats(), Lane(), list[object]()
    async with trio.open_nursery() as nursery:
        with trio.move_on_after(0):
            await asks(repeats, lane.run, got)
        assert not got
        nursery.start_soon(asks, repeats, lane.run, got)
        await trio.testing.wait_all_tasks_blocked()
        assert lane.keeper is not None
        lane.keeper.ended(Answer({"y": np.zeros(1)}, Timing(), 1))
    assert lane.runs == 1
    assert got == [answer(b"late" * 2)]


async def test_what_was_left_before_it_ran_is_run_for_the_next_one() -> None:
    repeats, lane, got = Repeats(), Lane(starts=False), list[object]()
    with trio.move_on_after(0):
        await asks(repeats, lane.run, got)
    assert len(repeats) == 0
    lane.may_end.set()
    await asks(repeats, lane.run, got)
    assert got == [answer()]


async def test_another_peer_or_another_request_never_gets_it() -> None:
    repeats, lane, got = Repeats(), Lane(), list[object]()
    lane.may_end.set()
    await asks(repeats, lane.run, got)
    await repeats.once(OTHER, request(), in_a_while(), lane.run)
    assert lane.runs == 2
    with pytest.raises(RemoteProtocolError, match="one id"):
        await repeats.once(PEER, request(shape=(2,)), in_a_while(), lane.run)


async def test_after_its_deadline_an_id_is_forgotten(autojump_clock: object) -> None:
    repeats, lane = Repeats(), Lane()
    lane.may_end.set()
    await repeats.once(PEER, request(), trio.current_time() + 1, lane.run)
    await trio.sleep(2)
    await repeats.once(PEER, request(), trio.current_time() + 1, lane.run)
    assert lane.runs == 2


async def test_what_is_kept_is_bounded() -> None:
    repeats, lane = Repeats(), Lane()
    lane.may_end.set()
    for number in range(KEPT_MAX + 50):
        await repeats.once(PEER, request(number), in_a_while(), lane.run)
    assert len(repeats) == KEPT_MAX

    async def run_large(keeper: Run) -> Prediction:
        return answer(bytes(KEPT_BYTES_MAX // 2 + 1))

    repeats = Repeats()
    for number in range(3):
        await repeats.once(PEER, request(number), in_a_while(), run_large)
    with pytest.raises(AnsweredBefore):
        await repeats.once(PEER, request(0), in_a_while(), lane.run)
    assert await repeats.once(PEER, request(2), in_a_while(), lane.run)
