"""Repeats: a request is run once, however often it arrives within its time.

A sender that lost its connection, or doubted this node, asks again under the same id. If the first
one runs, or ran, the second gets its answer; a request that was refused without a run is as good as
new. Ids are kept apart by peer: nobody can answer in advance, or find out, what another one asks.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

import trio

from meshnode.errors import AnsweredBefore, MeshnodeError, RemoteProtocolError
from meshnode.ids import NodeId, RequestId, short
from meshnode.net.failures import error_of, failure_of
from meshnode.node.queued import Answer
from meshnode.wire.limits import MIB
from meshnode.wire.messages import Failure, Predict, Prediction

KEPT_MAX = 4096
"""Requests that are remembered, at the most until their deadlines; the oldest go first."""
KEPT_BYTES_MAX = 8 * MIB
"""Of answers that are kept; of older ones only that they were given."""

Packing: TypeAlias = Callable[[Answer], Prediction]
"""Makes the reply of what a lane gives back."""


class Run:
    """One request that was begun here. It is its lane's `Keeper`."""

    def __init__(self, request: Predict, until: float, settle: "Callable[[Run], None]") -> None:
        self.request = request.module, request.tensors
        self.until = until
        self.ran = False
        """It has or will have an outcome, though whoever asked may have left."""
        self.over = False
        self.outcome: Prediction | Failure | None = None
        """None: not yet, or not kept."""
        self.pack: Packing | None = None
        self.remembered = True
        self._settle = settle
        self._ended: trio.Event | None = None

    def began(self) -> None:
        """See `Keeper`."""
        self.ran = True

    def ended(self, outcome: Answer | MeshnodeError) -> None:
        """See `Keeper`."""
        if isinstance(outcome, MeshnodeError):
            self.finish(failure_of(outcome))
        else:
            assert self.pack is not None, "set before a lane gets it"
            self.finish(self.pack(outcome))

    def finish(self, outcome: Prediction | Failure | None) -> None:
        """It is over; None: without an outcome that a second one could be given."""
        if not self.over:
            self.over, self.outcome = True, outcome
            self._settle(self)
            if self._ended is not None:
                self._ended.set()

    async def wait(self) -> None:
        """Wait until it is over."""
        if not self.over:
            if self._ended is None:
                self._ended = trio.Event()
            await self._ended.wait()


@dataclass(frozen=True, slots=True)
class _Key:
    peer: NodeId
    request_id: RequestId


class Repeats:
    """What was asked of this node and is not past its deadline."""

    def __init__(self) -> None:
        self._runs: OrderedDict[_Key, Run] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._runs)

    async def once(
        self,
        peer: NodeId,
        request: Predict,
        deadline: float,
        run: Callable[[Run], Awaitable[Prediction]],
    ) -> Prediction:
        """Run a request, or return what became of it before.

        Raises what it raised, AnsweredBefore if that is not known any more, RemoteProtocolError for
        another request under its id. If this is cancelled while it runs, its outcome is kept.
        """
        key = _Key(peer, request.request_id)
        while (known := self._known(key)) is not None:
            if known.request != (request.module, request.tensors):
                raise RemoteProtocolError("two requests under one id")
            await known.wait()
            if known.ran:
                return _again(known, peer)
        mine = Run(request, deadline, self._settle)
        self._remember(key, mine)
        try:
            prediction = await run(mine)
        except MeshnodeError as error:
            mine.finish(failure_of(error))
            raise
        except BaseException:
            if not mine.ran:
                mine.finish(None)
            raise
        finally:
            if mine.over and not mine.ran:
                self._forget(key, mine)
        mine.ran = True
        mine.finish(prediction)
        return prediction

    def _known(self, key: _Key) -> Run | None:
        found = self._runs.get(key)
        if found is not None and found.until <= trio.current_time():
            self._forget(key, found)
            return None
        return found

    def _remember(self, key: _Key, run: Run) -> None:
        self._runs[key] = run
        now = trio.current_time()
        while self._runs:
            oldest, first = next(iter(self._runs.items()))
            if first.until > now and len(self._runs) <= KEPT_MAX:
                return
            self._forget(oldest, first)

    def _forget(self, key: _Key, run: Run) -> None:
        if self._runs.get(key) is run:
            del self._runs[key]
            run.remembered = False
            self._bytes -= _size(run)

    def _settle(self, run: Run) -> None:
        """Keep an answer within the bound; what is larger, and older ones, are let go."""
        if not run.remembered:
            return
        self._bytes += _size(run)
        if self._bytes <= KEPT_BYTES_MAX:
            return
        for older in self._runs.values():
            self._bytes -= _size(older)
            older.outcome = None
            if self._bytes <= KEPT_BYTES_MAX:
                return


def _again(known: Run, peer: NodeId) -> Prediction:
    match known.outcome:
        case Prediction() as prediction:
            return prediction
        case Failure() as failure:
            raise error_of(failure)
        case None:
            raise AnsweredBefore(f"this request of {short(peer)} was answered here before")


def _size(run: Run) -> int:
    if not isinstance(run.outcome, Prediction):
        return 0
    return sum(memoryview(part).nbytes for part in run.outcome.body)
