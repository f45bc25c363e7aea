"""Door: which requests are refused at once, as the best prediction is that they will be late.

A prediction is that of anybody's request; but where servers share run time out among sources, one
that asks for little is served long before the queue that a flood has made. So each source keeps a
window, as TCP does (RFC 5681): so many requests that are predicted to be late may be on their way
all the same. One that is in time after all widens it by one, one that is not halves it. A source
always has one, so that it finds out; a flood finds out that one is all it has.
"""

from collections import OrderedDict
from dataclasses import dataclass

from meshnode.placement.settings import PlacementSettings

WINDOW_MAX = 64.0
SOURCES_MAX = 1024
"""Sources whose windows are remembered; the least recently seen go first."""
GAP_GAIN = 0.1
"""How fast the expected time between two answers follows what is seen."""
GAP_S_MAX = 2.0
"""A longer one was a pause of those who ask, and no service."""


@dataclass(slots=True)
class _Window:
    size: float = 1.0
    hoped: int = 0
    """Requests on their way that are predicted to be late."""


@dataclass(slots=True)
class Passage:
    """One request that is under way through this door."""

    source: str
    hoped: bool = False


class Door:
    """The requests of one node's own doors. Times are `now` in seconds."""

    def __init__(self, settings: PlacementSettings | None = None) -> None:
        self._settings = settings or PlacementSettings()
        self._windows: OrderedDict[str, _Window] = OrderedDict()
        self._answered_at: float | None = None
        self._gap_s: float | None = None

    def __len__(self) -> int:
        return len(self._windows)

    @property
    def gap_s(self) -> float | None:
        """The time between two answers through this door; None until two were seen."""
        return self._gap_s

    def over_ms(
        self, passage: Passage, total_ms: float, left_ms: float, *, tried: bool = False
    ) -> float | None:
        """Return None if a request may go, else by how much the best prediction is too late.

        `total_ms` has to be known from measurements: nothing is refused by a guess. A request that
        a server refused already, which knows its share, hopes no more (`tried`).
        """
        over_ms = total_ms - self._settings.admission_share * left_ms
        if over_ms <= 0 or (passage.hoped and not tried):
            return None
        if tried:
            return over_ms
        window = self._window(passage.source)
        if window.hoped >= int(window.size):
            return over_ms
        window.hoped += 1
        passage.hoped = True
        return None

    def ended(self, passage: Passage, *, in_time: bool | None, now: float) -> None:
        """A request is over; None: its asker left, which says nothing."""
        if in_time:
            if self._answered_at is not None:
                gap_s = min(GAP_S_MAX, max(0.0, now - self._answered_at))
                before = self._gap_s
                self._gap_s = gap_s if before is None else before + GAP_GAIN * (gap_s - before)
            self._answered_at = now
        if not passage.hoped:
            return
        passage.hoped = False
        window = self._window(passage.source)
        window.hoped = max(0, window.hoped - 1)
        if in_time is not None:
            widened = min(WINDOW_MAX, window.size + 1.0)
            window.size = widened if in_time else max(1.0, window.size / 2)

    def _window(self, source: str) -> _Window:
        window = self._windows.get(source)
        if window is None:
            window = self._windows[source] = _Window()
            while len(self._windows) > SOURCES_MAX:
                self._windows.popitem(last=False)
        self._windows.move_to_end(source)
        return window
