"""Allowances: how often each of many names may do a thing, in a bounded memory.

One kind of token bucket, for accusers whose accusations were refuted, members that flap, and peers
that ask for much. Whoever is not remembered has everything.
"""

from meshnode.ids import NodeTag

NAMES_MAX = 4096
"""As many as the member table holds."""


class Allowances:
    """`burst` at once, then one each `refill_s`. By the clock: own time may stand still."""

    def __init__(self, *, burst: int, refill_s: float) -> None:
        self._burst = burst
        self._refill_s = refill_s
        self._spent: dict[NodeTag, tuple[float, float]] = {}
        """Name -> (how much was spent, as of when). What is regained is dropped."""

    def left(self, name: NodeTag, now: float) -> float:
        """Return how much a name has left."""
        spent = self._spent.get(name)
        if spent is None or now < spent[1]:
            return self._burst  # a clock that was set back must not make anybody wait for it
        return self._burst - max(0.0, spent[0] - (now - spent[1]) / self._refill_s)

    def may(self, name: NodeTag, now: float) -> bool:
        """Return whether a name has one left."""
        return self.left(name, now) >= 1.0

    def spend(self, name: NodeTag, now: float) -> None:
        """Take one, at most until nothing is left."""
        spent = min(float(self._burst), self._burst - self.left(name, now) + 1.0)
        self._spent.pop(name, None)
        self._spent[name] = (spent, now)
        if len(self._spent) > NAMES_MAX:
            del self._spent[next(iter(self._spent))]

    def take(self, name: NodeTag, now: float) -> bool:
        """Take one if there is one; return whether there was."""
        if not self.may(name, now):
            return False
        self.spend(name, now)
        return True
