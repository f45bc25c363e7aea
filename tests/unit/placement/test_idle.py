"""Whom a dry node calls and when, and what the one called gives up."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.ids import ContentHash, NodeTag, RequestId, tag_of
from meshnode.placement.board import Scoreboard
from meshnode.placement.idle import (
    IdleCaller,
    Neighbour,
    Offer,
    Waiting,
    given_up,
    neighbour,
    offers_of,
)
from meshnode.placement.settings import PlacementSettings
from meshnode.wire.messages import LoadRecord
from tests.unit.placement.nodes import MODULE, NOW, OTHER, node_id, record

SETTINGS = PlacementSettings()
A, B, C, D = (NodeTag(bytes([n]) * 8) for n in range(4))
M = NodeTag(b"m" * 8)
BUSY = [Neighbour(A, M, 30.0), Neighbour(B, M, 90.0), Neighbour(C, M, 60.0)]


def test_the_most_loaded_is_called_first_then_the_next_and_three_at_most() -> None:
    caller = IdleCaller()
    assert caller.next_timer() is None
    caller.dry(1.0)
    asked = []
    while (whom := caller.choose([*BUSY, Neighbour(D, M, 25.0)], 1.0)) is not None:
        asked.append(whom.node)
        assert caller.next_timer() is None, "one call at a time"
        caller.answered(0, 1.0)
    assert asked == [B, C, A]


def test_nobody_is_called_for_little() -> None:
    caller = IdleCaller()
    caller.dry(0.0)
    assert caller.choose([Neighbour(A, M, SETTINGS.idle_gain_ms)], 0.0) is None


def seen(load: LoadRecord, warm: dict[NodeTag, float], age_s: float = 0.0) -> Neighbour | None:
    board = Scoreboard()
    board.on_record(load, None, NOW - age_s)
    return neighbour(board.known(load.node), warm, NOW, SETTINGS)


def test_what_a_call_can_gain_is_the_last_that_waits_and_not_what_runs() -> None:
    own = {tag_of(MODULE): 5.0}
    # What runs there is no use to anybody else: the last one that waits is done after 3 ms.
    assert seen(record("a", wait=3.0, run=10.0, unit=10.0), own) is None
    busy = record("a", wait=30.0, run=10.0, unit=2.0)
    found = seen(busy, own)
    assert found is not None
    assert (found.node, found.module) == (busy.node, tag_of(MODULE))
    assert found.gain_ms == pytest.approx(30.0 + 10.0 - 2.0 - SETTINGS.idle_share * 5.0)
    assert seen(busy, {}) is None
    assert seen(record("a", wait=30.0, warm=False), own) is None


def test_a_neighbour_is_called_for_what_waits_there() -> None:
    own = {tag_of(MODULE): 5.0, tag_of(OTHER): 5.0}
    both = two(record("a", wait=30.0), waits=OTHER)
    found = seen(both, own)
    assert found is not None
    assert found.module == tag_of(OTHER)
    assert seen(both, {tag_of(MODULE): 5.0}) is None, "what waits there is of no use here"
    nothing = replace(both, modules=tuple(replace(m, waits=False) for m in both.modules))
    assert seen(nothing, {tag_of(MODULE): 5.0}) is not None, "by its mean, something will"


def test_an_avoided_neighbour_is_not_called() -> None:
    board = Scoreboard()
    board.on_record(record("a", wait=90.0), None, NOW)
    board.on_failure(node_id("a"), NOW)
    standing = board.known(tag_of(node_id("a")))
    assert neighbour(standing, {tag_of(MODULE): 5.0}, NOW, SETTINGS) is None


def test_what_is_known_to_be_warm_at_a_caller_is_offered() -> None:
    load = two(record("a", run=10.0, unit=4.0), waits=MODULE)
    assert offers_of(load, 3) == {m: Offer(10.0, 4.0, 3) for m in map(tag_of, (MODULE, OTHER))}
    cold = replace(load, modules=tuple(replace(m, warm=False) for m in load.modules))
    assert offers_of(cold, 3) == {}
    unmeasured = replace(load, modules=tuple(replace(m, first=0) for m in load.modules))
    assert offers_of(unmeasured, 3) == {}


def two(load: LoadRecord, waits: ContentHash) -> LoadRecord:
    """The same node with a second module that is like the first; of one of them requests wait."""
    modules = (load.modules[0], replace(load.modules[0], module=tag_of(OTHER)))
    return replace(
        load, modules=tuple(replace(m, waits=m.module == tag_of(waits)) for m in modules)
    )


def test_rounds_come_ever_more_slowly_until_there_was_work() -> None:
    caller, now, pauses = IdleCaller(), 0.0, []
    caller.dry(now)
    for _ in range(9):
        assert caller.choose([], now) is None
        due = caller.next_timer()
        assert due is not None
        pauses.append(round(due - now, 3))
        now = due
    assert pauses == [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0, 1.0]
    assert caller.choose(BUSY, now) == BUSY[1]
    caller.answered(2, now)
    assert caller.next_timer() == now + 0.01
    caller.busy()
    assert caller.next_timer() is None
    assert caller.choose(BUSY, now + 1) is None


def waiting(*completes_ms: float, movable: bool = True) -> list[Waiting]:
    return [
        Waiting(request=RequestId(bytes([i])), module=M, completes_ms=completes, movable=movable)
        for i, completes in enumerate(completes_ms)
    ]


def test_the_youngest_go_while_they_gain_and_there_is_room() -> None:
    offers = {M: Offer(first_ms=20.0, more_ms=5.0, room=2)}
    assert given_up(waiting(10, 20, 30, 40, 50), offers, 2.0, SETTINGS) == [b"\4", b"\3"]
    assert given_up(waiting(10, 20, 23.9), offers, 2.0, SETTINGS) == []
    assert given_up(waiting(10, 20, 24.0), offers, 2.0, SETTINGS) == [b"\2"]


def test_what_may_not_move_or_is_not_offered_for_stays() -> None:
    offer = Offer(first_ms=1.0, more_ms=1.0, room=9)
    assert given_up(waiting(99, movable=False), {M: offer}, 0.0, SETTINGS) == []
    assert given_up(waiting(99), {A: offer}, 0.0, SETTINGS) == []


@given(
    st.lists(st.floats(0, 1000), max_size=20),
    st.floats(0, 100),
    st.floats(0, 100),
    st.integers(0, 8),
    st.floats(0, 50),
)
def test_nobody_loses_by_moving(
    completes: list[float], first: float, more: float, room: int, way: float
) -> None:
    queue = waiting(*completes)
    given = given_up(queue, {M: Offer(first, more, room)}, way, SETTINGS)
    assert len(given) <= room
    stay = {each.request: each.completes_ms for each in queue}
    for place, request in enumerate(given):
        assert way + first + place * more <= stay[request] - SETTINGS.release_gain_ms + 1e-6


def test_a_large_request_is_reckoned_large_there_too() -> None:
    large = [Waiting(request=RequestId(b"\0"), module=M, completes_ms=60.0, movable=True, rows=11)]
    offer = Offer(first_ms=20.0, more_ms=5.0, room=2, row_ms=5.0)
    assert given_up(large, {M: offer}, 0.0, SETTINGS) == []
    assert given_up(large, {M: replace(offer, row_ms=1.0)}, 0.0, SETTINGS) == [b"\0"]
