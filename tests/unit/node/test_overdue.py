"""Who is late is asked; the silent lose their requests, and so do those who break their word."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from math import isclose
from types import SimpleNamespace

import trio
from trio.testing import MockClock

from meshnode.errors import PeerUnreachable, PromiseBroken
from meshnode.gossip.member import MemberState
from meshnode.ids import NodeId, NodeTag, RequestId, tag_of
from meshnode.node.asking import Asking
from meshnode.node.overdue import Expected, Overdue, Sending
from meshnode.placement.board import Scoreboard
from meshnode.placement.choose import Scored
from meshnode.placement.score import Score
from meshnode.wire.messages import LoadPing, LoadPong, LoadRecord
from tests.unit.placement.nodes import MODULE, contact, node, node_id, record

RTT_MS = 1.0
Answer = Callable[[], Awaitable[LoadRecord | None]]


async def at_once() -> LoadRecord | None:
    """A node that says it is idle."""
    await trio.sleep(RTT_MS / 1000)
    return record("x", run=10.0)


async def never() -> LoadRecord | None:
    await trio.sleep_forever()
    return None


class Connection:
    """Where a node would answer."""

    def __init__(self, name: str, answer: Answer, asked: list[tuple[str, NodeTag | None]]) -> None:
        self.name = name
        self.answer = answer
        self.asked = asked

    async def call(self, ping: LoadPing) -> LoadPong:
        self.asked.append((self.name, ping.silent))
        load = await self.answer()
        if load is None:
            raise PeerUnreachable("lost")
        return LoadPong(load=load)


class Mesh:
    """Nodes that answer pings, as `Asking` sees them, and what it is told of."""

    def __init__(self, **answers: Answer) -> None:
        self.asked: list[tuple[str, NodeTag | None]] = []
        self.suspected: list[NodeId] = []
        self.heard: list[NodeId] = []
        self.connections = {node_id(n): Connection(n, a, self.asked) for n, a in answers.items()}
        self.board = Scoreboard()
        asking = Asking(
            pool=self,  # type: ignore[arg-type]
            membership=self,  # type: ignore[arg-type]
            on_load=lambda node, _: self.heard.append(node),
            settings=self.board.settings,
        )
        self.overdue = Overdue(asking=asking, board=self.board, suspect=self.suspected.append)

    def connection_with(self, node: NodeId) -> Connection | None:
        return self.connections.get(node)

    def rtt_ms(self, node: NodeId) -> float | None:
        return RTT_MS

    def alive(self) -> list[SimpleNamespace]:
        return [
            SimpleNamespace(contact=contact(c.name), state=MemberState.ALIVE, rtt_ms=RTT_MS)
            for c in self.connections.values()
        ]

    @contextmanager
    def waiting(
        self,
        name: str,
        ms: float,
        *,
        others: bool = True,
        patient: bool = False,
        cold: bool = False,
    ) -> Iterator[Expected]:
        """Send a request with this prediction and wait for it inside the block."""
        score = Score(0.0, 0.0, 0.0, ms, 1.0 if cold else 0.0, 0.0, 0.0, False)
        request = RequestId(bytes(16))
        self.board.on_sent(
            node_id(name), request, MODULE, Scored(node(name), score), trio.current_time()
        )
        expected = self.overdue.expect(
            Sending(
                node=node_id(name),
                name=name,
                request=request,
                module=MODULE,
                score=score,
                predicted_ms=ms,
                others=lambda: others,
                patient=patient,
            )
        )
        try:
            with expected.scope:
                yield expected
        finally:
            self.overdue.settle(expected)
            self.board.on_gone(node_id(name), request)


async def waited_s(mesh: Mesh, name: str, ms: float, **how: bool) -> tuple[float, Expected]:
    """Return how long a request waits at a node that never answers it, at most 10 s."""
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mesh.overdue.run)
        with trio.move_on_after(10), mesh.waiting(name, ms, **how) as expected:
            await trio.sleep_forever()
        took_s = trio.current_time() - began
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    return took_s, expected


async def test_who_answers_in_time_is_not_asked(autojump_clock: MockClock) -> None:
    mesh = Mesh(a=at_once)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mesh.overdue.run)
        with mesh.waiting("a", 50.0):
            await trio.sleep(0.08)
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert mesh.asked == []


async def test_a_silent_node_loses_its_requests_after_two_round_trips(
    autojump_clock: MockClock,
) -> None:
    mesh = Mesh(a=never, b=at_once)
    took_s, expected = await waited_s(mesh, "a", 50.0)
    assert isclose(took_s, 0.050 + 0.040 + 0.002 + 0.010)
    assert isinstance(expected.error(), PeerUnreachable)
    assert mesh.board.exclusion(node_id("a"), trio.current_time()) is not None
    assert mesh.suspected == [node_id("a")]


async def test_the_neighbours_are_told_and_their_loads_heard(autojump_clock: MockClock) -> None:
    mesh = Mesh(a=never, b=at_once, c=at_once)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mesh.overdue.run)
        with mesh.waiting("a", 50.0):
            await trio.sleep(1)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    silent = tag_of(node_id("a"))
    assert sorted(mesh.asked, key=str) == [("a", None), ("b", silent), ("c", silent)]
    assert sorted(mesh.heard) == sorted([node_id("b"), node_id("c")])


async def test_what_nobody_else_can_do_stays_and_is_asked_after_again(
    autojump_clock: MockClock,
) -> None:
    mesh = Mesh(a=never)
    took_s, _ = await waited_s(mesh, "a", 50.0, others=False)
    assert took_s == 10.0
    assert 3 < len(mesh.asked) < 12, "less and less often"


async def test_a_node_that_says_idle_and_is_slow_is_struck(autojump_clock: MockClock) -> None:
    mesh = Mesh(a=at_once)
    took_s, expected = await waited_s(mesh, "a", 50.0)
    assert isinstance(expected.error(), PromiseBroken)
    assert took_s < 0.3, "at its second promise, which is about a run and twice the grace"
    assert mesh.board.exclusion(node_id("a"), trio.current_time()) is not None
    assert mesh.board.bias_ms(node_id("a"), trio.current_time()) > 20.0
    assert mesh.suspected == [], "it lives: only this node avoids it"


async def test_guesses_are_no_promises_and_one_strike_a_request_is_enough(
    autojump_clock: MockClock,
) -> None:
    for how in ({"cold": True}, {"patient": True}):
        mesh = Mesh(a=at_once)
        took_s, _ = await waited_s(mesh, "a", 50.0, **how)
        assert took_s == 10.0
        assert mesh.asked, "but whether it lives is asked"


async def test_a_request_that_began_cold_is_taken_back_from_the_silent(
    autojump_clock: MockClock,
) -> None:
    took_s, expected = await waited_s(Mesh(a=never), "a", 50.0, cold=True)
    assert took_s < 0.2
    assert isinstance(expected.error(), PeerUnreachable)


async def test_a_connection_that_is_being_opened_is_given_time(autojump_clock: MockClock) -> None:
    mesh = Mesh()
    took_s, _ = await waited_s(mesh, "a", 50.0, cold=True)
    assert took_s == 10.0
    assert set(mesh.suspected) == {node_id("a")}


async def test_a_neighbours_word_is_checked_and_not_believed(autojump_clock: MockClock) -> None:
    mesh = Mesh(a=never, b=at_once)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mesh.overdue.run)
        mesh.overdue.told(tag_of(node_id("a")))  # nothing is expected from it
        with mesh.waiting("a", 1000.0) as lost, mesh.waiting("b", 1000.0) as kept:
            for name in "aabb":
                mesh.overdue.told(tag_of(node_id(name)))
            await trio.sleep(0.2)
        assert (lost.scope.cancelled_caught, kept.scope.cancelled_caught) == (True, False)
        nursery.cancel_scope.cancel()
    assert [name for name, silent in mesh.asked if silent is None] in (["a", "b"], ["b", "a"])


async def test_time_in_which_this_node_stood_still_does_not_count(
    mock_clock: MockClock,
) -> None:
    mesh = Mesh()

    async def later() -> LoadRecord | None:
        mock_clock.jump(2.0)  # nobody ran meanwhile; the answer is there
        await trio.lowlevel.checkpoint()
        return record("a", run=10.0)

    mesh.connections[node_id("a")] = Connection("a", later, mesh.asked)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mesh.overdue.run)
        with mesh.waiting("a", 50.0) as expected:
            mock_clock.jump(0.095)
            await trio.testing.wait_all_tasks_blocked()
            assert mesh.asked
            await trio.testing.wait_all_tasks_blocked()
        assert not expected.scope.cancelled_caught
        nursery.cancel_scope.cancel()


async def test_a_slow_event_loop_is_given_longer_the_next_time(autojump_clock: MockClock) -> None:
    async def slow() -> LoadRecord | None:
        await trio.sleep(0.03)
        return record("a", run=10.0)

    mesh = Mesh(a=slow)
    first_s, first = await waited_s(mesh, "a", 1000.0)
    excluded = mesh.board.exclusion(node_id("a"), trio.current_time())
    again_s, again = await waited_s(mesh, "a", 1000.0)
    assert isinstance(first.error(), PeerUnreachable), "30 ms are too long, at first"
    assert (excluded, mesh.board.bias_ms(node_id("a"), trio.current_time()) > 0) == (None, True)
    assert isinstance(again.error(), PromiseBroken)
    assert first_s < again_s
