"""Answering calls in tasks that are used again: nobody waits for another, and cancel hits one."""

import trio
import trio.testing

from meshnode.ids import ContentHash
from meshnode.net.answering import RESTING_MAX, Answering
from meshnode.wire.messages import AskHeld

ASK = AskHeld(blobs=(ContentHash(bytes(32)),))


class Calls:
    """Answers each call when it may, and writes down what happened."""

    def __init__(self, nursery: trio.Nursery, *, slow: set[int] | None = None) -> None:
        self._nursery = nursery
        self._slow = slow or set()
        self.done: list[int] = []
        self.gone: list[int] = []
        self.go = trio.Event()
        self.rests = 0
        self.answering = Answering(self._answer, on_rest=self._on_rest)

    async def _answer(self, call_id: int, _: object) -> None:
        try:
            if call_id in self._slow:
                await self.go.wait()
            self.done.append(call_id)
        except trio.Cancelled:
            self.gone.append(call_id)
            raise

    def _on_rest(self) -> None:
        self.rests += 1

    def take(self, *ids: int) -> None:
        for call_id in ids:
            self.answering.take(call_id, ASK, self._nursery)

    @property
    def tasks(self) -> int:
        return len(self._nursery.child_tasks)


async def test_calls_that_do_not_wait_are_answered_in_order_by_few_tasks(
    nursery: trio.Nursery,
) -> None:
    calls = Calls(nursery)
    for first in range(0, 90, 30):
        calls.take(*range(first, first + 30))
        await trio.testing.wait_all_tasks_blocked()
    assert calls.done == list(range(90))
    assert calls.tasks <= 2
    assert len(calls.answering) == 0


async def test_no_call_waits_behind_a_slow_one(nursery: trio.Nursery) -> None:
    calls = Calls(nursery, slow={0, 2, 3, 7})
    calls.take(*range(9))
    await trio.testing.wait_all_tasks_blocked()
    assert calls.done == [1, 4, 5, 6, 8]
    assert len(calls.answering) == 4
    calls.take(9)
    await trio.testing.wait_all_tasks_blocked()
    assert calls.done[-1] == 9
    calls.go.set()
    await trio.testing.wait_all_tasks_blocked()
    assert sorted(calls.done) == list(range(10))


async def test_a_cancel_stops_its_own_call_only(nursery: trio.Nursery) -> None:
    calls = Calls(nursery, slow={0, 1, 2})
    calls.take(0, 1, 2)
    await trio.testing.wait_all_tasks_blocked()
    calls.answering.cancel(1)
    calls.answering.cancel(77)
    await trio.testing.wait_all_tasks_blocked()
    assert calls.gone == [1]
    calls.go.set()
    await trio.testing.wait_all_tasks_blocked()
    assert sorted(calls.done) == [0, 2]
    calls.take(3)
    await trio.testing.wait_all_tasks_blocked()
    assert calls.done[-1] == 3


async def test_a_call_that_is_cancelled_before_it_began_never_begins(
    nursery: trio.Nursery,
) -> None:
    calls = Calls(nursery)
    calls.take(0, 1, 2)
    calls.answering.cancel(1)
    await trio.testing.wait_all_tasks_blocked()
    assert calls.done == [0, 2]


async def test_a_cancel_during_an_answer_that_does_not_wait_harms_no_later_call(
    nursery: trio.Nursery,
) -> None:
    calls = Calls(nursery)

    async def gives_itself_up(call_id: int, _: object) -> None:
        if call_id == 0:
            calls.answering.cancel(0)
        await trio.lowlevel.checkpoint() if call_id else None
        calls.done.append(call_id)

    calls.answering = Answering(gives_itself_up, on_rest=lambda: None)
    calls.take(0, 1, 2)
    await trio.testing.wait_all_tasks_blocked()
    assert sorted(calls.done) == [0, 1, 2]
    calls.take(3)
    await trio.testing.wait_all_tasks_blocked()
    assert calls.done[-1] == 3


async def test_whoever_rests_is_told_and_goes_home_when_the_connection_idles(
    nursery: trio.Nursery,
) -> None:
    calls = Calls(nursery, slow=set(range(2 * RESTING_MAX)))
    calls.take(*range(2 * RESTING_MAX))
    await trio.testing.wait_all_tasks_blocked()
    assert calls.tasks == 2 * RESTING_MAX
    calls.go.set()
    await trio.testing.wait_all_tasks_blocked()
    assert calls.tasks == RESTING_MAX
    assert calls.rests >= 1
    calls.answering.shrink()
    calls.take(100)
    await trio.testing.wait_all_tasks_blocked()
    assert calls.done[-1] == 100
    calls.answering.shrink()
    await trio.testing.wait_all_tasks_blocked()
    assert calls.tasks == 0


async def test_resting_tasks_end_with_their_nursery() -> None:
    async with trio.open_nursery() as nursery:
        calls = Calls(nursery)
        calls.take(0)
        await trio.testing.wait_all_tasks_blocked()
        assert calls.tasks == 1
        nursery.cancel_scope.cancel()
    assert calls.done == [0]
