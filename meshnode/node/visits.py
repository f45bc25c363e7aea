"""Visits: requests of this node's own doors, refused at once if nobody can answer them in time.

Pairs with `placement/door.py`. A refusal says when there will be a place, each another time.
"""

from math import ceil, inf

import trio

from meshnode.batching.portions import Portions
from meshnode.batching.returning import Promises
from meshnode.errors import MeshnodeError, Overloaded, OverShare
from meshnode.placement.choose import Scored
from meshnode.placement.door import Door, Passage


class Visit:
    """One request, from its door until it is over."""

    def __init__(self, visits: "Visits", source: str) -> None:
        self._visits = visits
        self.passage = Passage(source)

    def check(self, best: Scored, deadline: float, *, tried: bool) -> None:
        """Raise Overloaded if the best candidate cannot answer in time, as far as is known.

        `tried`: some server has failed to already.
        """
        self._visits.check(self.passage, best, deadline, tried=tried)

    def ended(self, *, in_time: bool | None) -> None:
        """It is over, once; None: whoever asked left."""
        self._visits.door.ended(self.passage, in_time=in_time, now=trio.current_time())


class Visits:
    """The requests that are under way from this node."""

    def __init__(self) -> None:
        self.door = Door()
        self._promises = Promises()
        self._portions = Portions()
        """Of the requests that came."""

    def visit(self, source: str) -> Visit:
        """Return a new one."""
        self._portions.had(source, 1.0, trio.current_time())
        return Visit(self, source)

    def check(self, passage: Passage, best: Scored, deadline: float, *, tried: bool) -> None:
        """See `Visit.check`."""
        score, now = best.score, trio.current_time()
        if deadline == inf or score.estimated or score.cold_ms:
            return  # a guess refuses nobody, and how long a cold start takes is one
        total_ms, left_ms = score.total_ms, (deadline - now) * 1000
        over_ms = self.door.over_ms(passage, total_ms, left_ms, tried=tried)
        if over_ms is None:
            return
        kind = OverShare if self._portions.is_over(passage.source, now) else Overloaded
        error = kind(
            "no node could answer within the request's deadline",
            because=[
                f"the best, {best.candidate.name}, would take about {total_ms:.0f} ms, "
                f"{max(0.0, left_ms):.0f} ms are left"
            ],
        )
        gap_s = self.door.gap_s
        each_s = score.run_ms / 1000 if gap_s is None else gap_s
        again_s = self._promises.again_s(passage.source, over_ms / 1000, each_s, now)
        error.retry_after_ms = ceil(again_s * 1000)
        raise error


def kinder(last: MeshnodeError | None, error: MeshnodeError) -> MeshnodeError:
    """Return the newer of two refusals, with the earlier of the times to come again."""
    told = [e.retry_after_ms for e in (last, error) if e is not None]
    error.retry_after_ms = min((ms for ms in told if ms is not None), default=None)
    return error
