"""How near this node's predictions came: the metric by which a mesh shows that it knows itself."""

from collections import OrderedDict, deque
from math import exp, log

from meshnode.ids import NodeId

NEAR = 0.30
"""A prediction is near if it is off by no more than this share of what the request took."""
KEPT = 512
GAIN = 0.1
RATIO_MAX = 1.3
"""One answer counts as if it had been off by no more than this: what is learned is the middle of
the errors and not their mean, which single stalls make."""
LEAN_MAX = 1.5
NODES_MAX = 4096


class Accuracy:
    """The last predictions of warm requests, and what those took."""

    def __init__(self) -> None:
        self._errors: deque[float] = deque(maxlen=KEPT)
        self._leans: OrderedDict[NodeId, float] = OrderedDict()
        """Of each node, the logarithm of what its requests take over what is predicted."""

    def __len__(self) -> int:
        return len(self._errors)

    def factor(self, node: NodeId) -> float:
        """Return how many times the plain prediction requests at a node were found to take."""
        return exp(self._leans.get(node, 0.0))

    def learn(self, node: NodeId, predicted_ms: float, took_ms: float) -> None:
        """A request was answered; whatever it was refused or moved by before does not count.

        `predicted_ms` is what was told, the node's factor included.
        """
        if took_ms <= 0.0:
            return
        self._errors.append((predicted_ms - took_ms) / took_ms)
        if predicted_ms <= 0.0:
            return
        off = log(min(RATIO_MAX, max(1 / RATIO_MAX, took_ms / predicted_ms)))
        lean = self._leans.pop(node, 0.0) + GAIN * off
        self._leans[node] = min(LEAN_MAX, max(-LEAN_MAX, lean))
        while len(self._leans) > NODES_MAX:
            self._leans.popitem(last=False)

    @property
    def near(self) -> float | None:
        """The share of predictions that were near; None before the first."""
        if not self._errors:
            return None
        return sum(abs(error) <= NEAR for error in self._errors) / len(self._errors)

    @property
    def error(self) -> float | None:
        """The middle one of all errors, as shares of what the requests took; above 0: too long."""
        if not self._errors:
            return None
        return sorted(self._errors)[len(self._errors) // 2]
