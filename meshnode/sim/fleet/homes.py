"""Homes: how many sources move when a node goes, by the shipped hashing and by plain hashing.

Static: all queues are empty, one node after the other is taken away, and each camera's home in its
gateway's view is asked for before and after. A fair share is 1/n of those who see the node.
"""

from dataclasses import dataclass

from meshnode.ids import NodeId
from meshnode.placement.affinity import by_source
from meshnode.placement.score import Score
from meshnode.sim.fleet.fleet import Fleet, Trial
from meshnode.sim.fleet.member import names
from meshnode.sim.fleet.policy import Policy
from meshnode.sim.fleet.shape import Shape
from meshnode.sim.fleet.views import views


@dataclass(frozen=True, slots=True)
class Place:
    """A candidate on an idle mesh."""

    index: int
    node_id: NodeId
    score: Score


@dataclass(frozen=True, slots=True, kw_only=True)
class Moves:
    """What the loss of one node did, on average over those lost."""

    moved_share: float
    """Of the sources whose gateway sees the node."""
    own_share: float
    """That had it as their home: they have to move."""
    fair_share: float
    """1/n."""


def moves(shape: Shape, *, seed: int, lost_max: int = 20) -> Moves:
    """Return what moves by `source-hash` when one node of a view goes."""
    fleet = Fleet(shape, Trial(seed=seed), Policy)
    found = views(fleet)
    places = [
        Place(
            s.index,
            names(s.index).node_id,
            Score(0.0, 0.0, 0.0, s.kind.batch_ms(1) * s.slowness, 0.0, 0.0, 0.0, False),
        )
        for s in fleet.spots
    ]
    moved = owned = seen = 0.0
    fair = 0.0
    step = max(1, len(places) // lost_max)
    for lost in range(0, len(places), step):
        for camera in fleet.cameras:
            view = [camera.home, *found[camera.home]]
            if lost not in view or camera.home == lost:
                continue
            seen += 1
            fair += 1 / len(view)
            before = by_source([places[i] for i in view], camera.name)[0].index
            after = by_source([places[i] for i in view if i != lost], camera.name)[0].index
            moved += before != after
            owned += before == lost
    return Moves(moved_share=moved / seen, own_share=owned / seen, fair_share=fair / seen)
