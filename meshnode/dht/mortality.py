"""How long contacts live, from how many of ours are dead when we ask: whom to name under churn.

In a mesh whose nodes come and go in minutes most of what a table holds is dead before it can be
checked, and a lookup that is told of it waits. Each time a contact is heard, or is found dead, it
tells of the time since it was last heard: deaths in so many seconds of that are the hazard of an
exponential lifetime. After an outage of many at once those times are long, and the hazard is small.
A contact unheard for longer than about half of them live is named last.
"""

from math import exp, inf

MEMORY_S = 300.0
"""What happened so long ago counts a third."""
DEATHS_MIN = 3.0
"""Fewer deaths say nothing."""
FIRST_S = 1200.0
"""Seconds without a death that are taken as seen at the start, so that three say little."""
STALE_PART = 0.7
"""Of an exponential lifetime's mean: at ln 2 = 0.69 of it half are dead."""
STALE_S_MIN = 30.0
"""However fast others seem to die: an attacker's nodes could do it on purpose."""


class Mortality:
    """The deaths of one table's contacts, and the seconds in which they happened."""

    def __init__(self) -> None:
        self._exposure_s = FIRST_S
        self._deaths = 0.0
        self._at: float | None = None

    def heard(self, after_s: float, now: float) -> None:
        """Note that a contact lives which was not heard for so long."""
        self._fade(now)
        self._exposure_s += max(0.0, after_s)

    def died(self, after_s: float, now: float) -> None:
        """Note that a contact is dead which was last heard so long before it was asked."""
        self._fade(now)
        self._exposure_s += max(0.0, after_s) / 2
        self._deaths += 1.0

    def _fade(self, now: float) -> None:
        since = 0.0 if self._at is None else max(0.0, now - self._at)
        fading = exp(-since / MEMORY_S)
        self._exposure_s *= fading
        self._deaths *= fading
        self._at = now

    @property
    def stale_after_s(self) -> float:
        """How long a contact may be unheard before it is more likely dead than alive."""
        if self._deaths < DEATHS_MIN:
            return inf
        return max(STALE_S_MIN, STALE_PART * self._exposure_s / self._deaths)
