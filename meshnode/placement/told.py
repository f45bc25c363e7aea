"""Told: whom this node has told its load with a request lately, and does not tell again at once.

A record decays in a fifth of a second. At thousands of small requests a second to one node, one on
each of them would cost more than it is worth.
"""

from collections import OrderedDict

from meshnode.ids import NodeId

AGAIN_S = 0.02
NODES_MAX = 256


class Told:
    """The nodes told last, and when."""

    __slots__ = ("_told",)

    def __init__(self) -> None:
        self._told: OrderedDict[NodeId, float] = OrderedDict()

    def is_due(self, node: NodeId, now: float) -> bool:
        """Return whether a request to `node` should carry our load; then it counts as told."""
        before = self._told.get(node)
        if before is not None and before <= now < before + AGAIN_S:
            return False
        self._told[node] = now
        self._told.move_to_end(node)
        if len(self._told) > NODES_MAX:
            self._told.popitem(last=False)
        return True
