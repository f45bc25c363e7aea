"""OwnTime: the time in which this node has been able to act.

All of the failure detector's deadlines are in it. While the process is stopped, starved or asleep,
and when its clock jumps, own time stands still: what others sent meanwhile may still wait in our
socket, so nobody is accused for it, and what is due is due a moment after we woke. (Lifeguard's
observation: a slow node must doubt itself first. Here it need not even decide to.)
"""

from math import inf

GRACE_S = 0.1
"""After waking, so much passes before what was due is done: the socket is read first."""
ROUNDING_S = 1e-6
"""A timer served on time is not early because of the last digits of the clock's numbers."""


class OwnTime:
    """Turns the clock's time into own time, and own timers into the clock's."""

    def __init__(self, late_s: float) -> None:
        self._late_s = late_s
        self._offset: float | None = None
        """The clock's time minus own time. Own time begins at the clock's."""
        self._own = -inf
        self._graced = -inf
        """The last timer that was put off for the sake of the socket; none is put off twice."""
        self._read_at = -inf

    def read(self, now: float, due: float) -> tuple[float, bool]:
        """Return own time and whether we were late; `due` is our next timer, in own time.

        A timer that is served more than `late_s` late, by whatever comes first after it, means
        that we slept. A clock that runs backwards is not believed.
        """
        self._read_at = now
        if self._offset is None:
            self._offset, self._own = 0.0, now
            return now, False
        own = now - self._offset
        late = own - due > self._late_s
        if late:
            own = max(self._own, due if due <= self._graced else due - GRACE_S)
            self._graced = due
        elif own < self._own:
            own = self._own
        if own < due <= own + ROUNDING_S:
            own = due
        self._offset = now - own
        self._own = own
        return own, late

    def inside(self, now: float) -> float:
        """Return own time as of a look at the clock between two events."""
        return max(self._own, now - (self._offset or 0.0))

    def timer(self, own: float) -> float:
        """Return the same for a timer, which lies after the clock was read last.

        What is due a rounding error later would otherwise be due now, and never be past.
        """
        at, soonest = self.outside(own), self._read_at + ROUNDING_S
        return at if at > soonest else soonest

    def outside(self, own: float) -> float:
        """Return when the clock will show this own time, if we stay awake."""
        return own + (self._offset or 0.0)
