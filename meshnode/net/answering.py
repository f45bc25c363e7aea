"""The peer's calls that this side answers, in tasks that are used again.

A task and a cancel scope made for each call are a quarter of what a small call costs this side. So
a task that has answered one call takes the next that waits, and rests when none does. Nobody waits
behind a slow call: before a task begins with one while more wait, another task is on its way (the
leader and its followers of Schmidt et al., PLoP 2000).
"""

from collections.abc import Awaitable, Callable

import trio

from meshnode.wire.messages import Request

RESTING_MAX = 32
"""Tasks kept for the next calls of one connection, 3 KB each, until it idles."""

Answer = Callable[[int, Request], Awaitable[None]]


class Answering:
    """The calls of one connection's peer, each answered once unless it is cancelled."""

    def __init__(self, answer: Answer, *, on_rest: Callable[[], None]) -> None:
        """`answer` answers one call; `on_rest` hears whenever no call waits to be begun."""
        self._answer = answer
        self._on_rest = on_rest
        self._waiting: list[tuple[int, Request]] = []
        self._scopes: dict[int, trio.CancelScope] = {}
        """Of the task that each call under way has."""
        self._resting: list[trio.lowlevel.Task] = []
        self._coming: bool = False
        """A task was woken or started, and has not run yet."""
        self._dismissed: bool = False

    def __len__(self) -> int:
        """How many calls are under way or wait to be begun."""
        return len(self._scopes) + len(self._waiting)

    def take(self, call_id: int, request: Request, nursery: trio.Nursery) -> None:
        """Answer a call soon, in a task of the nursery, which must be open."""
        self._waiting.append((call_id, request))
        self._dismissed = False
        self._send_for_one(nursery)

    def cancel(self, call_id: int) -> None:
        """Stop working on a call, if it is not answered yet."""
        scope = self._scopes.get(call_id)
        if scope is not None:
            scope.cancel()
        elif self._waiting:
            self._waiting = [call for call in self._waiting if call[0] != call_id]

    def shrink(self) -> None:
        """Send the resting tasks home."""
        self._dismissed = True
        while self._resting:
            trio.lowlevel.reschedule(self._resting.pop())

    def _send_for_one(self, nursery: trio.Nursery) -> None:
        """See to it that a task comes to what waits."""
        if self._coming:
            return
        self._coming = True
        if self._resting:
            trio.lowlevel.reschedule(self._resting.pop())
        else:
            nursery.start_soon(self._work, nursery)

    async def _work(self, nursery: trio.Nursery) -> None:
        """Answer calls until one is cancelled, or this task is not needed."""
        task = trio.lowlevel.current_task()

        def leave(_: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
            self._resting.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        with trio.CancelScope() as scope:
            while True:
                self._coming = False
                while self._waiting:
                    call_id, request = self._waiting.pop(0)
                    if self._waiting:
                        self._send_for_one(nursery)
                    self._scopes[call_id] = scope
                    try:
                        await self._answer(call_id, request)
                    finally:
                        del self._scopes[call_id]
                    if scope.cancel_called:  # the call was given up; so is this task
                        return
                self._on_rest()
                if self._dismissed or len(self._resting) >= RESTING_MAX:
                    return
                self._resting.append(task)
                await trio.lowlevel.wait_task_rescheduled(leave)
