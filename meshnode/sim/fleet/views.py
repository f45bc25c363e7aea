"""Views: whom each node may send to: its own site, and far nodes drawn by capacity."""

from meshnode.machine import Random
from meshnode.placement.scope import draw_far
from meshnode.sim.fleet.fleet import Fleet

FAR_MAX = 1000
"""Far nodes are drawn from so many at most: a node of a large mesh does not know them all."""


def by_site(fleet: Fleet) -> dict[int, list[int]]:
    """Return the nodes at each site."""
    found: dict[int, list[int]] = {}
    for spot in fleet.spots:
        found.setdefault(spot.site, []).append(spot.index)
    return found


def views(fleet: Fleet) -> list[list[int]]:
    """Return every node's view, without itself; the same seed gives the same views."""
    rng = Random(f"views {fleet.trial.seed}")
    sites = by_site(fleet)
    found: list[list[int]] = []
    for spot in fleet.spots:
        near = [i for i in sites[spot.site] if i != spot.index]
        wanted = max(0, fleet.shape.view_max - len(near))
        if len(near) > fleet.shape.view_max:
            near = rng.sample(near, fleet.shape.view_max)
        far = [s for s in fleet.spots if s.site != spot.site]
        if len(far) > FAR_MAX:
            far = rng.sample(far, FAR_MAX)
        weighted = [(s.index, s.kind.per_s / s.slowness) for s in far]
        found.append(near + draw_far(weighted, wanted, rng))
    return found
