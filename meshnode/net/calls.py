"""The calls one side of a connection has made and waits for, each until its deadline.

A call waits with one trap of trio and no cancel scope of its own: entering and leaving a scope is
a fifth of a small call. The deadlines are kept by the connection's watch.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import trio

from meshnode.errors import DeadlineExceeded, MeshnodeError
from meshnode.wire.messages import Reply


@dataclass(slots=True, eq=False)
class Call:
    """One call; only the first `end` counts."""

    deadline: float
    """In trio's time; inf if it has none."""
    reply: Reply | None = None
    error: MeshnodeError | None = None
    _task: trio.lowlevel.Task | None = None

    @property
    def ended(self) -> bool:
        """Whether the answer, or the reason why there is none, is here."""
        return self.reply is not None or self.error is not None

    def end(self, *, reply: Reply | None = None, error: MeshnodeError | None = None) -> None:
        """Give the caller its answer."""
        if self.reply is None and self.error is None:
            self.reply, self.error = reply, error
            if self._task is not None:
                trio.lowlevel.reschedule(self._task)
                self._task = None

    async def wait(self) -> Reply:
        """Return the reply, or raise what the call ended with. Cancelled, it leaves no waiter."""
        if self.reply is None and self.error is None:
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._give_up)
        if self.reply is None:
            assert self.error is not None, "a call that ended has a reply or an error"
            raise self.error
        return self.reply

    def _give_up(self, _: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED


def deadlines(calls: dict[int, Call]) -> Iterator[float]:
    """Yield when the calls that still wait must end."""
    return (call.deadline for call in calls.values() if not call.ended)


def end_overdue(calls: dict[int, Call], now: float, peer: str) -> None:
    """End each call whose deadline has come."""
    for call in calls.values():
        if call.deadline <= now:
            call.end(error=DeadlineExceeded(f"no answer from {peer} in time"))
