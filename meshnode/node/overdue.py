"""Overdue answers: who is late is asked whether he lives, long before a timeout.

One task watches every request that waits for another node (`placement/overdue.py`). Silence makes
the node fail: its requests are placed again, it is avoided, and the neighbours are told. A node
that lives gives a new promise; with the second one broken the request is taken back, and it is
avoided too. A request that nobody else can run stays where it is.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from heapq import heappop, heappush
from itertools import count
from math import inf

import trio

from meshnode.errors import MeshnodeError, PeerUnreachable, PromiseBroken
from meshnode.ids import ContentHash, NodeId, NodeTag, RequestId, tag_of
from meshnode.node.asking import Asking, Lives, Silent, Unconnected
from meshnode.placement.board import Scoreboard
from meshnode.placement.overdue import Verdict, Watch, watch
from meshnode.placement.score import UNIT_MS, Score
from meshnode.wire.messages import LoadRecord

UNCONNECTED_MS = 250.0
"""A connection that is being opened is given so long before it is looked at again."""
TOLD_EVERY_S = 0.25
"""A neighbour's word leads to one question in this time, however many say so."""
TOLD_MAX = 64


class Fault(Enum):
    """Why a request was taken back."""

    NONE = "none"
    SILENT = "silent"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """What is sent, to whom, and with which prediction."""

    node: NodeId
    name: str
    request: RequestId
    module: ContentHash
    score: Score
    predicted_ms: float
    """What it will likely take, as the sender is told."""
    others: Callable[[], bool]
    """Whether anybody else could run it now."""
    patient: bool = False
    """It is not taken back from a node that lives: one was struck for it before, so that it may be
    the request that takes long."""
    rows: int = 1


@dataclass(slots=True, eq=False)
class Expected:
    """A request that waits for another node's answer, inside `scope`."""

    sending: Sending
    sent_at: float
    watch: Watch
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    fault: Fault = Fault.NONE
    settled: bool = False

    @property
    def strikes(self) -> bool:
        """Whether the promise is one: a cold start, or a run nobody measured, is only a guess."""
        score = self.sending.score
        return not (self.sending.patient or score.cold_ms or score.estimated)

    def error(self) -> MeshnodeError:
        """Return why it was taken back."""
        name = self.sending.name
        if self.fault is Fault.BROKEN:
            return PromiseBroken(f"{name} takes far longer than it said")
        return PeerUnreachable(f"{name} has fallen silent")


class Overdue:
    """Watches promises, and takes requests back from who breaks them."""

    def __init__(
        self, *, asking: Asking, board: Scoreboard, suspect: Callable[[NodeId], None]
    ) -> None:
        self._asking = asking
        self._board = board
        self._suspect = suspect
        self._settings = board.settings
        self._due: list[tuple[float, int, Expected]] = []
        self._order = count()
        self._waits: dict[NodeId, set[Expected]] = {}
        self._wanted: set[NodeId] = set()
        """Who is to be asked."""
        self._asked: set[NodeId] = set()
        """Who is being asked."""
        self._told_at: dict[NodeTag, float] = {}
        self._sleeps_until = inf
        self._earlier = trio.Event()

    # ------------------------------------------------------------------ what the requests tell

    def expect(self, sending: Sending) -> Expected:
        """Watch over a request that is sent now; call `settle` when it ended in any way."""
        now = trio.current_time()
        promised_ms = sending.score.total_ms
        expected = Expected(sending, now, watch(promised_ms, now, self._settings))
        self._waits.setdefault(sending.node, set()).add(expected)
        self._push(expected)
        return expected

    def settle(self, expected: Expected) -> None:
        """The request ended."""
        expected.settled = True
        waits = self._waits[expected.sending.node]
        waits.discard(expected)
        if not waits:
            del self._waits[expected.sending.node]

    def doubt(self, node: NodeId) -> None:
        """Give up on a node where another can do the work.

        Its connection stays, and so do requests that nobody else can run: it may only be slow.
        """
        for expected in tuple(self._waits.get(node, ())):
            self._take_back(expected, Fault.SILENT)

    def told(self, silent: NodeTag) -> None:
        """A neighbour says that a node is silent: ask it, if anything is expected from it."""
        now = trio.current_time()
        node = next((n for n in self._waits if tag_of(n) == silent), None)
        if node is None or now < self._told_at.get(silent, -inf) + TOLD_EVERY_S:
            return
        self._told_at = {t: at for t, at in self._told_at.items() if at > now - TOLD_EVERY_S}
        if len(self._told_at) < TOLD_MAX:
            self._told_at[silent] = now
            self._wanted.add(node)
            self._earlier.set()

    # ------------------------------------------------------------------ the watch

    async def run(self) -> None:
        """Ask after what is overdue, until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                self._earlier = trio.Event()
                self._sleeps_until = self._look(trio.current_time())
                for node in self._wanted - self._asked:
                    self._asked.add(node)
                    nursery.start_soon(self._ask, node, nursery)
                self._wanted.clear()
                with trio.move_on_at(self._sleeps_until):
                    await self._earlier.wait()

    def _look(self, now: float) -> float:
        """See to everything that is due; return when the next promise ends."""
        while self._due:
            due_at, _, expected = self._due[0]
            if not expected.settled and due_at > now:
                return due_at
            heappop(self._due)
            if expected.settled:
                continue
            match expected.watch.verdict(now, self._settings):
                case Verdict.PING:
                    self._wanted.add(expected.sending.node)
                case Verdict.STRIKE:
                    self._strike(expected, now)
                case Verdict.WAIT:
                    pass
        return inf

    def _strike(self, expected: Expected, now: float) -> None:
        """A node lives and broke two promises for a request."""
        if expected.strikes and self._take_back(expected, Fault.BROKEN):
            waited_ms = (now - expected.sent_at) * 1000
            sending = expected.sending
            self._board.on_broken(sending.node, sending.request, waited_ms, now)
        else:
            expected.watch.pinged = True  # it is asked on, in case that it falls silent
            self._wanted.add(expected.sending.node)

    async def _ask(self, node: NodeId, nursery: trio.Nursery) -> None:
        """Ask a node whether it lives, and act on it."""
        try:
            late = partial(self._board.on_alive, node)
            found = await self._asking.ask(node, nursery, on_late=late)
        finally:
            self._asked.discard(node)
        now = trio.current_time()
        match found:
            case Lives():
                self._promise_again(node, now, found.load)
            case Unconnected():
                self._suspect(node)
                self._promise_again(node, now, None)
            case Silent():
                self._board.on_failure(node, now)
                self._suspect(node)
                self.doubt(node)
                self._promise_again(node, now, None)
                self._asking.tell(node, nursery)

    def _promise_again(self, node: NodeId, now: float, load: LoadRecord | None) -> None:
        """Set a new time for all that was asked after and still waits."""
        for expected in self._waits.get(node, ()):
            if expected.watch.pinged:
                left_ms = UNCONNECTED_MS if load is None else self._left_ms(expected.sending, load)
                expected.watch.alive(left_ms, now, self._settings)
                self._push(expected)

    # ------------------------------------------------------------------ parts

    def _left_ms(self, sending: Sending, load: LoadRecord) -> float:
        """Return how long a node that lives still needs at most: its wait, and one run."""
        standing = self._board.standing(tag_of(sending.node))
        known = None if standing is None else standing.by_module.get(tag_of(sending.module))
        first_ms = 0.0 if known is None else known.first * UNIT_MS
        return load.wait * UNIT_MS + max(first_ms, sending.score.run_ms)

    def _take_back(self, expected: Expected, fault: Fault) -> bool:
        """Let a request be placed again, if anybody else can do it; return whether it is."""
        if expected.settled or expected.fault is not Fault.NONE or not expected.sending.others():
            return False
        expected.fault = fault
        expected.scope.cancel()
        return True

    def _push(self, expected: Expected) -> None:
        heappush(self._due, (expected.watch.due_at, next(self._order), expected))
        if expected.watch.due_at < self._sleeps_until:
            self._earlier.set()
