"""Several ways to one node, tried beside each other: the first connection wins, the rest stop."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import trio

from meshnode.errors import InviteForeign, MeshnodeError, NotAMember, PeerUnreachable
from meshnode.net.addresses import why
from meshnode.net.connection import Connection
from meshnode.reach.steps import Step, Way

Try = Callable[[Step], Awaitable[Connection]]
"""Opens a connection one way. Cancelled, it leaves nothing open."""


@dataclass(slots=True)
class _Race:
    cancel: trio.CancelScope
    winner: tuple[Connection, Step] | None = None
    failures: dict[int, str] = field(default_factory=dict)
    impostor: str = ""
    """Another node than the expected one answered."""


async def race(steps: Sequence[Step], attempt: Try, *, each_s: float) -> tuple[Connection, Step]:
    """Return the first connection and the step that led to it.

    A step begins when its time has come, or as soon as all before it have failed; it may take
    `each_s`. Raises PeerUnreachable with a line for each step; its message is empty unless another
    node than the expected one answered. If it is cancelled, nothing stays
    open.
    """
    running = _Race(trio.CancelScope())
    try:
        if len(steps) == 1:  # a race of one needs no tasks
            await _run(0, steps[0], attempt, each_s, running, trio.Event())
        else:
            await _run_all(steps, attempt, each_s, running)
    except BaseException:
        _close_winner(running)
        raise
    if running.winner is not None:
        return running.winner
    lines = [running.failures[index] for index in sorted(running.failures)]
    raise PeerUnreachable(running.impostor, because=lines)


async def _run_all(steps: Sequence[Step], attempt: Try, each_s: float, running: _Race) -> None:
    with running.cancel:
        async with trio.open_nursery() as nursery:
            began = trio.current_time()
            before: list[trio.Event] = []
            for index, step in enumerate(steps):
                with trio.move_on_at(began + step.after_s):
                    for event in before:
                        await event.wait()
                if running.winner is not None:
                    break
                ended = trio.Event()
                nursery.start_soon(_run, index, step, attempt, each_s, running, ended)
                before.append(ended)


async def _run(
    index: int, step: Step, attempt: Try, each_s: float, running: _Race, ended: trio.Event
) -> None:
    name = str(step.address) if step.address is not None else step.way.value
    connection: Connection | None = None
    try:
        with trio.move_on_after(each_s) as scope:
            connection = await attempt(step)
        if scope.cancelled_caught:
            running.failures[index] = f"{name}: no answer within {each_s:g} s"
    except (NotAMember, InviteForeign) as error:
        running.failures[index] = f"it is not accepted here: {error.message}"
    except PeerUnreachable as error:
        running.failures[index] = f"{name}: {'; '.join(error.because or (error.message,))}"
        if step.way is Way.DIRECT and not error.because:
            running.impostor = error.message
    except MeshnodeError as error:
        running.failures[index] = f"{name}: {error.message}"
    except (OSError, UnicodeError, trio.BrokenResourceError) as error:
        running.failures[index] = f"{name}: {why(error)}"
    finally:
        if connection is not None:
            if running.winner is None:
                running.winner = (connection, step)
                running.cancel.cancel()
            elif step.way is not Way.CALL_BACK:
                connection.close("another way was faster")
        ended.set()


def _close_winner(running: _Race) -> None:
    if running.winner is not None and running.winner[1].way is not Way.CALL_BACK:
        running.winner[0].close("nobody waits for it any more")
