"""A dry node calls the neighbour with the most waiting work, once at a time, and takes answers."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from meshnode.errors import PeerUnreachable
from meshnode.gossip.member import MemberState
from meshnode.ids import NodeId, NodeTag, tag_of
from meshnode.node.idling import Idling
from meshnode.placement.board import Scoreboard
from meshnode.placement.idle import Offer
from meshnode.wire.excerpts import excerpt
from meshnode.wire.messages import IdleCall, IdleReply, LoadRecord
from tests.unit.placement.nodes import MODULE, OTHER, contact, node_id, record

OWN = record("own", run=10.0)


class Lanes:
    """Records what it is told to give up."""

    def __init__(self) -> None:
        self.busy = False
        self.on_work: Any = None
        self.asked: list[tuple[dict[NodeTag, Offer], NodeTag]] = []

    def give_up(self, offers: dict[NodeTag, Offer], way_ms: float, caller: NodeTag) -> int:
        assert way_ms > 0
        self.asked.append((offers, caller))
        return 2


class Pool:
    """Answers every call with so many requests given."""

    def __init__(self, *given: int) -> None:
        self.given = list(given)
        self.called: list[str] = []

    async def call(self, to: object, call: IdleCall, *, timeout_s: float) -> IdleReply:
        self.called.append(next(n for n in "abc" if contact(n) == to))
        assert call.load == OWN
        if not self.given:
            raise PeerUnreachable("gone")
        return IdleReply(given=self.given.pop(0), load=record(self.called[-1], sequence=9))


def idling_of(pool: Pool, lanes: Lanes, heard: list[LoadRecord], **waits: float) -> Idling:
    board = Scoreboard()
    for name, wait in waits.items():
        board.on_record(record(name, wait=wait, run=10.0), None, trio.current_time())
    members = [
        SimpleNamespace(contact=contact(n), state=MemberState.ALIVE, rtt_ms=50.0 if n == "c" else 1)
        for n in waits
    ]

    def hear(speaker: NodeId, load: LoadRecord) -> None:
        heard.append(load)
        board.on_word(speaker, load, trio.current_time())

    return Idling(
        lanes=lanes,  # type: ignore[arg-type]
        load=SimpleNamespace(record=lambda: OWN, word=lambda about: OWN),  # type: ignore[arg-type]
        board=board,
        membership=SimpleNamespace(members=lambda: members),  # type: ignore[arg-type]
        pool=pool,  # type: ignore[arg-type]
        on_load=hear,
    )


@pytest.mark.parametrize(("given", "called"), [((0, 0), "ba"), ((3, 0), "b"), ((), "ba")])
async def test_neighbours_are_called_in_the_order_of_their_load(
    autojump_clock: MockClock, given: tuple[int, ...], called: str
) -> None:
    pool, lanes, heard = Pool(*given), Lanes(), list[LoadRecord]()
    idling = idling_of(pool, lanes, heard, a=50.0, b=90.0, c=500.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(idling.run)
        await trio.testing.wait_all_tasks_blocked()
        assert pool.called == [], "nothing has run here yet"
        lanes.on_work(False)
        await trio.sleep(0.001)
        lanes.on_work(True)
        assert "".join(pool.called) == called, "the far one is no neighbour"
        await trio.sleep(100)
        assert "".join(pool.called) == called, "there was work here"
        nursery.cancel_scope.cancel()
    assert len(heard) == len(given[: len(called)])


async def test_a_mesh_without_load_is_not_asked(autojump_clock: MockClock) -> None:
    pool, lanes = Pool(), Lanes()
    idling = idling_of(pool, lanes, [], a=0.0, b=5.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(idling.run)
        await trio.testing.wait_all_tasks_blocked()
        lanes.on_work(False)
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert pool.called == []


async def test_a_node_that_runs_dry_again_and_again_sleeps_through_it(
    autojump_clock: MockClock,
) -> None:
    """The task wakes for a round and not for every request: that cost a tenth of one."""
    pool, lanes, looks = Pool(), Lanes(), list[float]()
    idling = idling_of(pool, lanes, [], a=0.0)
    look = idling._somebody_waits

    def noted() -> bool:
        looks.append(trio.current_time())
        return look()

    idling._somebody_waits = noted  # type: ignore[method-assign]  # to count, not to replace
    async with trio.open_nursery() as nursery:
        nursery.start_soon(idling.run)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(100):
            lanes.on_work(True)
            lanes.on_work(False)
            await trio.sleep(0.001)
        lanes.on_work(True)
        nursery.cancel_scope.cancel()
    assert len(looks) <= 100, "one for each time it ran dry, and none by the task"
    assert pool.called == []


async def test_work_elsewhere_is_found_after_a_round_without_any(autojump_clock: MockClock) -> None:
    pool, lanes = Pool(1), Lanes()
    idling = idling_of(pool, lanes, [], a=0.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(idling.run)
        await trio.testing.wait_all_tasks_blocked()
        lanes.on_work(False)
        await trio.sleep(0.1)
        idling._board.on_record(record("a", wait=90.0, sequence=2), None, trio.current_time())
        await trio.sleep(2)
        nursery.cancel_scope.cancel()
    assert set(pool.called) == {"a"}


async def test_a_caller_gets_what_its_warm_modules_can_run() -> None:
    lanes, heard = Lanes(), list[LoadRecord]()
    idling = idling_of(Pool(), lanes, heard)
    load = record("idle", run=20.0, unit=5.0)
    assert idling.answer(node_id("idle"), IdleCall(load=load, room=4)).given == 2
    assert lanes.asked == [({tag_of(MODULE): Offer(20.0, 5.0, 4)}, tag_of(node_id("idle")))]
    cold = record("cold", warm=False)
    assert idling.answer(node_id("cold"), IdleCall(load=cold, room=4)).given == 0
    assert heard == [load, cold]
    assert len(lanes.asked) == 1


async def test_a_caller_gets_what_is_known_of_it_beside_what_it_tells() -> None:
    lanes, heard = Lanes(), list[LoadRecord]()
    idling = idling_of(Pool(), lanes, heard, idle=1.0)
    load = record("idle", run=20.0, unit=5.0, sequence=2)
    other = replace(load.modules[0], module=tag_of(OTHER), first=300)
    whole = replace(load, modules=(*load.modules, other))
    idling.answer(node_id("idle"), IdleCall(load=whole, room=4))
    idling.answer(node_id("idle"), IdleCall(load=replace(excerpt(whole, 1), sequence=3), room=4))
    both = {tag_of(MODULE): Offer(20.0, 5.0, 4), tag_of(OTHER): Offer(30.0, 5.0, 4)}
    assert [offers for offers, _ in lanes.asked] == [both, both]


async def test_nobody_calls_in_the_name_of_another() -> None:
    lanes, heard = Lanes(), list[LoadRecord]()
    idling = idling_of(Pool(), lanes, heard)
    idling.answer(node_id("liar"), IdleCall(load=record("victim"), room=4))
    ((_, caller),) = lanes.asked
    assert caller == tag_of(node_id("liar")), "what is given up goes to who called"
