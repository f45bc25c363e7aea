"""Driver: runs any machine under trio. The only loop of its kind in the project.

Inputs are handled where they arrive (a datagram, a call, a command), without a queue or a task
switch in between: a machine's `handle` takes microseconds and its effects are quick by rule, so
an inbox would only add waiting. The one task here serves the machine's timer.
"""

import logging
from collections import deque
from collections.abc import Callable
from math import inf
from typing import Generic, TypeVar

import trio

from meshnode.machine import Machine

InputT = TypeVar("InputT")
EffectT = TypeVar("EffectT")

_log = logging.getLogger(__name__)


class Driver(Generic[InputT, EffectT]):
    """One machine, its timer, and what performs its effects."""

    def __init__(
        self, machine: Machine[InputT, EffectT], perform: Callable[[EffectT], None]
    ) -> None:
        self._machine = machine
        self._perform = perform
        self._effects: deque[EffectT] = deque()
        self._performing = False
        self._armed: float | None = None
        self._moved = trio.Event()

    def handle(self, event: InputT) -> None:
        """Give the machine one input and perform what it asks for.

        An effect that leads to another input of the same machine is safe: effects are performed
        in order, the outermost call does the work.
        """
        self._effects.extend(self._machine.handle(event, trio.current_time()))
        self._drain()

    async def run(self) -> None:
        """Serve the machine's timer until cancelled."""
        while True:
            self._armed = self._machine.next_timer()
            self._moved = trio.Event()
            with trio.move_on_at(inf if self._armed is None else self._armed):
                await self._moved.wait()
            now = trio.current_time()
            if self._armed is not None and now >= self._armed:
                self._effects.extend(self._machine.tick(now))
                self._drain()

    def _drain(self) -> None:
        if not self._performing:
            self._performing = True
            try:
                while self._effects:
                    self._perform(self._effects.popleft())
            finally:
                self._performing = False
        timer = self._machine.next_timer()
        if timer is not None and (self._armed is None or timer < self._armed):
            self._moved.set()


def deliver_safely(handle: Callable[[InputT], None]) -> Callable[[InputT], None]:
    """Wrap the delivery of what strangers send: a bug met there is logged and does not end us.

    The one place of its kind below the doors. Machines promise to raise nothing because of a
    message; where one breaks that promise, a peer must not be able to stop the node with it.
    """

    def deliver(event: InputT) -> None:
        try:
            handle(event)
        except Exception:
            _log.exception("a machine failed on a message; it was dropped")

    return deliver
