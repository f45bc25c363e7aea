"""The two-step stop of every long-running verb: the first signal drains, the second ends."""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class Stopping:
    """Whether the process was asked to stop, and how."""

    def __init__(self) -> None:
        self._asked = trio.Event()
        self.hurried = False
        """A second signal came: nothing is waited for any more."""

    def ask(self) -> None:
        """Ask to drain and stop."""
        self._asked.set()

    @property
    def asked(self) -> bool:
        """Whether a stop was asked for."""
        return self._asked.is_set()

    async def wait(self) -> None:
        """Return when a stop is asked for."""
        await self._asked.wait()


@asynccontextmanager
async def stop_on_signals() -> AsyncIterator[Stopping]:
    """Yield a Stopping that SIGTERM and SIGINT ask; a second signal cancels the block."""
    stopping = Stopping()
    async with trio.open_nursery() as nursery:
        await nursery.start(_watch, stopping, nursery.cancel_scope)
        yield stopping
        nursery.cancel_scope.cancel()


async def _watch(
    stopping: Stopping,
    scope: trio.CancelScope,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            if stopping.asked:
                stopping.hurried = True
                scope.cancel()
                return
            stopping.ask()
