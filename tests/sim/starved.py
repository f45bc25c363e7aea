"""A node that gets little CPU: it runs for moments, and serves what waited in a burst.

Between those moments its socket fills and its timers pass. Whether it then reads the socket first
or serves the timers is its scheduler's choice, and here the seed's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from meshnode.gossip.machine import SwimEffect, SwimInput, SwimMachine
from meshnode.machine import Random


@dataclass(frozen=True, slots=True, kw_only=True)
class Starvation:
    """How long it stands still and how long it runs, drawn evenly between these, in seconds."""

    stands_min_s: float = 0.5
    stands_max_s: float = 5.0
    runs_min_s: float = 0.0
    runs_max_s: float = 0.005


class Starved:
    """A machine that is driven as a starved process would drive it."""

    def __init__(self, machine: SwimMachine, rng: Random, how: Starvation) -> None:
        self._machine = machine
        self._rng = rng
        self._how = how
        self._waiting: list[SwimInput] = []
        self._standing = False
        self._changes_at: float | None = None

    def handle(self, event: SwimInput, now: float) -> Sequence[SwimEffect]:
        if self._changes_at is None:
            self._changes_at = now + self._rng.uniform(self._how.runs_min_s, self._how.runs_max_s)
        if self._standing:
            self._waiting.append(event)
            return []
        return self._machine.handle(event, now)

    def tick(self, now: float) -> Sequence[SwimEffect]:
        if self._changes_at is not None and now >= self._changes_at:
            return self._turn(now)
        return [] if self._standing else self._machine.tick(now)

    def next_timer(self) -> float | None:
        timer = self._machine.next_timer()
        if self._standing or timer is None or self._changes_at is None:
            return self._changes_at
        return min(timer, self._changes_at)

    def _turn(self, now: float) -> Sequence[SwimEffect]:
        """Stand still from now on, or wake and serve what waited."""
        self._standing = not self._standing
        how = self._how
        if self._standing:
            self._changes_at = now + self._rng.uniform(how.stands_min_s, how.stands_max_s)
            return []
        self._changes_at = now + self._rng.uniform(how.runs_min_s, how.runs_max_s)
        effects: list[SwimEffect] = []
        if self._rng.random() < 0.5:
            effects += self._machine.tick(now)
        waiting, self._waiting = self._waiting, []
        for event in waiting:
            effects += self._machine.handle(event, now)
        return [*effects, *self._machine.tick(now)]
