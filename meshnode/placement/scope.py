"""Scope: far nodes for a view, in proportion to capacity, beside all near ones.

The fleet model draws by it; a node follows far members by `gossip/interests.py`.

A view wider than 32 gains nothing (docs/placement.md), so in a large mesh each node looks at some
of the far ones only. Drawn evenly, a machine that does most of a site's work would be seen by as
few as the smallest; drawn by capacity, what is asked of it is in proportion to what it can do.
"""

from collections.abc import Sequence
from math import log
from typing import TypeVar

from meshnode.machine import Random

T = TypeVar("T")


def draw_far(far: Sequence[tuple[T, float]], count: int, rng: Random) -> list[T]:
    """Return `count` of (node, capacity), each as likely as its capacity is large.

    Efraimidis and Spirakis 2006: the largest u^(1/weight), here by their logarithms, are a
    weighted sample without replacement. Capacity is in any unit, e.g. requests a second.
    """
    keys = [(log(1.0 - rng.random()) / max(weight, 1e-9), i) for i, (_, weight) in enumerate(far)]
    keys.sort(reverse=True)
    return [far[i][0] for _, i in keys[: max(0, count)]]
