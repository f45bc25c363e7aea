"""ServiceCurve: how long batches of one module take on one machine, by the rows in them.

A line A + b*n by recursive least squares (older batches count less and less), times a scale that
follows a machine which is slowed. What is minimised is the error in shares of the time and not in
ms: else requests of 64 rows would decide what one row is said to take. And it is the median that is
sought, not the mean: the further a batch is from what was expected, the less it weighs (iteratively
reweighted least squares, with one iteration for each batch, as in Huber's M-estimators). On a
machine with other work a run of 0.2 ms takes 2 ms now and then.
"""

from math import exp, log

SCALE_GAIN = 0.05
"""How fast a curve's scale follows measured/nominal. With 0.2 the noise of single batches (in the
model a quarter of their time) goes into what is published, and who happens to look fast is flooded:
p99 is 1.11 times the oracle's and not 1.07 at 80 % load."""
STEP_MAX = 0.3
"""One batch moves the scale as if it had been off by no more than this, in logarithms."""
SURPRISE = 1.6
"""A batch so many times longer or shorter than expected is one; a noise of 0.25 makes one in 40."""
SURPRISES = 3
SURPRISE_GAIN = 0.5
SURPRISE_STEP_MAX = log(4.0)
"""After so many surprises in a row on one side it is the machine that changed, and is followed."""
CURVE_MEMORY = 0.97
"""Weight that older batches keep with each new one: a curve remembers about 30 batches."""
SURE = 0.2
"""Up to this error in shares of what was expected a batch counts in full."""
EARLY = 3
"""Of the first batches, those before one that is far shorter met cold caches and are forgotten."""
LEAST_MS = 1e-3
"""No batch takes less: from nothing no later one could be told."""
WEIGHT_MAX = 400.0
"""One batch counts for no more than so many of the usual size."""
EVEN = 1e-3
"""So much spread of the sizes, over the square of their mean, weighs as much as the assumption that
batching gains nothing."""


class ServiceCurve:
    """How long a batch of n rows takes: a straight line, times a scale."""

    def __init__(self, prior_ms: float = 0.0) -> None:
        self._forget()
        self._base_ms = 0.0
        self._each_ms = prior_ms
        self._count = 0
        self._surprises = 0
        """How many in a row were longer than expected by far, or below 0: shorter."""

    @property
    def measured(self) -> bool:
        """Whether any batch was measured."""
        return self._weight > 0

    @property
    def base_ms(self) -> float:
        """A: what any batch takes, however small."""
        return self._base_ms * self._scale

    @property
    def each_ms(self) -> float:
        """b: what one more row in a batch adds."""
        return self._each_ms * self._scale

    def batch_ms(self, n: int) -> float:
        """s(n): the expected time of a batch of n rows; the prior if nothing was measured."""
        return (self._base_ms + self._each_ms * n) * self._scale if n > 0 else 0.0

    def learn(self, n: int, took_ms: float) -> None:
        """Take one measured batch; the line moves first, the scale follows what is left.

        A batch that stalled (a page fault, a process that was stopped for seconds) says next to
        nothing: who publishes seconds is not asked again, and could not recover.
        """
        took_ms = max(LEAST_MS, took_ms)
        weight = 1.0
        if self.measured:
            ratio = took_ms / self.batch_ms(n)
            self._note(ratio)
            if self._surprises < 0 and self._count <= EARLY:
                self._forget()
            else:
                weight = min(1.0, SURE / max(SURE, abs(ratio - 1.0))) * self._shape_weight(n)
        self._count += 1
        self._add(n, took_ms, weight)
        self._fit()
        off = log(took_ms / self.batch_ms(n))
        if abs(self._surprises) >= SURPRISES:
            gain, most = SURPRISE_GAIN, SURPRISE_STEP_MAX
        else:
            gain, most = SCALE_GAIN, STEP_MAX
        self._scale *= exp(gain * min(most, max(-most, off)))

    def _note(self, ratio: float) -> None:
        """Count a surprise, on the side of those before or as the first on its own."""
        side = (ratio > SURPRISE) - (ratio < 1 / SURPRISE)
        self._surprises = self._surprises + side if side * self._surprises > 0 else side

    def _forget(self) -> None:
        self._weight = self._n = self._nn = self._ms = self._n_ms = 0.0
        self._scale = 1.0

    def _shape_weight(self, n: int) -> float:
        """Weigh by the shape and not by the level: else a slowed machine's would not count."""
        middle_ms = self._base_ms + self._each_ms * self._n / self._weight
        here_ms = self._base_ms + self._each_ms * n
        return min(WEIGHT_MAX, (middle_ms / here_ms) ** 2)

    def _add(self, n: int, took_ms: float, weight: float) -> None:
        self._weight = self._weight * CURVE_MEMORY + weight
        self._n = self._n * CURVE_MEMORY + weight * n
        self._nn = self._nn * CURVE_MEMORY + weight * n * n
        self._ms = self._ms * CURVE_MEMORY + weight * took_ms
        self._n_ms = self._n_ms * CURVE_MEMORY + weight * n * took_ms

    def _fit(self) -> None:
        """Fit A and b >= 0. Batches of nearly one size: no gain from batching is assumed."""
        n = self._n / self._weight
        ms = self._ms / self._weight
        even = EVEN * n * n
        spread = max(0.0, self._nn / self._weight - n * n) + even
        slope = (self._n_ms / self._weight - n * ms + even * ms / n) / spread
        self._each_ms = min(max(0.0, slope), ms / n)
        self._base_ms = max(0.0, ms - self._each_ms * n)
