"""Deadlines: no request is run after its deadline, and none counts as answered after it.

A server is told a budget that counts from arrival (protocol.md), so the deadline at which it must
not begin any more is noted here when the request is offered there, in the world's time, and looked
at when its batch begins. Whatever a lane believes of its own clock or of its queue is not asked.
"""

from meshnode.ids import RequestId
from meshnode.sim.broken import Broken
from meshnode.sim.serving import Serving

ROUNDING_S = 1e-6
NOTED_MAX = 100_000
"""Those refused stay noted until so many have come."""


class Deadlines:
    """The deadlines of all requests at one node, in one of its lives."""

    def __init__(self, serving: Serving, name: str) -> None:
        self._serving = serving
        self._name = name
        self._noted: dict[RequestId, float] = {}
        serving.on_offer = self._offered
        serving.on_begin = self._begins

    def _offered(self, request: RequestId, left_s: float) -> None:
        """A request was offered that has so long left, on the node's clock."""
        clock = self._serving.clock
        left_s /= 1.0 if clock is None else clock.rate
        self._noted[request] = self._serving.world_now + left_s
        if len(self._noted) > NOTED_MAX:
            del self._noted[next(iter(self._noted))]

    def _begins(self, request: RequestId) -> None:
        """A batch with this request begins."""
        deadline = self._noted.pop(request, None)
        if deadline is None:
            raise Broken(f"{self._name} ran a request twice, or one that nobody offered")
        late_s = self._serving.world_now - deadline
        if late_s > ROUNDING_S:
            raise Broken(f"{self._name} ran a request {late_s:.3f} s after its deadline")
