"""A fake node behind a real control socket, in a thread of its own: blocking clients talk to it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

from meshnode.config.home import home_dir
from meshnode.gateway.control import serve_control
from tests.unit.gateway.fake_node import FakeNode


@contextmanager
def serving(home: Path, node: FakeNode) -> Iterator[list[str]]:
    """Serve `node` from `home`; the list grows by one when a client asks it to stop."""
    stops: list[str] = []
    ready, done = threading.Event(), trio.Event()
    tokens: list[trio.lowlevel.TrioToken] = []

    async def serve() -> None:
        tokens.append(trio.lowlevel.current_trio_token())
        async with trio.open_nursery() as nursery:
            path = home_dir(home, environ={}).control_socket

            async def control(task_status: trio.TaskStatus[None]) -> None:
                stop = lambda: stops.append("stop")  # noqa: E731
                await serve_control(node, path, stop=stop, task_status=task_status)

            await nursery.start(control)
            ready.set()
            await done.wait()
            nursery.cancel_scope.cancel()

    thread = threading.Thread(target=trio.run, args=[serve])
    thread.start()
    try:
        assert ready.wait(5)
        yield stops
    finally:
        tokens[0].run_sync_soon(done.set)
        thread.join(5)
