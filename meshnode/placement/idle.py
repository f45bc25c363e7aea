"""Idle calls: a node that runs dry asks loaded neighbours for work that waits there.

The caller asks one after another, the one it believes most loaded first. The neighbour gives up
its youngest waiting requests, as far as they gain by it, by refusing them late in the caller's
name; their senders send them there (placement.md section 2). Requests and answers keep their
sender: nobody forwards, nobody is trusted with another's request.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from meshnode.ids import NodeTag, RequestId
from meshnode.placement.settings import PlacementSettings


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A node on the LAN as the caller believes it to be, for the module they share."""

    node: NodeTag
    wait_ms: float
    run_ms: float
    each_ms: float = 0.0
    """c: what one waiting request adds to w. The last one that waits is done at w + s1 - c, and
    that is what a call can improve: without it, a fast node asks slow ones that have no queue."""


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

    def choose(
        self, neighbours: Iterable[Neighbour], own_run_ms: float, now: float
    ) -> NodeTag | None:
        """Return whom to call now, or None: then the next round comes later, at most each second.

        Until `answered`, nobody else is called.
        """
        if self._due_at is None or now < self._due_at:
            return None
        least_ms = worth_ms(own_run_ms, self._settings)
        best: Neighbour | None = None
        if len(self._asked) < self._settings.idle_calls_max:
            for each in neighbours:
                last_ms = each.wait_ms + each.run_ms - each.each_ms
                if last_ms > least_ms and each.node not in self._asked:
                    best, least_ms = each, last_ms
        if best is None:
            self._rest(now)
            return None
        self._asked.add(best.node)
        self._due_at = None
        return best.node

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


def worth_ms(own_run_ms: float, settings: PlacementSettings) -> float:
    """Return how late a neighbour's last waiting request must be, for a call to be worth it."""
    return settings.idle_share * own_run_ms + settings.idle_gain_ms


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
