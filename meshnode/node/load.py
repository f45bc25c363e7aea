"""Load: what this node says about itself, made from its lanes and its meter."""

from collections.abc import Callable
from math import inf

import trio

from meshnode.ids import ContentHash
from meshnode.placement.observe import LoadMeter
from meshnode.placement.score import cold_ms
from meshnode.placement.settings import PlacementSettings
from meshnode.wire.messages import LoadRecord

REPORT_EVERY_S = 0.25
REST_EVERY_S = 1.0
"""The same of a node that has nothing to do, as often as loads are gossiped."""
RECENT_S = 0.001


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
        self._settings = PlacementSettings()
        self._kept: tuple[float, LoadRecord] | None = None
        """The last recent record, and when it was made."""

    def record(self) -> LoadRecord:
        """Return the load as it is now, with all modules."""
        return self._record(trio.current_time())

    def word(self, about: ContentHash | None) -> LoadRecord:
        """Return what rides on a call: the load as it is now, with this module told; None: none."""
        return self._meter.word(
            trio.current_time(),
            about,
            held=self._held(),
            warm=self._warm(),
            draining=self._draining(),
        )

    def _record(self, now: float) -> LoadRecord:
        return self._meter.record(
            now,
            held=self._held(),
            warm=self._warm(),
            draining=self._draining(),
        )

    def recent(self) -> LoadRecord:
        """Return the load as it is now, or was at most 1 ms ago with nothing begun or ended since.

        A record takes a fifth of a decision, and a gateway makes decisions one after the other.
        """
        now = trio.current_time()
        kept = self._kept
        if kept is None or now > kept[0] + RECENT_S or self._meter.has_moved(kept[0]):
            kept = self._kept = now, self._record(now)
        return kept[1]

    def asked(self) -> None:
        """A request came, whether it will be taken or not."""
        self._meter.asked(trio.current_time())

    def completion_ms(self, module: ContentHash, rows: int = 1) -> float | None:
        """Return when a request that comes now would be done; None if it was never measured.

        As every other node reckons it from this node's record: wait, one run, and the cold start.
        """
        run_ms = self._meter.first_ms(module, rows)
        if run_ms is None:
            return None
        cold = 0.0 if module in self._warm() else cold_ms(True, 0, self._settings)
        return self._meter.wait_ms(trio.current_time()) + run_ms + cold

    async def run(self, publish: Callable[[LoadRecord], None]) -> None:
        """Hand a fresh record to membership, which gossips the latest, until cancelled."""
        said, said_at = None, -inf
        while True:
            now, shown = trio.current_time(), (self._held(), self._warm(), self._draining())
            if shown != said or not self._meter.at_rest or now - said_at >= REST_EVERY_S:
                said, said_at = shown, now
                publish(self.record())
            await trio.sleep(REPORT_EVERY_S)
