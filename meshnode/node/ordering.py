"""Ordering: the order in which a module's requests try nodes, and what that has to remember.

Pairs with `placement/affinity.py`. One for each node: a source's home must not move because two
requests of it were placed by different memories.
"""

from copy import deepcopy
from dataclasses import replace

from meshnode.ids import ContentHash, NodeId
from meshnode.machine import Random
from meshnode.modules.manifest import Manifest
from meshnode.placement.affinity import Affinity, Bandit, Capacities, Rotation, by_source
from meshnode.placement.choose import Decision
from meshnode.wire.terms import NO_ALTERNATIVE, Terms


class Ordering:
    """Puts the candidates of a decision in the order that the module's author asked for."""

    def __init__(self, rng: Random) -> None:
        self._capacities = Capacities()
        self._rotation = Rotation()
        self._bandit = Bandit(rng)

    def order(
        self, decision: Decision, manifest: Manifest, module: ContentHash, source: str
    ) -> Decision:
        """Return the decision with whom to try first at the head."""
        ranked = list(decision.ranked)
        match Affinity(manifest.affinity):
            case Affinity.FINISH_TIME:
                return decision
            case Affinity.SOURCE_HASH:
                ranked = by_source(ranked, source, self._capacities)
            case Affinity.ROUND_ROBIN:
                ranked = self._rotation.order(ranked, module)
            case Affinity.BANDIT:
                ranked = self._bandit.order(ranked, module)
        return replace(decision, ranked=tuple(ranked))

    def foresee(
        self, decision: Decision, manifest: Manifest, module: ContentHash, source: str
    ) -> Decision:
        """Return what `order` would, and leave no trace: nobody's turn is over by being shown."""
        return deepcopy(self).order(decision, manifest, module, source)

    def learn(self, manifest: Manifest, module: ContentHash, node: NodeId, took_ms: float) -> None:
        """An answer came."""
        if Affinity(manifest.affinity) is Affinity.BANDIT:
            self._bandit.learn(module, node, took_ms)


def is_ordered(manifest: Manifest) -> bool:
    """Return whether a module's requests go by another order than the time they take."""
    return manifest.affinity != Affinity.FINISH_TIME.value


def kept(terms: Terms) -> Terms:
    """Return terms under which no server sends the request elsewhere to have it done sooner."""
    return replace(terms, alternative=NO_ALTERNATIVE, moved=True)
