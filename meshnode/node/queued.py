"""Queued: one request in a lane, whom it is from, and what became of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Protocol, TypeAlias

import numpy as np
import trio

from meshnode.batching.events import NORMAL, Refuse
from meshnode.batching.fairness import NO_FLOW, Flow
from meshnode.errors import DeadlineExceeded, MeshnodeError, Overloaded, OverShare, TooLate
from meshnode.wire.messages import Timing

Arrays: TypeAlias = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a lane gives back for one request."""

    arrays: Arrays
    timing: Timing
    batch: int


class Keeper(Protocol):
    """Told of a request's run, so that it outlives whoever asked for it."""

    def began(self) -> None:
        """It runs: from now on it has an outcome, whoever waits for it."""
        ...

    def ended(self, outcome: Answer | MeshnodeError) -> None:
        """It is over, and whoever asked had left before."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Who a request is from, and where in the queue it belongs."""

    source: str = ""
    flow: Flow = NO_FLOW
    """Who shares run time with whom; see `batching/fairness.py`."""
    priority: int = NORMAL
    age_s: float = 0.0
    """How long it has been in the mesh, as its sender says."""
    movable: bool = False
    """It may be given to an idle node."""
    keeper: Keeper | None = None


ANYBODY = Asker()


@dataclass(slots=True, eq=False)
class Queued:
    """One request in a lane."""

    arrays: Arrays
    run_by: float
    queued_at: float
    asker: Asker
    rows: int = 1
    done: trio.Event = field(default_factory=trio.Event)
    started: bool = False
    left: bool = False
    """Whoever asked has left."""
    gone: bool = False
    """And nobody keeps the answer; read by the worker's thread."""
    outcome: Arrays | MeshnodeError | None = None
    timing: Timing = field(default_factory=Timing)
    batch: int = 0

    def begin(self) -> None:
        """It runs."""
        self.started = True
        if self.asker.keeper is not None:
            self.asker.keeper.began()

    def finish(self, outcome: Arrays | MeshnodeError) -> None:
        """Wake the one who waits, once."""
        if self.outcome is not None:
            return
        self.outcome = outcome
        self.done.set()
        if self.left and self.asker.keeper is not None:
            ended = outcome if isinstance(outcome, MeshnodeError) else self.answer()
            self.asker.keeper.ended(ended)

    def leave(self) -> None:
        """Whoever asked is gone; what runs is not wanted then, unless it is kept."""
        self.left = True
        self.gone = not self.started or self.asker.keeper is None

    def answer(self) -> Answer:
        """Return the answer, or raise what went wrong."""
        if isinstance(self.outcome, MeshnodeError):
            raise self.outcome
        assert self.outcome is not None, "a request is woken only with an outcome"
        return Answer(self.outcome, self.timing, self.batch)


def late() -> DeadlineExceeded:
    """Return the error of a request whose time passed in a queue."""
    return DeadlineExceeded("the deadline passed while the request waited its turn")


def too_late(needs_s: float, again_s: float | None, *, over: bool = False) -> Overloaded:
    """Return the error of a request that would be late if it ran now.

    `over`: its source had more than its share lately, so that it is not for others to make room.
    """
    error = (OverShare if over else TooLate)(
        "the request waited here until it could not be done in time any more",
        because=[f"it would take about {needs_s * 1000:.0f} ms"],
    )
    error.retry_after_ms = in_ms(again_s)
    return error


def refused(effect: Refuse, *, over: bool) -> Overloaded:
    """Return the error of a request that is not taken; see `too_late`."""
    kind = OverShare if over else Overloaded
    if effect.expected_s is None:
        error = kind("the queue of this module is full here")
    else:
        error = kind(
            "the queue of this module is too long here for the request's deadline",
            because=[f"it would be done in about {effect.expected_s * 1000:.0f} ms"],
        )
    error.retry_after_ms = in_ms(effect.again_s)
    return error


def in_ms(seconds: float | None) -> int | None:
    """Return whole milliseconds, rounded up; None stays None."""
    return None if seconds is None else ceil(seconds * 1000)
