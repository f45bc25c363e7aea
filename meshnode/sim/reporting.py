"""Reporting: a node says its load, as `node/load.py` does, without looking while it is at rest."""

from collections.abc import Callable

from meshnode.sim.serving import Serving
from meshnode.sim.world import World
from meshnode.wire.messages import LoadRecord

REPORT_EVERY_S, REST_EVERY_S = 0.25, 1.0
"""Those of `node/load.py`: a node that has nothing to do says so less often."""


class Reporting:
    """One life of one node."""

    def __init__(
        self,
        world: World[object, object],
        serving: Serving,
        say: Callable[[LoadRecord], None],
        soon: Callable[[float, Callable[[], None]], None],
    ) -> None:
        self._world = world
        self._serving = serving
        self._say = say
        self._soon = soon
        """Does a thing later, unless the node's life is over by then."""
        self._turn = 0
        """Of the report that is due; earlier ones are void."""
        self._said_at = 0.0
        serving.on_work = self._work_came

    def begin(self, after_s: float) -> None:
        """Say it first after so long, so that nodes are not in step."""
        self._next(after_s)

    def _report(self) -> None:
        self._said_at = self._world.now
        self._say(self._serving.record(self._serving.now))
        self._next(REST_EVERY_S if self._serving.meter.at_rest else REPORT_EVERY_S)

    def _work_came(self) -> None:
        """Say it when the hall would look next."""
        self._next(REPORT_EVERY_S - (self._world.now - self._said_at) % REPORT_EVERY_S)

    def _next(self, after_s: float) -> None:
        self._turn += 1
        turn = self._turn
        self._soon(after_s, lambda: self._report() if turn == self._turn else None)
