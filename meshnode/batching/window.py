"""Window: whether an idle lane should wait for the next request before it starts a batch.

Let a batch of n rows take A + b*n, let k rows wait, and let the next one come after g.

- Started now, the k are done at A + b*k, and the next, which finds the lane busy, at 2A + b*(k+1).
- Started with it, all are done at g + A + b*(k+1).

So the next one gains A - g and each of the k loses g + b: waiting pays while A - g > k * (g + b),
that is while g < (A - k*b) / (k + 1). A module without a fixed cost, or a lone caller (who sends
his next request when this one is answered, so g > A + b), is never made to wait.
"""

from meshnode.batching.curve import ServiceCurve

GAIN = 0.2
"""How fast the expected gap between arrivals follows what is seen."""
PATIENCE = 2.0
"""Gaps, after which the next request is no longer expected."""


class Arrivals:
    """The expected time between two requests of a module."""

    def __init__(self) -> None:
        self.gap_s: float | None = None
        """None until two were seen."""
        self.last: float | None = None

    def came(self, now: float) -> None:
        """A request arrived."""
        if self.last is not None:
            gap_s = max(0.0, now - self.last)
            self.gap_s = gap_s if self.gap_s is None else self.gap_s + GAIN * (gap_s - self.gap_s)
        self.last = now


def wait_until(arrivals: Arrivals, curve: ServiceCurve, rows: int) -> float | None:
    """Return until when it pays to wait for one more beside `rows` that wait; None if it does not.

    The caller bounds it by the operator's window and by the requests' deadlines.
    """
    gap_s, last = arrivals.gap_s, arrivals.last
    if gap_s is None or last is None or not curve.sure:
        return None
    if gap_s >= (curve.fixed_s - rows * curve.each_s) / (rows + 1):
        return None
    return last + PATIENCE * gap_s
