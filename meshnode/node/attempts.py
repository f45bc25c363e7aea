"""Attempts: what became of a request at each node that it was given to, and how that is told."""

from collections.abc import Sequence
from dataclasses import dataclass

import trio

from meshnode.errors import NoCandidate
from meshnode.ids import NodeId
from meshnode.node.overdue import Sending
from meshnode.placement.constraints import told


@dataclass(frozen=True, slots=True)
class Attempt:
    """One node that a request was given to."""

    node: NodeId
    name: str
    predicted_ms: float
    took_ms: float
    outcome: str
    """"ok", or the code and message of the failure."""


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


def attempt_at(sending: Sending, started: float, outcome: str) -> Attempt:
    """Return what became of a request that a node was given at `started`."""
    return Attempt(
        node=sending.node,
        name=sending.name,
        predicted_ms=sending.predicted_ms,
        took_ms=(trio.current_time() - started) * 1000,
        outcome=outcome,
    )


def line_of(attempt: Attempt) -> str:
    """Return the line of an error about one attempt."""
    promised = f", predicted {attempt.predicted_ms:.0f} ms"
    return f"{attempt.name}: {attempt.outcome} after {attempt.took_ms:.0f} ms{promised}"
