"""Who is late is asked after, once for each request; who answers in time is not."""

import trio
from trio.testing import MockClock

from meshnode.ids import NodeId
from meshnode.node.overdue import Overdue

A, B, C = (NodeId(bytes([n]) * 32) for n in range(3))


async def test_only_the_late_are_asked_after(autojump_clock: MockClock) -> None:
    asked: list[tuple[float, NodeId]] = []
    began = trio.current_time()
    overdue = Overdue(lambda node: asked.append((round(trio.current_time() - began, 3), node)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(overdue.run)
        overdue.expect(A, 500.0)
        overdue.expect(B, 100.0)
        in_time = overdue.expect(C, 50.0)
        await trio.sleep(0.05)
        overdue.settle(in_time)
        overdue.expect(C, 10.0)  # due before all that is waited for
        overdue.expect(C, 20.0)  # late with both: one question
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert asked == [(0.1, C), (0.14, B), (0.54, A)]
