"""Overdue answers: who is late gets asked whether he lives, long before a timeout.

One task watches every request that waits for another node. The question is membership's probe: an
answer changes nothing, silence makes the node suspect, and then its requests are sent elsewhere.
"""

from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from math import inf

import trio

from meshnode.ids import NodeId
from meshnode.placement.overdue import Verdict, Watch, watch
from meshnode.placement.settings import PlacementSettings

ASK_AGAIN_S = 0.25


@dataclass(slots=True, eq=False)
class Expected:
    """An answer that was promised by a node for some time."""

    node: NodeId
    watch: Watch
    settled: bool = False


class Overdue:
    """Watches promises; `ask` is called with each node that breaks one, once for each request."""

    def __init__(
        self, ask: Callable[[NodeId], None], settings: PlacementSettings | None = None
    ) -> None:
        self._ask = ask
        self._settings = settings or PlacementSettings()
        self._due: list[tuple[float, int, Expected]] = []
        self._order = count()
        self._asked_at: dict[NodeId, float] = {}
        self._sleeps_until = inf
        self._earlier = trio.Event()

    def expect(self, node: NodeId, promised_ms: float) -> Expected:
        """Watch over a request that was just sent; call `settle` when it ended in any way.

        An infinite promise is none.
        """
        now = trio.current_time()
        expected = Expected(node, watch(promised_ms, now, self._settings))
        if promised_ms == inf:
            return expected
        heappush(self._due, (expected.watch.due_at, next(self._order), expected))
        if expected.watch.due_at < self._sleeps_until:
            self._earlier.set()
        return expected

    def settle(self, expected: Expected) -> None:
        """The request ended."""
        expected.settled = True

    async def run(self) -> None:
        """Ask after what is overdue, until cancelled."""
        while True:
            self._earlier = trio.Event()
            self._sleeps_until = self._look(trio.current_time())
            with trio.move_on_at(self._sleeps_until):
                await self._earlier.wait()

    def _look(self, now: float) -> float:
        """Ask after everything that is due; return when the next promise ends."""
        while self._due:
            due_at, _, expected = self._due[0]
            if not expected.settled and due_at > now:
                return due_at
            heappop(self._due)
            if not expected.settled and expected.watch.verdict(now, self._settings) is Verdict.PING:
                self._ask_once(expected.node, now)
        return inf

    def _ask_once(self, node: NodeId, now: float) -> None:
        """Ask, unless that was done just now: a slow node is late with all its answers at once."""
        self._asked_at = {n: at for n, at in self._asked_at.items() if at > now - ASK_AGAIN_S}
        if node not in self._asked_at:
            self._asked_at[node] = now
            self._ask(node)
