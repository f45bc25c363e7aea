"""Whom a dry node calls and when, and what the one called gives up."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from meshnode.ids import NodeTag, RequestId
from meshnode.placement.idle import IdleCaller, Neighbour, Offer, Waiting, given_up
from meshnode.placement.settings import PlacementSettings

SETTINGS = PlacementSettings()
A, B, C, D = (NodeTag(bytes([n]) * 8) for n in range(4))
M = NodeTag(b"m" * 8)
BUSY = [Neighbour(A, 30.0, 10.0), Neighbour(B, 90.0, 10.0), Neighbour(C, 60.0, 10.0)]


def test_the_most_loaded_is_called_first_then_the_next_and_three_at_most() -> None:
    caller = IdleCaller()
    assert caller.next_timer() is None
    caller.dry(1.0)
    asked = []
    while (whom := caller.choose([*BUSY, Neighbour(D, 25.0, 10.0)], 10.0, 1.0)) is not None:
        asked.append(whom)
        assert caller.next_timer() is None, "one call at a time"
        caller.answered(0, 1.0)
    assert asked == [B, C, A]


def test_nobody_is_called_for_little() -> None:
    caller = IdleCaller()
    caller.dry(0.0)
    # What runs there is no use to anybody else: the last one that waits is done after 3 ms.
    assert caller.choose([Neighbour(A, 3.0, 10.0, 10.0)], 5.0, 0.0) is None


def test_rounds_come_ever_more_slowly_until_there_was_work() -> None:
    caller, now, pauses = IdleCaller(), 0.0, []
    caller.dry(now)
    for _ in range(9):
        assert caller.choose([], 10.0, now) is None
        due = caller.next_timer()
        assert due is not None
        pauses.append(round(due - now, 3))
        now = due
    assert pauses == [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0, 1.0]
    assert caller.choose(BUSY, 10.0, now) == B
    caller.answered(2, now)
    assert caller.next_timer() == now + 0.01
    caller.busy()
    assert caller.next_timer() is None
    assert caller.choose(BUSY, 10.0, now + 1) is None


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
