"""How urgent a request is: the place that it should have among others that wait.

Advice of its sender, and worth only so much to a liar: see `batching/line.py` for the bounds.
"""

from dataclasses import dataclass

INTERACTIVE, NORMAL, BATCH = range(3)
PRIORITIES = ("interactive", "normal", "batch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Haste:
    """How much of a hurry a client is in, as it said itself."""

    priority: str = ""
    """One of `PRIORITIES`; empty: normal."""
    hedge_ms: int | None = None
    """After how long without an answer a second node is asked too; 0: never; None: as the node
    does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Urgency:
    """What goes with a request wherever it is sent."""

    priority: int = NORMAL
    """An index of `PRIORITIES`."""
    age_ms: int = 0
    """How long it has been in the mesh already."""


USUAL = Urgency()
NO_HASTE = Haste()
