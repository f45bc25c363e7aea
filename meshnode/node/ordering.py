"""Ordering: the order in which a module's requests try nodes, and what that has to remember.

Pairs with `placement/affinity.py`. One for each node: a source's home must not move because two
requests of it were placed by different memories.
"""

from copy import deepcopy
from dataclasses import dataclass, replace

import trio

from meshnode.ids import ContentHash, NodeId, tag_of
from meshnode.machine import Random
from meshnode.modules.manifest import Manifest
from meshnode.placement.affinity import Affinity, Bandit, Capacities, Rotation, by_source
from meshnode.placement.board import Scoreboard
from meshnode.placement.choose import Decision, Scored, usual_ms
from meshnode.wire.terms import NO_ALTERNATIVE, Terms


@dataclass(frozen=True, slots=True)
class _Memory:
    """What the orders remember."""

    capacities: Capacities
    rotation: Rotation
    bandit: Bandit


class Ordering:
    """Puts the candidates of a decision in the order that the module's author asked for."""

    def __init__(self, board: Scoreboard, rng: Random) -> None:
        self._board = board
        self._memory = _Memory(Capacities(), Rotation(), Bandit(rng))

    def order(
        self, decision: Decision, manifest: Manifest, module: ContentHash, source: str
    ) -> Decision:
        """Return the decision with whom to try first at the head."""
        return self._ordered(decision, manifest, module, source, self._memory)

    def foresee(
        self, decision: Decision, manifest: Manifest, module: ContentHash, source: str
    ) -> Decision:
        """Return what `order` would, and leave no trace: nobody's turn is over by being shown."""
        if not is_ordered(manifest):
            return decision
        return self._ordered(decision, manifest, module, source, deepcopy(self._memory))

    def learn(self, manifest: Manifest, module: ContentHash, node: NodeId, took_ms: float) -> None:
        """An answer came."""
        if manifest.affinity == Affinity.BANDIT.value:
            self._memory.bandit.learn(module, node, took_ms)

    def _ordered(
        self,
        decision: Decision,
        manifest: Manifest,
        module: ContentHash,
        source: str,
        memory: _Memory,
    ) -> Decision:
        ranked = list(decision.ranked)
        match Affinity(manifest.affinity):
            case Affinity.FINISH_TIME:
                return decision
            case Affinity.SOURCE_HASH:
                by_id = {s.node_id: s for s in ranked}
                sober = [self._sober(s, module) for s in ranked]
                ranked = [by_id[s.node_id] for s in by_source(sober, source, memory.capacities)]
            case Affinity.ROUND_ROBIN:
                ranked = memory.rotation.order(ranked, module)
            case Affinity.BANDIT:
                ranked = memory.bandit.order(ranked, module)
        return replace(decision, ranked=tuple(ranked))

    def _sober(self, scored: Scored, module: ContentHash) -> Scored:
        """Return a candidate with the run of a usual request, and own requests in its queue once.

        A source's home must not move by the size of what it sends just now. And others do not send
        where this node sends: their sources have homes of their own.
        """
        score = scored.score
        run_ms, queue_ms = usual_ms(scored, module), score.queue_ms
        standing = self._board.standing(tag_of(scored.node_id))
        if standing is not None and standing.sent and not scored.candidate.is_self:
            settings = self._board.settings
            sent = standing.in_flight(standing.written_at, trio.current_time(), settings)
            queue_ms = max(sent.open_ms, queue_ms - settings.crowd * sent.unseen_ms)
        return replace(scored, score=score._replace(run_ms=run_ms, queue_ms=queue_ms))


def is_ordered(manifest: Manifest) -> bool:
    """Return whether a module's requests go by another order than the time they take."""
    return manifest.affinity != Affinity.FINISH_TIME.value


def kept(terms: Terms) -> Terms:
    """Return terms under which no server sends the request elsewhere to have it done sooner."""
    return replace(terms, alternative=NO_ALTERNATIVE, moved=True)
