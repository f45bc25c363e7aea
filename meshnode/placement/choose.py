"""The decision: every candidate in predicted milliseconds, the best first, the rest with reasons.

Filters first, in the order a person would want to hear them; then the score of every candidate
that is left. It is a full scan and not a draw of two: each node sees other records (its own
answers carry them), so nodes do not all pick the same best, and the corrections for requests in
flight keep one node from flooding its own best (placement.md sections 1 and 9).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeAlias

from meshnode.caps import Caps, lacking
from meshnode.ids import ContentHash, NodeId, NodeTag, tag_of
from meshnode.placement.board import Scoreboard, Standing
from meshnode.placement.candidate import Candidate
from meshnode.placement.score import EACH_MS, UNIT_MS, Score, cold_ms, corrected_ms, wait_ms
from meshnode.wire.messages import LoadRecord, ModuleLoad


@dataclass(frozen=True, slots=True)
class Scored:
    """A candidate and its prediction."""

    candidate: Candidate
    score: Score

    @property
    def node_id(self) -> NodeId:
        """Whose prediction it is."""
        return self.candidate.contact.node_id


@dataclass(frozen=True, slots=True)
class Decision:
    """Where a request goes: `ranked[0]`, then the next best. Empty: nobody can run it."""

    ranked: tuple[Scored, ...]
    excluded: tuple[tuple[Candidate, str], ...]
    """Who was not considered, and the exact reason."""


def choose(
    candidates: Sequence[Candidate],
    *,
    board: Scoreboard,
    module: ContentHash,
    required: Caps,
    payload_bytes: int,
    source: str,
    now: float,
    module_bytes: int = 0,
) -> Decision:
    """Rank all candidates that can run `module`, by predicted completion (ms), lowest first.

    `payload_bytes` are the inputs and the answer; `module_bytes` what a node that does not hold the
    module would fetch (0: not known). Of equal scores the own node's is first, then whose id is
    nearer to the own: the order of the candidates decides nothing, and not all nodes pick the same
    one.
    """
    fit, excluded = _filtered(candidates, required, board, now)
    view = Weighing(board, tag_of(module), payload_bytes, module_bytes, source, now)
    view.learn_runs(board, fit)
    ranked = [Scored(c, view.score(c, standing)) for c, standing in fit]
    own = own_number(candidates)
    ranked.sort(key=lambda s: (s.score.total_ms, apart(own, s.node_id)))
    return Decision(tuple(ranked), tuple(excluded))


def own_number(candidates: Iterable[Candidate]) -> int:
    """Return the id of the own node among candidates as a number; 0 if it is not there."""
    own = (c.contact.node_id for c in candidates if c.is_self)
    return int.from_bytes(next(own, b""), "big")


def apart(own: int, node: NodeId) -> int:
    """Return how far apart two ids are (XOR, as in Kademlia): what decides among equal scores."""
    return own ^ int.from_bytes(node, "big")


Fit: TypeAlias = tuple[Candidate, Standing | None]
"""A candidate that can be used, and what the board knows of it."""


def _filtered(
    candidates: Iterable[Candidate], required: Caps, board: Scoreboard, now: float
) -> tuple[list[Fit], list[tuple[Candidate, str]]]:
    """Return who is fit, and who is not and why."""
    fit: list[Fit] = []
    failed: list[tuple[float, Fit, str]] = []
    excluded: list[tuple[Candidate, str]] = []
    needed = int(required)  # flag arithmetic on enums is slow, and this runs for everybody
    for c in candidates:
        if reason := unfitness(c, needed, board.settings.record_age_s_max):
            excluded.append((c, reason))
            continue
        standing = board.standing(tag_of(c.contact.node_id))
        if standing is not None and standing.excluded_until > now:
            since_s, left_s = now - standing.failed_at, standing.excluded_until - now
            text = f"failed {since_s:.1f} s ago, excluded {left_s:.1f} s more"
            failed.append((left_s, (c, standing), text))
        elif c.policy:
            excluded.append((c, c.policy))
        else:
            fit.append((c, standing))
    if failed:
        readmitted, avoided = _never_more_than_half(failed, len(fit))
        fit += [f for f in readmitted if not f[0].policy]
        excluded += [(c, c.policy) for c, _ in readmitted if c.policy] + avoided
    return fit, excluded


def unfitness(c: Candidate, needed: int, record_age_s_max: float) -> str:
    """Return the first reason why a candidate cannot be used at all, or an empty string."""
    load = c.load
    if load is not None and load.draining:
        return "draining"
    if c.unfit:
        return c.unfit
    if needed & ~int(c.caps):
        return lacking(Caps(needed & ~int(c.caps)))
    if load is None:
        return "no load record yet"
    if c.load_age_s > record_age_s_max and not c.is_self:
        return f"no load record for {c.load_age_s:.1f} s"
    return ""


def _never_more_than_half(
    failed: list[tuple[float, Fit, str]], fit_count: int
) -> tuple[list[Fit], list[tuple[Candidate, str]]]:
    """Return those that are used in spite of a failure, and those that are avoided.

    When most of the view seems to fail, the fault is likely here or in the requests; avoiding
    everybody would turn it into an outage. The exclusions that end soonest are lifted.
    """
    failed.sort(key=lambda f: -f[0])
    avoided_max = (fit_count + len(failed)) // 2
    avoided = [(c, text) for _, (c, _), text in failed[:avoided_max]]
    return [f for _, f, _ in failed[avoided_max:]], avoided


class Weighing:
    """What all scores of one decision have in common."""

    __slots__ = (
        "_each_per_speed",
        "_last_server",
        "_module",
        "_module_bytes",
        "_now",
        "_payload_bytes",
        "_per_speed",
        "_settings",
        "_speed",
        "_transfer_ms",
    )

    def __init__(
        self,
        board: Scoreboard,
        module: NodeTag,
        payload_bytes: int,
        module_bytes: int,
        source: str,
        now: float,
    ) -> None:
        self._settings = board.settings
        self._module = module
        self._module_bytes = module_bytes
        self._now = now
        self._payload_bytes = payload_bytes
        self._transfer_ms = payload_bytes / board.settings.bytes_per_ms
        last = board.last_server(source)
        self._last_server = None if last is None else board.standing(last)
        self._speed = 1.0
        self._per_speed: float | None = None
        self._each_per_speed = 0.0

    def learn_runs(self, board: Scoreboard, fit: Sequence[Fit]) -> None:
        """Learn what the module costs per unit of `speed`, if any candidate has not measured it.

        `speed` is the time of the same calibration run everywhere, so s1 is about proportional. All
        that was heard counts and not only the candidates: or leaving out one that loses would
        change what another is estimated to take, and with it who wins.
        """
        for c, _ in fit:
            known = None if c.load is None else _module_load(c.load, self._module)
            if known is None or known.first <= 0:
                break
        else:
            return
        records = list(board.records())
        speeds = [record.speed for record in records]
        self._speed = max(1.0, median(speeds)) if speeds else 0.0
        ratios = [
            (module.first * UNIT_MS / record.speed, EACH_MS[module.each] / record.speed)
            for record in records
            if (module := _module_load(record, self._module)) is not None
            and module.first > 0
            and record.speed > 0
        ]
        if ratios:
            self._per_speed = median(first for first, _ in ratios)
            self._each_per_speed = median(each for _, each in ratios)

    def score(self, c: Candidate, standing: Standing | None) -> Score:
        """Return the prediction for one fit candidate."""
        load = c.load
        assert load is not None, "a candidate without a record is filtered out"
        settings = self._settings
        known = _module_load(load, self._module)
        warm = known is not None and known.warm
        measured = known is not None and known.first > 0
        more = c.rows - 1
        if known is not None and measured:
            run = known.first * UNIT_MS + more * EACH_MS[known.each]
        else:
            run = self.estimated_ms(load) + more * self.estimated_each_ms(load)
        if c.is_self:
            network, transfer = c.rtt_ms or 0.0, 0.0
        else:
            network = settings.rtt_prior_ms if c.rtt_ms is None else c.rtt_ms
            transfer = self._transfer_ms
        if c.bytes_per_ms is not None:
            transfer = self._payload_bytes / c.bytes_per_ms
        bias = 0.0 if standing is None else standing.bias(self._now, settings)
        last = standing is not None and standing is self._last_server
        return Score(
            network,
            transfer,
            self._queue_ms(c, load, standing, warm),
            run * c.run_factor,
            0.0 if warm else cold_ms(c.holds, self._module_bytes, settings),
            max(0.0, bias),
            -settings.sticky_ms if last else 0.0,
            not measured,
        )

    def _queue_ms(
        self, c: Candidate, load: LoadRecord, standing: Standing | None, warm: bool
    ) -> float:
        wait = load.wait * UNIT_MS
        unseen_ms = open_ms = 0.0
        if standing is not None and standing.sent:
            written_at = self._now - c.load_age_s
            unseen_ms, open_ms = standing.in_flight(written_at, self._now, self._settings)
        if c.is_self:
            # Requests that wait for a cold start here are in no lane yet: the floor counts them.
            return wait if warm else max(wait, open_ms)
        mean, sigma = load.wait_mean * UNIT_MS, load.wait_sigma * UNIT_MS
        expected = wait_ms(wait, mean, sigma, c.load_age_s * 1000, self._settings)
        return corrected_ms(expected, unseen_ms, open_ms, self._settings)

    def estimated_ms(self, load: LoadRecord) -> float:
        """Return s1 at a node that never measured it, from its speed."""
        if self._per_speed is not None:
            return self._per_speed * max(1.0, load.speed)
        if load.speed <= 0 or self._speed <= 0.0:
            return self._settings.first_prior_ms
        return self._settings.first_prior_ms * load.speed / self._speed

    def estimated_each_ms(self, load: LoadRecord) -> float:
        """Return b at a node that never measured it."""
        return self._each_per_speed * max(1.0, load.speed)


def usual_ms(scored: Scored, module: ContentHash) -> float:
    """Return what one row of a module takes at a candidate, whatever this request brings."""
    load = scored.candidate.load
    known = None if load is None else _module_load(load, tag_of(module))
    if known is not None and known.first:
        return known.first * UNIT_MS
    return scored.score.run_ms / scored.candidate.run_factor


def _module_load(load: LoadRecord, module: NodeTag) -> ModuleLoad | None:
    for each in load.modules:
        if each.module == module:
            return each
    return None
