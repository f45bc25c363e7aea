"""What a batcher is told, and what it asks for."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TypeAlias

from meshnode.batching.fairness import NO_FLOW, Flow
from meshnode.ids import RequestId

NORMAL = 1


@dataclass(frozen=True, slots=True)
class Offer:
    """Input: a request arrived; it must have started by `run_by` (the machine's clock, s)."""

    request_id: RequestId
    run_by: float
    rows: int = 1
    """Its size along the batch axis."""
    size: int = 0
    """Bytes it takes in a batch, outputs included."""
    kind: Hashable = None
    """Only requests of one kind run together. Whatever tells them apart: shapes, a source."""
    family: Hashable = None
    """Kinds of one family take the same time: they share a curve. The kind without its source."""
    flow: Flow = NO_FLOW
    """Who asks; run time is shared out among them when not all can be held."""
    priority: int = NORMAL
    """0 interactive, 1 normal, 2 batch."""
    age_s: float = 0.0
    """How long it has been in the mesh, as its sender says; bounded in the order of the line."""


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Input: whoever asked is gone; forget the request if it has not started."""

    request_id: RequestId


@dataclass(frozen=True, slots=True)
class RunFinished:
    """Input: the batch that was running is done."""

    took_s: float | None = None
    """From its start to its end; None if it says nothing about the next one (it failed)."""


@dataclass(frozen=True, slots=True)
class Run:
    """Effect: run these together now."""

    request_ids: tuple[RequestId, ...]


@dataclass(frozen=True, slots=True)
class Refuse:
    """Effect: this one is not taken."""

    request_id: RequestId
    expected_s: float | None = None
    """When it would have been done, counted from now: later than its `run_by`. None: no room."""
    again_s: float | None = None
    """In how many seconds there will be a place for it; None if nobody knows."""


@dataclass(frozen=True, slots=True)
class Expire:
    """Effect: this one's time to start has passed."""

    request_id: RequestId


@dataclass(frozen=True, slots=True)
class Drop:
    """Effect: this one waited until it cannot be done in time any more."""

    request_id: RequestId
    needs_s: float
    """What it would take alone."""
    again_s: float | None = None


BatcherInput: TypeAlias = Offer | Withdraw | RunFinished
BatcherEffect: TypeAlias = Run | Refuse | Expire | Drop
