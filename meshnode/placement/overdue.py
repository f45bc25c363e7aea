"""What to think of a node whose answer is late: ask whether it lives, then whether it keeps word.

A silent node is found by a ping when its answer is overdue, long before a timeout; one that lives
but breaks its promise twice is avoided for a while, by this node alone (placement.md section 2).
Hedging finds both later and is load.
"""

from dataclasses import dataclass
from enum import Enum

from meshnode.placement.settings import PlacementSettings


class Verdict(Enum):
    """What is due for a request that waits."""

    WAIT = "wait"
    PING = "ping"
    """Ask the node whether it lives, and for a fresh record."""
    STRIKE = "strike"
    """It lives and broke two promises: fail over, and avoid it here."""


@dataclass(slots=True)
class Watch:
    """One request at another node: when its answer is due, and how often it was not there."""

    due_at: float
    broken: int = 0
    pinged: bool = False

    def verdict(self, now: float, settings: PlacementSettings) -> Verdict:
        """Return what is due now; PING is said once for each promise."""
        if self.pinged or now < self.due_at:
            return Verdict.WAIT
        self.broken += 1
        if self.broken >= settings.broken_max:
            return Verdict.STRIKE
        self.pinged = True
        return Verdict.PING

    def alive(self, remaining_ms: float, now: float, settings: PlacementSettings) -> None:
        """The node answered the ping; its record says it still needs `remaining_ms`."""
        grace_ms = settings.overdue_ms * 2**self.broken
        self.due_at = now + (remaining_ms + grace_ms) / 1000
        self.pinged = False


def watch(promised_ms: float, now: float, settings: PlacementSettings) -> Watch:
    """Return the watch over a request that was sent now with this prediction."""
    return Watch(due_at=now + (promised_ms + settings.overdue_ms) / 1000)


def ping_timeout_s(rtt_ms: float | None, settings: PlacementSettings) -> float:
    """Return after how many seconds of silence a pinged node has failed: 2 RTT + 10 ms."""
    rtt_ms = settings.rtt_prior_ms if rtt_ms is None else rtt_ms
    return (2 * rtt_ms + settings.ping_slack_ms) / 1000
