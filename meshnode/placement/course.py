"""Course: the way of one request among the nodes, as failures and refusals bend it.

A node that failed is not asked again. One that refused the price may be, if its fresh record still
makes it the best. One whose cold gate was closed is left alone until every other was asked.
"""

from dataclasses import dataclass, field
from math import inf, isfinite

from meshnode.errors import ColdHere, GivenUp, MeshnodeError, Overpriced
from meshnode.ids import NodeId, tag_of
from meshnode.placement.choose import Decision, Scored
from meshnode.placement.score import UNIT_MS
from meshnode.placement.settings import PlacementSettings
from meshnode.wire.terms import NO_ALTERNATIVE, Terms

ATTEMPTS_MAX = 5
"""A request fails at this many nodes at most; each failure excludes its node for a while."""
REFUSALS_MAX = 16
"""And is sent on this often by nodes that correct where it went. Prices, closed gates and idle
calls are bounded each; this bounds what hostile nodes can make of them."""


@dataclass(slots=True)
class Course:
    """What became of one request so far."""

    settings: PlacementSettings = field(default_factory=PlacementSettings)
    failures: int = 0
    refusals: int = 0
    cold_refusals: int = 0
    moved: bool = False
    _failed: set[NodeId] = field(default_factory=set)
    _cold: set[NodeId] = field(default_factory=set)
    _instead: bytes | None = None

    @property
    def avoided(self) -> set[NodeId]:
        """Who is not asked now."""
        return self._failed | self._cold

    @property
    def untouched(self) -> bool:
        """Whether nothing has bent it yet."""
        sent_on = self.refusals or self.cold_refusals or self.moved
        return not (self.failures or self._failed or sent_on)

    @property
    def undecided(self) -> bool:
        """Whether it goes wherever is best: nobody is avoided, no idle caller was named."""
        return not (self._failed or self._cold) and self._instead is None

    @property
    def is_over(self) -> bool:
        """Whether enough nodes were asked."""
        sent_on = self.refusals + self.cold_refusals + self.moved
        return self.failures >= ATTEMPTS_MAX or sent_on >= REFUSALS_MAX

    def avoid(self, node: NodeId) -> None:
        """Leave a node out: a copy of the request is there."""
        self._failed.add(node)

    def insist(self) -> bool:
        """Nobody is left to ask: return whether those with a closed gate are, and must open it."""
        if not self._cold:
            return False
        self._cold.clear()
        self.cold_refusals = self.settings.cold_refusals_max
        return True

    def next(self, decision: Decision) -> tuple[Scored, float]:
        """Return where to send it, and the prediction at the next best; infinite if none.

        A node that an idle caller named goes first, if it is a candidate.
        """
        ranked = decision.ranked
        best = ranked[0]
        if self._instead is not None:
            best = next((s for s in ranked if tag_of(s.node_id) == self._instead), best)
            self._instead = None
        second = next((s for s in ranked if s is not best), None)
        return best, inf if second is None else second.score.total_ms

    def terms(self, second_ms: float) -> Terms:
        """Return what goes with the request."""
        alternative = NO_ALTERNATIVE
        if isfinite(second_ms):
            alternative = min(NO_ALTERNATIVE - 1, max(0, round(second_ms / UNIT_MS)))
        return Terms(
            alternative=alternative,
            refusals=self.refusals,
            cold_refusals=self.cold_refusals,
            moved=self.moved,
        )

    def failed(self, node: NodeId, error: MeshnodeError) -> None:
        """A node did not answer it."""
        match error:
            case Overpriced() if self.refusals < self.settings.refusals_max:
                self.refusals += 1
            case ColdHere() if self.cold_refusals < self.settings.cold_refusals_max:
                self.cold_refusals += 1
                self._cold.add(node)
                if self.cold_refusals == self.settings.cold_refusals_max:
                    self._cold.clear()  # the next one asked has to load it
            case GivenUp() if not self.moved:
                self.moved = True
                self._instead = error.instead
            case _:
                self.failures += 1
                self._failed.add(node)
