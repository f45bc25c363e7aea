"""The candidates of one module kept ready, so that a decision is one pass over numbers.

`choose` explains: it makes every part of every score. Most decisions only need the best and the
price of the second best, many times a second, from candidates that are the same each time. A
`Field` reads a record once, when it comes, and leaves to the moment of choice only what depends on
it: the record's age, requests in flight, bias, the payload. Its scores are those of `choose`;
where the two could differ (most of the view has failed) it declines, and `choose` decides.
What a run takes where nobody measured it is estimated when the field is made.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, sqrt

from meshnode.ids import ContentHash, tag_of
from meshnode.placement.board import Scoreboard, Standing
from meshnode.placement.candidate import Candidate
from meshnode.placement.choose import Scored, Weighing, apart, own_number
from meshnode.placement.score import EACH_MS, UNIT_MS, Score, cold_ms, corrected_ms
from meshnode.wire.messages import LoadRecord


@dataclass(frozen=True, slots=True)
class Pick:
    """The best candidate and what the next best would take."""

    best: Scored
    second_ms: float
    """Predicted completion at the second best; infinite if there is none."""


class _Row:
    """One candidate: what its newest record says, in ms."""

    __slots__ = (
        "base_ms",
        "candidate",
        "caution_ms",
        "cold_ms",
        "each_ms",
        "estimated",
        "least_ms",
        "mean_ms",
        "network_ms",
        "per_byte_ms",
        "record",
        "run_ms",
        "standing",
        "swing_ms",
        "warm",
    )

    def __init__(
        self, candidate: Candidate, standing: Standing, network_ms: float, bytes_per_ms: float
    ) -> None:
        self.candidate = candidate
        self.standing = standing
        self.network_ms = network_ms
        unknown_ms = 0.0 if candidate.is_self else 1.0 / bytes_per_ms
        rate = candidate.bytes_per_ms
        self.per_byte_ms = unknown_ms if rate is None else 1.0 / rate
        self.record: LoadRecord | None = None
        self.mean_ms = self.swing_ms = self.caution_ms = 0.0
        self.run_ms = self.each_ms = self.cold_ms = self.base_ms = self.least_ms = 0.0
        self.warm = self.estimated = False


class Field:
    """The fit candidates for one module; made anew when membership or fitness changes."""

    def __init__(
        self,
        candidates: Sequence[Candidate],
        *,
        board: Scoreboard,
        module: ContentHash,
        module_bytes: int = 0,
    ) -> None:
        """Take candidates of which `choose.unfitness` has nothing to say, nor a policy.

        Failures and ages are looked at by `pick`. The own node wins ties.
        """
        self._board = board
        self._settings = board.settings
        self._module = tag_of(module)
        self._module_bytes = module_bytes
        prior_ms = self._settings.rtt_prior_ms
        self._weighing = Weighing(board, self._module, 0, 0, "", 0.0)
        self._weighing.learn_runs(board, [(c, None) for c in candidates])
        self._own: _Row | None = None
        self._rows: list[_Row] = []
        own = own_number(candidates)
        for c in sorted(candidates, key=lambda c: apart(own, c.contact.node_id)):
            standing = board.known(tag_of(c.contact.node_id))
            unknown_ms = 0.0 if c.is_self else prior_ms
            network_ms = unknown_ms if c.rtt_ms is None else c.rtt_ms
            row = _Row(c, standing, network_ms, self._settings.bytes_per_ms)
            if c.is_self:
                self._own = row
            else:
                self._rows.append(row)

    def pick(
        self,
        *,
        payload_bytes: int,
        source: str,
        now: float,
        own: LoadRecord | None,
        run_factor: float = 1.0,
        rows: int = 1,
    ) -> Pick | None:
        """Return the best candidate, or None where only `choose` can say.

        `own` is this node's record of this moment, if it is a candidate. `run_factor` stands for
        that of every candidate, which is not looked at: a field serves requests of all sizes.
        """
        settings = self._settings
        more, each = run_factor - 1.0, run_factor * (rows - 1)
        sized = rows != 1 or run_factor != 1.0
        last_tag = self._board.last_server(source)
        last = None if last_tag is None else self._board.standing(last_tag)
        best_ms = second_ms = inf
        best: _Row | None = None
        if self._own is not None:
            if own is None or (own is not self._own.record and not self._read(self._own, own)):
                return None
            best, best_ms = self._own, self._own_ms(own, last, now)
            best_ms += payload_bytes * best.per_byte_ms
            best_ms += more * best.run_ms + each * best.each_ms
        usable = self._usable(now)
        if usable is None:
            return None
        for row in usable:
            standing = row.standing
            moved_ms = payload_bytes * row.per_byte_ms
            if sized:
                moved_ms += more * row.run_ms + each * row.each_ms
            if row.least_ms + moved_ms - settings.sticky_ms >= second_ms:
                continue  # most of a wide view is out before its age is reckoned
            age_ms = (now - standing.written_at) * 1000
            total_ms = row.base_ms + moved_ms + self._wait_ms(row, age_ms, now)
            if standing.bias_ms > 0.0 or standing is last:
                total_ms += self._learned_ms(standing, last, now)
            if total_ms < best_ms:
                best, best_ms, second_ms = row, total_ms, best_ms
            elif total_ms < second_ms:
                second_ms = total_ms
        work = payload_bytes, run_factor, each
        return None if best is None else self._picked(best, best_ms, second_ms, work, last, now)

    def _usable(self, now: float) -> list[_Row] | None:
        """Read what is new and return who can be asked, or None if `choose` has to judge.

        Who failed is left out, as `choose` does unless it is more than half of the view.
        """
        heard_after = now - self._settings.record_age_s_max
        left_out = avoided = 0
        for row in self._rows:
            standing = row.standing
            record = standing.record
            if record is None or (record is not row.record and not self._read(row, record)):
                return None
            if standing.excluded_until > now:
                avoided += 1
            elif standing.written_at < heard_after:
                left_out += 1
        if not avoided and not left_out:
            return self._rows
        if avoided > (len(self._rows) - left_out + (self._own is not None)) // 2:
            return None
        return [
            row
            for row in self._rows
            if row.standing.excluded_until <= now and row.standing.written_at >= heard_after
        ]

    def _wait_ms(self, row: _Row, age_ms: float, now: float) -> float:
        """Return the wait to expect, as `score.wait_ms` and `score.corrected_ms` do."""
        wait_ms = row.mean_ms + row.swing_ms
        if age_ms > 0.0:
            e = exp(-age_ms / self._settings.tau_ms)
            wait_ms = row.mean_ms + row.swing_ms * e + row.caution_ms * sqrt(1.0 - e * e)
            wait_ms = wait_ms if wait_ms > 0.0 else 0.0
        standing = row.standing
        if standing.sent:
            unseen, all_open = standing.in_flight(standing.written_at, now, self._settings)
            return corrected_ms(wait_ms, unseen, all_open, self._settings)
        return wait_ms

    def _learned_ms(self, standing: Standing, last: Standing | None, now: float) -> float:
        bias_ms = max(0.0, standing.bias(now, self._settings))
        return bias_ms - (self._settings.sticky_ms if standing is last else 0.0)

    def _own_ms(self, own: LoadRecord, last: Standing | None, now: float) -> float:
        """Return the own node's prediction: its wait is known exactly."""
        row = self._own
        assert row is not None, "called only with the own node in the field"
        wait_ms = own.wait * UNIT_MS
        if not row.warm and row.standing.sent:
            _, open_ms = row.standing.in_flight(now, now, self._settings)
            wait_ms = max(wait_ms, open_ms)
        return row.base_ms + wait_ms + self._learned_ms(row.standing, last, now)

    def _read(self, row: _Row, record: LoadRecord) -> bool:
        """Take a new record; return False if `choose` has to judge it."""
        if record.draining:
            return False
        known = next((m for m in record.modules if m.module == self._module), None)
        row.estimated = known is None or known.first <= 0
        row.warm = known is not None and known.warm
        row.record = record
        row.mean_ms = record.wait_mean * UNIT_MS
        row.swing_ms = record.wait * UNIT_MS - row.mean_ms
        row.caution_ms = self._settings.pessimism * record.wait_sigma * UNIT_MS
        if known is None or row.estimated:
            row.run_ms = self._weighing.estimated_ms(record)
            row.each_ms = self._weighing.estimated_each_ms(record)
        else:
            row.run_ms = known.first * UNIT_MS
            row.each_ms = EACH_MS[known.each]
        row.cold_ms = 0.0
        if not row.warm:
            holds = row.candidate.holds if row.candidate.is_self else known is not None
            row.cold_ms = cold_ms(holds, self._module_bytes, self._settings)
        row.base_ms = row.network_ms + row.run_ms + row.cold_ms
        # Whatever its age, the wait lies between what was said and the mean, or above by caution.
        row.least_ms = row.base_ms + max(0.0, row.mean_ms + min(0.0, row.swing_ms))
        return True

    def _picked(
        self,
        row: _Row,
        total_ms: float,
        second_ms: float,
        work: tuple[int, float, float],
        last: Standing | None,
        now: float,
    ) -> Pick:
        """Return the winner with the parts of its score kept apart.

        `work` has the bytes to carry, and how many first and further rows the run amounts to.
        """
        payload_bytes, firsts, furthers = work
        run_ms = firsts * row.run_ms + furthers * row.each_ms
        bias_ms = max(0.0, row.standing.bias(now, self._settings))
        sticky_ms = -self._settings.sticky_ms if row.standing is last else 0.0
        moved_ms = payload_bytes * row.per_byte_ms
        known_ms = row.network_ms + moved_ms + run_ms + row.cold_ms
        queue_ms = max(0.0, total_ms - known_ms - bias_ms - sticky_ms)
        way = (row.network_ms, moved_ms, queue_ms, run_ms, row.cold_ms)
        return Pick(
            Scored(row.candidate, Score(*way, bias_ms, sticky_ms, row.estimated)), second_ms
        )
