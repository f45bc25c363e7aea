"""Load: what this node says about itself, made from its lanes and its meter."""

from collections.abc import Callable

import trio

from meshnode.ids import ContentHash
from meshnode.placement.observe import LoadMeter
from meshnode.wire.messages import LoadRecord

REPORT_EVERY_S = 0.25


class LoadReporter:
    """Makes this node's load records; each has a higher sequence than the one before."""

    def __init__(
        self,
        meter: LoadMeter,
        *,
        held: Callable[[], tuple[ContentHash, ...]],
        warm: Callable[[], tuple[ContentHash, ...]],
        draining: Callable[[], bool],
    ) -> None:
        self._meter = meter
        self._held = held
        self._warm = warm
        self._draining = draining

    def record(self) -> LoadRecord:
        """Return the load as it is now."""
        return self._meter.record(
            trio.current_time(),
            held=self._held(),
            warm=self._warm(),
            draining=self._draining(),
        )

    async def run(self, publish: Callable[[LoadRecord], None]) -> None:
        """Hand a fresh record to membership, which gossips the latest, until cancelled."""
        while True:
            publish(self.record())
            await trio.sleep(REPORT_EVERY_S)
