"""How long a suspect may refute, shrinking as independent accusers confirm (Lifeguard).

The deadline falls from `max_s` to `min_s` with the logarithm of the number of confirmations, as
in memberlist's `remainingSuspicionTime`: a wrong accusation by one slow node waits long, one that
everybody shares is over quickly.
"""

from dataclasses import dataclass, replace
from math import log, log10

from meshnode.gossip.settings import GossipSettings
from meshnode.ids import NodeTag


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspicion:
    """One member under suspicion. A value: `confirm` returns a new one."""

    started_at: float
    min_s: float
    max_s: float
    confirmations_wanted: int
    accusers: frozenset[NodeTag]

    def deadline(self) -> float:
        """Return when the suspect is declared dead unless it refutes."""
        if self.confirmations_wanted < 1:
            return self.started_at + self.min_s
        confirmed = min(len(self.accusers) - 1, self.confirmations_wanted)
        share = log(confirmed + 1) / log(self.confirmations_wanted + 1)
        return self.started_at + max(self.min_s, self.max_s - share * (self.max_s - self.min_s))

    def confirm(self, accuser: NodeTag) -> "Suspicion":
        """Return this suspicion with one more accuser; the same accuser counts once."""
        if accuser in self.accusers or len(self.accusers) > self.confirmations_wanted:
            return self
        return replace(self, accusers=self.accusers | {accuser})

    def delayed(self, by_s: float) -> "Suspicion":
        """Return this suspicion with time given back that we slept through ourselves."""
        return replace(self, started_at=self.started_at + by_s)


def suspect_from(
    now: float, *, accuser: NodeTag, cluster_size: int, settings: GossipSettings
) -> Suspicion:
    """Return a new suspicion; `cluster_size` counts everyone present, ourselves included.

    With too few others to confirm it, the shortest time applies at once.
    """
    wanted = settings.suspicion_mult - 2
    min_s = settings.suspicion_mult * max(1.0, log10(max(1, cluster_size)))
    min_s *= settings.probe_every_s
    return Suspicion(
        started_at=now,
        min_s=min_s,
        max_s=min_s * settings.suspicion_max_mult,
        confirmations_wanted=wanted if cluster_size - 2 >= wanted else 0,
        accusers=frozenset({accuser}),
    )
