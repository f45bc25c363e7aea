"""Attempts: a request on its way, what became of it at each node, and how that is told."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import trio

from meshnode.constraints import Scope
from meshnode.errors import MeshnodeError, NoCandidate, PromiseBroken
from meshnode.ids import NodeId
from meshnode.modules.manifest import Manifest
from meshnode.node.overdue import Sending
from meshnode.node.visits import Visit, kinder
from meshnode.placement.choose import Decision
from meshnode.placement.constraints import told
from meshnode.placement.course import Course
from meshnode.wire.messages import Predict, Prediction


@dataclass(frozen=True, slots=True)
class Attempt:
    """One node that a request was given to."""

    node: NodeId
    name: str
    predicted_ms: float
    took_ms: float
    outcome: str
    """"ok", or the code and message of the failure."""


@dataclass(slots=True)
class Job:
    """A request on its way, and what became of it so far."""

    request: Predict
    manifest: Manifest
    explain: bool
    visit: Visit
    course: Course = field(default_factory=Course)
    attempts: list[Attempt] = field(default_factory=list)
    last: MeshnodeError | None = None
    patient: bool = False
    """See `Sending`."""
    at: NodeId | None = None
    """Who was given it last."""

    @property
    def direct(self) -> bool:
        """Whether its inputs may not pass a relay: they are not for every member."""
        both = self.request.constraints.joined(self.manifest.constraints)
        return both.data is not Scope.MESH

    def failed(self, node: NodeId, error: MeshnodeError) -> None:
        """A node did not answer it; another may."""
        self.last = kinder(self.last, error)
        self.patient = self.patient or isinstance(error, PromiseBroken)
        self.course.failed(node, error)


@dataclass(slots=True)
class Placed:
    """An answer and the way to it."""

    prediction: Prediction
    attempts: list[Attempt] = field(default_factory=list)
    decision: Decision | None = None
    """Made only where it was asked for, or where a failure or a refusal needed it."""


def no_candidate(
    reasons: Sequence[tuple[str, str]], attempts: Sequence[Attempt] = ()
) -> NoCandidate:
    """Return the error that lists why each node cannot run the module."""
    because = [line_of(a) for a in attempts] + told(reasons)
    return NoCandidate(
        "no node can run this module now",
        because=because or ["no node is known"],
        try_="meshnode peers",
    )


def attempt_at(
    sending: Sending, started: float, outcome: str, took_ms: float | None = None
) -> Attempt:
    """Return what became of a request that a node was given at `started`; until now if not told."""
    until_now_ms = (trio.current_time() - started) * 1000
    return Attempt(
        node=sending.node,
        name=sending.name,
        predicted_ms=sending.predicted_ms,
        took_ms=until_now_ms if took_ms is None else took_ms,
        outcome=outcome,
    )


def line_of(attempt: Attempt) -> str:
    """Return the line of an error about one attempt."""
    promised = f", predicted {attempt.predicted_ms:.0f} ms"
    return f"{attempt.name}: {attempt.outcome} after {attempt.took_ms:.0f} ms{promised}"
