"""How long a suspect may refute, shrinking as independent accusers confirm (Lifeguard).

The deadline falls from `max_s` to `min_s` with the logarithm of the number of confirmations, as
in memberlist's `remainingSuspicionTime`: a wrong accusation by one slow node waits long, one that
everybody shares is over quickly.
"""

from dataclasses import dataclass, replace
from math import log, log10

from meshnode.gossip.settings import GossipSettings
from meshnode.ids import NodeTag
from meshnode.wire.membership import Accusation


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspicion:
    """One member under suspicion. A value: `confirm` returns a new one."""

    started_at: float
    min_s: float
    max_s: float
    confirmations_wanted: int
    accusations: tuple[Accusation, ...]
    """One of each accuser, all verified."""

    def deadline(self) -> float:
        """Return when the suspect is declared dead unless it refutes."""
        if self.confirmations_wanted < 1:
            return self.started_at + self.min_s
        confirmed = min(len(self.accusations) - 1, self.confirmations_wanted)
        share = log(confirmed + 1) / log(self.confirmations_wanted + 1)
        return self.started_at + max(self.min_s, self.max_s - share * (self.max_s - self.min_s))

    def wants(self, accuser: NodeTag) -> bool:
        """Return whether a word of this accuser would still change anything."""
        return len(self.accusations) <= self.confirmations_wanted and all(
            a.accuser != accuser for a in self.accusations
        )

    def confirm(self, accusation: Accusation) -> "Suspicion":
        """Return this suspicion with one more accuser; the same accuser counts once."""
        if not self.wants(accusation.accuser):
            return self
        return replace(self, accusations=(*self.accusations, accusation))


def suspect_from(
    now: float,
    accusation: Accusation,
    *,
    cluster_size: int,
    settings: GossipSettings,
    patience: float = 1.0,
) -> Suspicion:
    """Return a new suspicion; `cluster_size` counts everyone present, ourselves included.

    With too few others to confirm it, the shortest time applies at once. With `patience` that is
    so many times as long: the suspect has refuted before, so it is rather slow than dead.
    """
    wanted = settings.suspicion_mult - 2
    min_s = settings.suspicion_mult * max(1.0, log10(max(1, cluster_size)))
    min_s *= settings.probe_every_s
    shrinks = settings.shrinking_suspicion and cluster_size - 2 >= wanted
    return Suspicion(
        started_at=now,
        min_s=min_s * patience,
        max_s=min_s * max(patience, settings.suspicion_max_mult),
        confirmations_wanted=wanted if shrinks else 0,
        accusations=(accusation,),
    )
