"""The simulator: a heap of future inputs, a virtual clock, and any number of machines."""

import heapq
from collections.abc import Callable
from itertools import count
from typing import Generic, TypeVar

from meshnode.machine import Machine

InputT = TypeVar("InputT")
EffectT = TypeVar("EffectT")


class World(Generic[InputT, EffectT]):
    """Runs machines in virtual time. One thread, one order, no real clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Machine[InputT, EffectT], InputT | None]] = []
        self._order = count()
        self._perform: dict[int, Callable[[EffectT], None]] = {}
        self._armed: dict[int, float | None] = {}
        self._gone: list[Machine[InputT, EffectT]] = []

    def add(self, machine: Machine[InputT, EffectT], perform: Callable[[EffectT], None]) -> None:
        self._perform[id(machine)] = perform
        self._arm(machine)

    def remove(self, machine: Machine[InputT, EffectT]) -> None:
        """Stop a machine: what is still due for it is dropped, as on a crash."""
        self._perform.pop(id(machine), None)
        self._armed.pop(id(machine), None)
        self._gone.append(machine)  # held, so that its id() is not given to another

    def at(self, when: float, machine: Machine[InputT, EffectT], event: InputT | None) -> None:
        heapq.heappush(self._due, (when, next(self._order), machine, event))

    def run(self, until: float = float("inf"), steps_max: int = 1_000_000) -> int:
        steps = 0
        while self._due and self._due[0][0] <= until:
            self.now, _, machine, event = heapq.heappop(self._due)
            if id(machine) not in self._perform:
                continue  # it was removed
            if event is None and self._armed.get(id(machine)) != self.now:
                continue  # a timer the machine has since moved
            step = machine.tick(self.now) if event is None else machine.handle(event, self.now)
            for effect in step:
                self._perform[id(machine)](effect)
            timer = machine.next_timer()
            assert event is not None or timer is None or timer > self.now, "stuck timer"
            self._arm(machine)
            steps += 1
            assert steps < steps_max, "the world does not come to rest"
        if until != float("inf"):
            self.now = max(self.now, until)
        return steps

    def _arm(self, machine: Machine[InputT, EffectT]) -> None:
        timer = machine.next_timer()
        if timer is not None:
            timer = max(timer, self.now)
            if timer != self._armed.get(id(machine)):
                self.at(timer, machine, None)
        self._armed[id(machine)] = timer
