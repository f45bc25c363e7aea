"""Sizing: how many rows the next batch may have, so that batching is never worse than none.

A ladder of sizes 1, 2, 4, ... up to `batch_max`. The bound stands on the best rung: going up, a
rung is better only if three of four batches saved at least `GAIN_MIN` of the time a row takes. So
a convolution net, which gains nothing, is run in batches of one and answers its first request
soonest; a perceptron climbs to the top.

How it keeps finding out, at a bounded price:

1. While nothing was measured, batches are greedy: all that waits.
2. The rung above the best is tried as soon as enough waits for it, `TRIES` times, or until so many
   tries saved nothing that the others cannot make it better. A step up at a time: what does not pay
   at 2 is not first tried at 32.
3. Every `LOOK_EVERY` batches (`LOOK_EARLY` while a rung on the way lacks measurements) the batch
   has another size: the rung that was not met for longest, of the neighbours of the best, size 1,
   and the lowest rung not known yet. That finds gains that begin higher up, and a machine that
   changed. It breaks up the callers that came to be answered together, so a rung is left alone for
   twice as long after each look that saved nothing, up to `PATIENCE_MAX` batches.
4. What tries and looks lose against the best rung is paid from a credit, that earns `LOSS_SHARE`
   of the time batches take. A size that would take longer than `LOOK_S_MAX`, and than two batches
   of the best rung, is not tried at all.

It counts and makes no random choices: the same batches give the same sizes.
"""

from meshnode.batching.curve import ServiceCurve, SizeClass, class_of

GAIN_MIN = 0.08
"""Below it a larger batch is not worth what its first request waits for its last."""
GAIN_KEEP = 0.04
"""A rung that once was better is kept while half of its batches save this much: noise must not
move the bound."""
TRIES = 5
FAILS = 2
"""Of the first `TRIES`, which leave three of four no better."""
TRY_EVERY = 2
"""Batches of the best rung between two tries: tried in a row, all five could meet the moment in
which a busy machine becomes quiet."""
LOOK_EVERY = 16
LOOK_EARLY = 4
FRESH = 24
"""For so many batches a new best rung has to prove itself, in early looks at the one before."""
PATIENCE_MAX = 256
BAD = 1.15
"""A rung that is this much worse than the best is left alone four times as long."""
LOOK_S_MAX = 0.25
LOSS_SHARE = 0.004
"""Of the machine's time may go into finding out."""
CREDIT_S = 0.02
"""What a new module may lose to learn its shape, before it has earned anything."""


class Sizing:
    """The rung one module's batches stand on, and the curve that says so."""

    def __init__(self, batch_max: int) -> None:
        self.curve = ServiceCurve()
        self._batch_max = batch_max
        self._top = batch_max.bit_length() - 1
        """The highest rung; its size is `batch_max`."""
        self._best = 0
        self._since_look = 0
        self._since_other = 0
        """Batches of the best rung since there was another: only next to those a size is judged."""
        self._climbed = -FRESH
        """The batch at which the best rung became that."""
        self._credit_s = CREDIT_S
        self._looked: dict[int, int] = {}
        """By rung, the batch at which it was last given a look."""
        self._patience: dict[int, int] = {}
        """By rung, for how many batches it is left alone after a look; not here: for none."""

    @property
    def bound(self) -> int:
        """Rows of a full batch, as far as is known; `batch_max` while nothing is."""
        return self._size(self._best) if self.curve.batches else self._batch_max

    def learn(self, rows: int, took_s: float) -> None:
        """Take one measured batch."""
        level_s, before = self.curve.level_s, self._best
        self._since_other += 1
        if self._known(before) and class_of(rows) != self._class(before):
            self._since_other = 0
            self._note_other(rows, took_s / (rows * level_s))
            if rows > 1:  # only what a look cost: small batches of quiet hours are nobody's loss
                self._credit_s -= max(0.0, took_s - rows * level_s)
        self.curve.learn(rows, took_s)
        self._credit_s = min(self._look_s_max, self._credit_s + LOSS_SHARE * took_s)
        self._best = self._find_best()
        if self._known(self._best):
            self.curve.refer_to(self._class(self._best))
        if self._best != before:
            self._patience.clear()
            self._climbed = self.curve.batches

    def next_bound(self, waiting: int) -> int:
        """Return the most rows of the batch that starts now, of those that wait. Counts looks."""
        if waiting < 2 or not self.curve.classes:
            return self.bound
        self._since_look += 1
        early = self.curve.batches - self._climbed < FRESH
        early = early or any(not self._tried(r) for r in range(self._best + 1))
        if self._since_look >= (LOOK_EARLY if early else LOOK_EVERY):
            rung = self._look(waiting)
            if rung is not None:
                self._since_look = 0
                self._looked[rung] = self.curve.batches
                return self._size(rung)
        above = self._best + 1
        ready = self._since_other >= TRY_EVERY and above <= self._top
        if ready and not self._tried(above) and self._may(above, waiting):
            return self._size(above)
        return self.bound

    def _find_best(self) -> int:
        # A module first met under load stands on a high rung until the lower ones were looked at.
        best = next((r for r in range(self._top + 1) if self._count(r)), 0)
        for rung in range(best + 1, self._top + 1):
            if self._count(rung) < TRIES:
                continue
            known = self.curve.classes[self._class(rung)]
            if rung <= self._best:
                better = known.ratio < (1 - GAIN_KEEP) * self._ratio(best)
            else:
                better = known.doubtful < (1 - GAIN_MIN) * self._ratio(best)
            if better:
                best = rung
        return best

    def _look(self, waiting: int) -> int | None:
        """Return the rung to look at, or None if there is none that may be."""
        ladder = range(self._top + 1)
        unknown = next((r for r in ladder if not self._tried(r)), self._best)
        rungs = {0, self._best - 1, self._best + 1, unknown} - {self._best}
        due = [r for r in rungs if r in ladder and self._due(r) and self._may(r, waiting)]
        return min(due, key=lambda r: (self._count(r) >= TRIES, self._last(r), r), default=None)

    def _note_other(self, rows: int, ratio: float) -> None:
        """A batch of another size than the best cost so much more a row: be patient accordingly."""
        rung = self._rung(rows)
        if ratio < 1 - GAIN_MIN:
            self._patience.pop(rung, None)
        else:
            # By the median of its looks: one that met a stall says little.
            times = 4 if self._count(rung) >= FAILS and self._ratio(rung) >= BAD else 2
            longer = self._patience.get(rung, LOOK_EVERY // 2) * times
            self._patience[rung] = min(PATIENCE_MAX, longer)

    def _tried(self, rung: int) -> bool:
        """Whether enough is known to say if it is better than the best, or a look has to."""
        known = self._known(rung)
        if known is None or known.count >= TRIES:
            return known is not None
        wanted = (1 - GAIN_MIN) * self._ratio(self._best)
        return rung > self._best and sum(r >= wanted for r in known.ratios) >= FAILS

    def _due(self, rung: int) -> bool:
        """Whether its turn has come."""
        return self.curve.batches - self._last(rung) >= self._patience.get(rung, 0)

    def _may(self, rung: int, waiting: int) -> bool:
        """Whether enough waits for a batch of that size, and it can be afforded."""
        size = self._size(rung)
        if class_of(waiting) < class_of(size):
            return False
        level_s = self.curve.level_s
        # A rung never met is taken to be as good or bad as the highest one that was.
        known = self._known(rung) or self._known(max(filter(self._count, range(rung)), default=0))
        ratio = known.ratio if known else 1.0
        lost_s = size * level_s * max(0.0, ratio - 1.0)
        short = rung <= self._best or size * level_s * ratio <= self._look_s_max
        return short and self._credit_s >= lost_s

    @property
    def _look_s_max(self) -> float:
        """How long a batch may take that is run to find out."""
        return max(LOOK_S_MAX, 2.5 * self._size(self._best) * self.curve.level_s)

    def _class(self, rung: int) -> int:
        return class_of(self._size(rung))

    def _rung(self, rows: int) -> int:
        return min(class_of(rows), self._top)

    def _known(self, rung: int) -> SizeClass | None:
        return self.curve.classes.get(self._class(rung))

    def _count(self, rung: int) -> int:
        known = self._known(rung)
        return known.count if known else 0

    def _ratio(self, rung: int) -> float:
        known = self._known(rung)
        return known.ratio if known else 1.0

    def _last(self, rung: int) -> int:
        known = self._known(rung)
        return max(known.last if known else 0, self._looked.get(rung, 0))

    def _size(self, rung: int) -> int:
        # The top rung takes what the operator allows, though it be no power of two.
        return self._batch_max if rung >= self._top else 1 << rung
