"""Idle calls: a node that runs dry asks loaded neighbours for work that waits there.

The caller asks one after another, the one it believes most loaded first. The neighbour gives up
its youngest waiting requests, as far as they gain by it, by refusing them late in the caller's
name; their senders send them there (placement.md section 2). Requests and answers keep their
sender: nobody forwards, nobody is trusted with another's request.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from meshnode.ids import NodeTag, RequestId
from meshnode.placement.board import Standing
from meshnode.placement.score import EACH_MS, UNIT_MS, wait_ms
from meshnode.placement.settings import PlacementSettings
from meshnode.wire.messages import LoadRecord, ModuleLoad


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A node on the LAN as the caller believes it to be, for the module they share."""

    node: NodeTag
    module: NodeTag
    """The one they share."""
    gain_ms: float
    """By how much the last request that waits there is believed to be done later than a share of a
    run here: w + s1 - c - share * own s1, where c is what one waiting request adds to w. Without c,
    a fast node asks slow ones that have no queue."""


class IdleCaller:
    """When this node calls, and whom. Times are `now` in seconds."""

    def __init__(self, settings: PlacementSettings | None = None) -> None:
        self._settings = settings or PlacementSettings()
        self._due_at: float | None = None
        self._pause_s = self._settings.idle_pause_s_min
        self._asked: set[NodeTag] = set()

    def dry(self, now: float) -> None:
        """The last request here was finished and none waits."""
        self._pause_s = self._settings.idle_pause_s_min
        self._asked.clear()
        self._due_at = now

    def busy(self) -> None:
        """A request came; nobody is asked until this node runs dry again."""
        self._due_at = None

    def next_timer(self) -> float | None:
        """Return when `choose` should be asked next, or None while there is no reason to."""
        return self._due_at

    def choose(self, neighbours: Iterable[Neighbour], now: float) -> Neighbour | None:
        """Return whom to call now, or None: then the next round comes later, at most each second.

        Until `answered`, nobody else is called.
        """
        if self._due_at is None or now < self._due_at:
            return None
        least_ms = self._settings.idle_gain_ms
        best: Neighbour | None = None
        if len(self._asked) < self._settings.idle_calls_max:
            for each in neighbours:
                if each.gain_ms > least_ms and each.node not in self._asked:
                    best, least_ms = each, each.gain_ms
        if best is None:
            self._rest(now)
            return None
        self._asked.add(best.node)
        self._due_at = None
        return best

    def answered(self, released: int, now: float) -> None:
        """The neighbour answered, or failed to (`released` 0). What it gave is on its way."""
        if released:
            self._pause_s = self._settings.idle_pause_s_min
            self._rest(now)
        else:
            self._due_at = now

    def _rest(self, now: float) -> None:
        self._asked.clear()
        self._due_at = now + self._pause_s
        self._pause_s = min(2 * self._pause_s, self._settings.idle_pause_s_max)


def neighbour(
    standing: Standing, warm: Mapping[NodeTag, float], now: float, settings: PlacementSettings
) -> Neighbour | None:
    """Return a node as its record makes it look, for the module that it would be called for.

    `warm` has what one run takes here, in ms, of each module that is warm here. None: it is
    avoided, both have no module warm, or all that it said waits there is of other modules.
    """
    record = standing.record
    if record is None or standing.excluded_until > now:
        return None
    anything_waits = any(m.waits for m in record.modules)
    best: ModuleLoad | None = None
    best_ms = -inf
    for there in record.modules:
        if not there.warm or there.module not in warm or not there.first:
            continue
        if anything_waits and not there.waits:
            continue
        gain_ms = (there.first - there.unit) * UNIT_MS
        gain_ms -= settings.idle_share * warm[there.module]
        if gain_ms > best_ms:
            best, best_ms = there, gain_ms
    wait, mean, sigma = record.wait, record.wait_mean, record.wait_sigma
    most_ms = (max(wait, mean) + settings.pessimism * sigma) * UNIT_MS
    if best is None or most_ms + best_ms <= settings.idle_gain_ms:
        return None
    age_ms = max(0.0, now - standing.written_at) * 1000
    expected_ms = wait_ms(wait * UNIT_MS, mean * UNIT_MS, sigma * UNIT_MS, age_ms, settings)
    return Neighbour(record.node, best.module, expected_ms + best_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A request in this node's queue, in the order in which it would run."""

    request: RequestId
    module: NodeTag
    completes_ms: float
    """From now, if it stays: its wait and its run."""
    movable: bool
    """Its sender is on the LAN, and it was not given away before."""
    rows: int = 1


@dataclass(frozen=True, slots=True)
class Offer:
    """What the caller says of itself for one module."""

    first_ms: float
    """s1: one request on its empty lane."""
    more_ms: float
    """What each further one in the batch adds."""
    room: int
    """How many it takes: its batch."""
    row_ms: float = 0.0
    """b: what each further row of a request adds to its run."""


def offers_of(caller: LoadRecord, room: int) -> dict[NodeTag, Offer]:
    """Return what a node that calls takes, by what is known of its modules: those that are warm."""
    return {
        m.module: Offer(m.first * UNIT_MS, m.unit * UNIT_MS, room, EACH_MS[m.each])
        for m in caller.modules
        if m.warm and m.first
    }


def given_up(
    waiting: Sequence[Waiting],
    offers: dict[NodeTag, Offer],
    way_ms: float,
    settings: PlacementSettings,
) -> list[RequestId]:
    """Return which requests a caller should have: from the youngest on, while each gains.

    `way_ms` is what the detour costs: the refusal's way back and the request's way to the caller.
    """
    given: list[RequestId] = []
    taken: dict[NodeTag, int] = {}
    for each in reversed(waiting):
        offer = offers.get(each.module)
        if offer is None or not each.movable:
            continue
        count = taken.get(each.module, 0)
        run_ms = offer.first_ms + (each.rows - 1) * offer.row_ms
        there_ms = way_ms + run_ms + count * offer.more_ms
        if count >= offer.room or each.completes_ms - there_ms < settings.release_gain_ms:
            continue
        taken[each.module] = count + 1
        given.append(each.request)
    return given
