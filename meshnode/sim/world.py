"""World: an agenda of future inputs, a virtual clock, and any number of machines. One thread, one
order, no real clock: the same inputs give the same run.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from meshnode.machine import Machine
from meshnode.sim.agenda import Agenda
from meshnode.sim.clocks import Clock, Pace
from meshnode.sim.memo import remembered_signatures

InputT = TypeVar("InputT")
EffectT = TypeVar("EffectT")
Act = Callable[[], object]
YOUNG_MAX = 50_000
"""Objects made, and not dropped, between two looks for cycles. Python's own 700 are made by a few
dozen packets, of which nearly none is in a cycle: looking took a tenth of a run of 2,000 nodes."""


class Slot(Generic[InputT, EffectT]):
    """One machine in the world: who performs its effects, its clock, and its armed timer."""

    __slots__ = (
        "armed",
        "clock",
        "gone",
        "handle",
        "machine",
        "next_timer",
        "pace",
        "perform",
        "ticket",
    )

    def __init__(
        self,
        machine: Machine[InputT, EffectT],
        perform: Callable[[EffectT], None],
        clock: Clock | None,
        pace: Pace | None,
    ) -> None:
        self.machine = machine
        self.handle = machine.handle
        self.next_timer = machine.next_timer
        self.perform = perform
        self.clock = clock
        self.pace = pace
        self.armed: float | None = None
        """What `next_timer` said last, on the machine's own clock."""
        self.ticket = -1
        """The heap entry that is the timer; earlier ones are void."""
        self.gone = False


class World(Generic[InputT, EffectT]):
    """Runs machines in virtual time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.steps = 0
        """Inputs handled and timers served since the beginning."""
        self.after_step: Callable[[Machine[InputT, EffectT]], None] | None = None
        """Called with each machine that took a step: where invariants are checked."""
        self._due: Agenda[tuple[Slot[InputT, EffectT] | None, Any]] = Agenda()
        """Slots and events; event None is the slot's timer, slot None an action of the scenario."""
        self._order = 0
        self._slots: dict[int, Slot[InputT, EffectT]] = {}
        self._gone: list[Machine[InputT, EffectT]] = []

    def add(
        self,
        machine: Machine[InputT, EffectT],
        perform: Callable[[EffectT], None],
        *,
        clock: Clock | None = None,
        pace: Pace | None = None,
    ) -> Slot[InputT, EffectT]:
        """Start a machine; without a clock it has the world's, without a pace it is never late."""
        slot = self._slots[id(machine)] = Slot(machine, perform, clock, pace)
        self._arm(slot)
        return slot

    def remove(self, machine: Machine[InputT, EffectT]) -> None:
        """Stop a machine: what is still due for it is dropped, as on a crash."""
        slot = self._slots.pop(id(machine), None)
        if slot is not None:
            slot.gone = True
        self._gone.append(machine)  # held, so that its id() is not given to another

    def at(self, when: float, machine: Machine[InputT, EffectT], event: InputT) -> None:
        """Give a machine an input at a time of the world; dropped if it is gone by then."""
        slot = self._slots.get(id(machine))
        if slot is not None:
            self.give(when, slot, event)

    def give(self, when: float, slot: Slot[InputT, EffectT], event: InputT) -> None:
        """As `at`, for who has the slot in hand."""
        self._order += 1
        self._due.push(when, self._order, (slot, event))

    def call(self, when: float, act: Act) -> None:
        """Do something at a time of the world: a fault, a check, a request from outside."""
        self._order += 1
        self._due.push(when, self._order, (None, act))

    @property
    def due(self) -> int:
        """How many inputs, timers and actions lie ahead."""
        return len(self._due)

    def rearm(self, machine: Machine[InputT, EffectT]) -> None:
        """Look at a machine's timer again, because its clock has jumped."""
        slot = self._slots.get(id(machine))
        if slot is not None:
            slot.armed = None
            self._arm(slot)

    def run(self, until: float = float("inf"), steps_max: int = 1_000_000_000) -> int:
        """Run up to and with `until`, or until nothing is due; return how many steps it took."""
        began = self.steps
        with remembered_signatures(), _rare_collections():
            self._run(until, began + steps_max)
        if until != float("inf"):
            self.now = max(self.now, until)
        return self.steps - began

    def _run(self, until: float, steps_max: int) -> None:
        pop = self._due.pop
        while (entry := pop(until)) is not None:
            self.now, order, (slot, event) = entry
            if slot is None:
                event()
            elif not slot.gone and (event is not None or slot.ticket == order):
                if slot.pace is None:
                    self._serve(slot, event)
                else:
                    self._step(slot.pace, slot, order, event)
                assert self.steps < steps_max, "the world does not come to rest"

    def _step(self, pace: Pace, slot: Slot[InputT, EffectT], order: int, event: object) -> None:
        """Serve one input or timer now, or put it in line if the node has no time for it."""
        if not pace.waiting and pace.stalled_until <= self.now:
            self._serve(slot, event)
            if pace.each_s:
                pace.stall(self.now + pace.each_s)
        elif event is not None and len(pace.waiting) >= pace.backlog_max:
            pace.dropped += 1
        else:
            if event is None and pace.timers_first:
                pace.waiting.appendleft((slot, order, event))
            else:
                pace.waiting.append((slot, order, event))
            if len(pace.waiting) == 1:
                self.call(pace.stalled_until, lambda: self._catch_up(pace))

    def _catch_up(self, pace: Pace) -> None:
        """Serve what waited, in order, as far as the node's processor allows."""
        while pace.waiting:
            if pace.stalled_until > self.now:
                self.call(pace.stalled_until, lambda: self._catch_up(pace))
                return
            slot, order, event = pace.waiting.popleft()
            if not slot.gone and (event is not None or slot.ticket == order):
                self._serve(slot, event)
                pace.stall(self.now + pace.each_s)

    def _serve(self, slot: Slot[InputT, EffectT], event: object) -> None:
        """Give a machine its input or its timer, and perform what it asks for."""
        now, perform = self.now, slot.perform
        if slot.clock is not None:
            now = slot.clock.local(now)
        self.steps += 1
        if event is None:
            if slot.armed is not None and slot.armed > now:
                now = slot.armed  # rounding must not bring a timer early for ever
            slot.armed = None
            for effect in slot.machine.tick(now):
                perform(effect)
            timer = slot.next_timer()
            assert timer is None or timer > now, "stuck timer"
        else:
            for effect in slot.handle(event, now):  # type: ignore[arg-type]  # `give` took an InputT
                perform(effect)
            timer = slot.next_timer()
        if timer != slot.armed:
            self._arm_at(slot, timer)
        if self.after_step is not None:
            self.after_step(slot.machine)

    def _arm(self, slot: Slot[InputT, EffectT]) -> None:
        self._arm_at(slot, slot.machine.next_timer())

    def _arm_at(self, slot: Slot[InputT, EffectT], timer: float | None) -> None:
        slot.armed = timer
        slot.ticket = -1
        if timer is not None:
            when = timer if slot.clock is None else slot.clock.world(timer)
            self._order += 1
            slot.ticket = self._order
            self._due.push(max(when, self.now), self._order, (slot, None))


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Look for cycles of garbage seldom within this, but look: a run's memory stays bounded."""
    thresholds = gc.get_threshold()
    gc.set_threshold(max(YOUNG_MAX, thresholds[0]) if thresholds[0] else 0, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
