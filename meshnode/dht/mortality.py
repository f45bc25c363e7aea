"""How long contacts live, from how many of ours die: whom to hand out under churn.

In a mesh whose nodes come and go in minutes most of what a table holds is dead before it can be
checked, and a lookup that is told of it waits. Deaths per contact and second are counted with a
fading memory; a contact unheard for longer than about half of them live is named last.
"""

from math import exp, inf

MEMORY_S = 300.0
"""What happened so long ago counts a third."""
DEATHS_MIN = 5.0
"""Fewer deaths say nothing."""
STALE_PART = 0.7
"""Of an exponential lifetime's mean: at ln 2 = 0.69 of it half are dead."""
STALE_S_MIN = 30.0
"""However fast others seem to die: an attacker's nodes could do it on purpose."""


class Mortality:
    """The exposure and the deaths of one table's contacts."""

    def __init__(self) -> None:
        self._exposure_s = 0.0
        self._deaths = 0.0
        self._at: float | None = None

    def note(self, size: int, now: float, *, deaths: int = 0) -> None:
        """Count the time since the last call for `size` contacts, and deaths if there were any."""
        if self._at is None:
            self._exposure_s = size * MEMORY_S  # nobody died before: one outage is no churn
        since = 0.0 if self._at is None else max(0.0, now - self._at)
        fading = exp(-since / MEMORY_S)
        self._exposure_s = self._exposure_s * fading + size * MEMORY_S * (1.0 - fading)
        self._deaths = self._deaths * fading + deaths
        self._at = now

    @property
    def stale_after_s(self) -> float:
        """How long a contact may be unheard before it is more likely dead than alive."""
        if self._deaths < DEATHS_MIN:
            return inf
        return max(STALE_S_MIN, STALE_PART * self._exposure_s / self._deaths)
