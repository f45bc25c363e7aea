"""Whether this node can be connected to, from what its peers found when they tried.

One peer may be wrong, lie, or sit on our own LAN; so the latest word of each counts once, for half
an hour, and the many decide (AutoNAT of libp2p does the same with three).
"""

from dataclasses import dataclass
from enum import Enum

from meshnode.ids import PublicKey

LASTS_S = 1800.0
PEERS_MAX = 16
FAILURES_MIN = 2
"""So many must fail to connect before a node takes itself for unreachable, if there are so many."""


class Standing(Enum):
    """What a node knows of its own reachability."""

    UNKNOWN = "unknown"
    REACHABLE = "reachable"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one peer found."""

    reached: bool
    because: str
    at: float


class Verdicts:
    """The latest verdict of each peer that was asked."""

    def __init__(self) -> None:
        self._by: dict[PublicKey, Verdict] = {}

    def note(self, peer: PublicKey, *, reached: bool, because: str, now: float) -> None:
        """Take what a peer found; the oldest goes when there are too many."""
        self._by.pop(peer, None)
        self._by[peer] = Verdict(reached, because, now)
        if len(self._by) > PEERS_MAX:
            del self._by[next(iter(self._by))]

    def standing(self, now: float, *, askable: int) -> Standing:
        """Return what follows; `askable` is how many peers there are to ask at all."""
        fresh = self._fresh(now)
        reached = sum(v.reached for v in fresh)
        failed = len(fresh) - reached
        if reached and reached >= failed:
            return Standing.REACHABLE
        if failed >= min(FAILURES_MIN, max(1, askable)):
            return Standing.UNREACHABLE
        return Standing.UNKNOWN

    def reasons(self, now: float) -> tuple[str, ...]:
        """Return why peers failed, each reason once."""
        return tuple(dict.fromkeys(v.because for v in self._fresh(now) if not v.reached))

    def _fresh(self, now: float) -> list[Verdict]:
        return [v for v in self._by.values() if now - v.at < LASTS_S]
