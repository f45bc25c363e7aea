"""A simulated node's clocks and its share of a processor: both may be wrong or slow."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

UNIX_START_S = 1_700_000_000.0
"""What the wall clocks of all nodes say at virtual second 0, before their skew."""


@dataclass(slots=True)
class Clock:
    """What a node takes for `now`: an own origin, a rate that is a little off, and jumps.

    The machines' clock never runs backwards, as a monotonic clock does not. The wall clock may say
    anything; only records' sequence numbers and certificates are made with it.
    """

    offset_s: float = 0.0
    """Added to the world's time."""
    rate: float = 1.0
    """Own seconds in a second of the world."""
    unix_skew_s: float = 0.0
    """Error of the wall clock; may be changed at any time."""

    def local(self, when: float) -> float:
        """Return what this clock says when the world's time is `when`."""
        return self.offset_s + when * self.rate

    def world(self, local: float) -> float:
        """Return the world's time at which this clock says `local`."""
        return (local - self.offset_s) / self.rate

    def unix(self, when: float) -> float:
        """Return the node's wall-clock time, Unix seconds."""
        return UNIX_START_S + when + self.unix_skew_s

    def jump(self, by_s: float) -> None:
        """Move the machines' clock forward, as after a suspended machine wakes up."""
        if by_s < 0:
            raise ValueError("a monotonic clock does not run backwards")
        self.offset_s += by_s


@dataclass(slots=True, eq=False)
class Pace:
    """How soon a node serves what is due: a starved process serves it late, all at once."""

    stalled_until: float = 0.0
    """World time before which nothing is served."""
    each_s: float = 0.0
    """Processor time that every input takes; 0 is a machine without limits."""
    backlog_max: int = 4096
    """Inputs that wait, as packets in a socket's buffer; more are dropped."""
    dropped: int = 0
    waiting: deque[tuple[Any, int, Any]] = field(default_factory=deque)
    """What is due and not served: slot, order and event, as in the world's heap."""

    def stall(self, until: float) -> None:
        """Serve nothing before `until`, world time."""
        self.stalled_until = max(self.stalled_until, until)
