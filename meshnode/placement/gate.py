"""The cold gate: a node loads one module after the other, with a pause between, or refuses.

Cold starts are metastable. When more modules are asked for than fit, each load evicts a module
that the next request needs, and a mesh that only loads serves nothing for good (placement.md
section 11: from all cold, 513 ms with the gate, 16.5 s without). A request that was refused
everywhere is let through: some node has to load it.
"""

from meshnode.placement.settings import PlacementSettings

OVERRUN_S_MIN = 0.1


class ColdGate:
    """When this node may load a further module. Times are `now` in seconds."""

    def __init__(self, settings: PlacementSettings | None = None) -> None:
        self._settings = settings or PlacementSettings()
        self._loading = 0
        self._last_at: float | None = None
        """When a load last began or ended."""

    def refusal_s(self, refusals: int, now: float, *, busy: bool = False) -> float | None:
        """Return None if a module may be loaded now, else in how many seconds to ask again.

        `refusals` counts how often this request has met a closed gate anywhere. A node that is
        `busy` with the modules it has does not load another one: it would serve nobody meanwhile,
        and somebody who has nothing to do is asked next.
        """
        if refusals >= self._settings.cold_refusals_max:
            return None
        pause_s = self._settings.cold_pause_s
        if self._last_at is None:
            return OVERRUN_S_MIN if busy else None
        left_s = self._last_at + pause_s - now
        if self._loading:
            # A load that takes longer than the pause: as long again as half of what it is over.
            return left_s if left_s > 0 else max(OVERRUN_S_MIN, -left_s / 2)
        if left_s > 0:
            return left_s
        return OVERRUN_S_MIN if busy else None

    def began(self, now: float) -> None:
        """A load is under way."""
        self._loading += 1
        self._last_at = now

    def ended(self) -> None:
        """A load that began is over, well or not."""
        self._loading = max(0, self._loading - 1)
