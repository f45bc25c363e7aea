"""The predicted milliseconds until an answer from one candidate, with its parts kept apart.

The formula of placement.md section 2. For a record of age a, with everything in ms:

    e     = exp(-a / tau)
    w     = max(0, mean + (wait - mean) * e + kappa * sigma * sqrt(1 - e^2))
    w     = max(w + (1 + chi) * unseen, open)
    score = rtt + transfer + w + s(rows) + cold + max(0, bias) - sticky

The second line is an Ornstein-Uhlenbeck process: what was said decays to the node's own mean, and
caution grows to one sigma. `unseen` is the work of our own requests that the record cannot know of
yet, `open` that of all our unanswered ones there. For the own node the wait is exact, so age,
caution and corrections fall away.
"""

from math import exp, log2, sqrt
from typing import NamedTuple

from meshnode.placement.settings import PlacementSettings
from meshnode.wire.messages import ModuleLoad

UNIT_MS = 0.1
"""Times in a `LoadRecord` count tenths of a millisecond."""
STEPS = 8
"""What one more row takes is told in steps, so many for each doubling: within 4.5 %, in a byte."""
STEP_MAX = 255
LEAST_EACH_MS = 0.001


class Score(NamedTuple):
    """Lower is better. A tuple and not a dataclass: a decision makes one for each candidate."""

    network_ms: float
    """One round trip; at the own node what its event loop takes."""
    transfer_ms: float
    """Inputs and answer at the measured bandwidth, or an estimated one; copying at the own node."""
    queue_ms: float
    """w: until a request that arrives now would start."""
    run_ms: float
    """s: the request alone on an empty lane."""
    cold_ms: float
    """Fetching and loading the module where it is not warm."""
    bias_ms: float
    """What this node took longer than promised before; never negative."""
    sticky_ms: float
    """Minus the bonus of the source's last server; zero or negative."""
    estimated: bool
    """`run_ms` was not measured at that node but estimated."""

    @property
    def total_ms(self) -> float:
        """The number candidates are compared by: the sum of the parts."""
        return (
            self.network_ms
            + self.transfer_ms
            + self.queue_ms
            + self.run_ms
            + self.cold_ms
            + self.bias_ms
            + self.sticky_ms
        )

    @property
    def promised_ms(self) -> float:
        """What the node itself can be held to: no cold start, no bias, no bonus."""
        return self.network_ms + self.transfer_ms + self.queue_ms + self.run_ms

    def as_dict(self) -> dict[str, float]:
        """Return the parts in ms by name; their sum is `total_ms`."""
        return {
            "network": self.network_ms,
            "transfer": self.transfer_ms,
            "queue": self.queue_ms,
            "run": self.run_ms,
            "cold": self.cold_ms,
            "bias": self.bias_ms,
            "sticky": self.sticky_ms,
        }


def wait_ms(
    wait: float, mean: float, sigma: float, age_ms: float, settings: PlacementSettings
) -> float:
    """Return the waiting time to expect now from a record of this age; all in ms."""
    if age_ms <= 0.0:
        return wait
    e = exp(-age_ms / settings.tau_ms)
    caution = settings.pessimism * sigma * sqrt(1.0 - e * e)
    return max(0.0, mean + (wait - mean) * e + caution)


def corrected_ms(
    expected_ms: float, unseen_ms: float, open_ms: float, settings: PlacementSettings
) -> float:
    """Return the expected wait with our own requests in flight added.

    `unseen_ms` and `open_ms` are sums of c over our requests: those sent after the record was
    written, and all that are unanswered.
    """
    return max(expected_ms + (1.0 + settings.crowd) * unseen_ms, open_ms)


def cold_ms(holds: bool, module_bytes: int, settings: PlacementSettings) -> float:
    """Return L: what getting the module ready would cost at a node where it is not warm."""
    if holds:
        return settings.load_ms
    return settings.load_ms + settings.fetch_ms + module_bytes / settings.bytes_per_ms


def step_of(each_ms: float) -> int:
    """Return the step of `ModuleLoad.each` nearest to what one more row takes; 0: nothing."""
    if each_ms < LEAST_EACH_MS:
        return 0
    return min(STEP_MAX, 1 + round(STEPS * log2(each_ms / LEAST_EACH_MS)))


EACH_MS = (0.0, *(LEAST_EACH_MS * 2 ** (step / STEPS) for step in range(STEP_MAX)))
"""By step."""


def queued_ms(known: ModuleLoad, rows: int) -> float:
    """Return c: what a request that waits adds to the wait of those that come after it.

    Its rows, and its part of what a batch takes however small; all of that if it fills one.
    """
    if rows == 1:
        return known.unit * UNIT_MS
    each_ms = EACH_MS[known.each]
    base_ms = max(0.0, known.first * UNIT_MS - each_ms)
    shared_ms = max(0.0, known.unit * UNIT_MS - each_ms)
    return rows * each_ms + min(base_ms, rows * shared_ms)
