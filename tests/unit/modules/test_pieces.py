from collections.abc import Callable

import pytest

from meshnode.ids import NodeId
from meshnode.machine import Random
from meshnode.modules.pieces import (
    IN_FLIGHT_MAX,
    IN_FLIGHT_MIN,
    LATE_UNKNOWN_S,
    REQUESTERS_MAX,
    STRIKES_MAX,
    TIMEOUT_UNKNOWN_S,
    Ask,
    PieceLayer,
    PiecePlan,
    layer_of,
)
from meshnode.wire.limits import PIECE_BYTES

A, B, C, D = (NodeId(bytes([65 + i]) * 32) for i in range(4))
DATA = b"".join(i.to_bytes(2, "big") * (PIECE_BYTES // 2) for i in range(12))[:-99]
LAYER = layer_of(DATA)


def piece(index: int) -> bytes:
    return DATA[index * PIECE_BYTES : (index + 1) * PIECE_BYTES]


def plan(*providers: NodeId, layer: PieceLayer = LAYER) -> PiecePlan:
    made = PiecePlan(layer)
    for provider in providers:
        made.add_provider(provider)
    return made


def give(made: PiecePlan, ask: Ask, now: float) -> bool:
    taken = made.on_piece(ask.provider, ask.index, piece(ask.index), now)
    made.on_written(ask.index)
    return taken


def test_each_provider_gets_a_few_pieces_and_no_piece_goes_to_two() -> None:
    asks = plan(A, B, C).next_asks(0.0)
    assert [a.provider for a in asks] == [A, B, C, A, B, C]
    assert [a.index for a in asks] == [0, 1, 2, 3, 4, 5]
    assert asks[0].timeout_s == TIMEOUT_UNKNOWN_S


def test_pieces_that_are_here_already_are_not_asked() -> None:
    made = PiecePlan(LAYER, have=[0, 1, 3])
    made.add_provider(A)
    assert [a.index for a in made.next_asks(0.0)] == [2, 4]
    assert made.missing == 9


def test_a_quick_provider_gets_more_in_flight_than_a_slow_one() -> None:
    made = plan(A, B)
    for ask in made.next_asks(0.0):
        give(made, ask, 0.01 if ask.provider == A else 1.0)
    flying = [a.provider for a in made.next_asks(1.0)]
    assert (flying.count(A), flying.count(B)) == (IN_FLIGHT_MAX, IN_FLIGHT_MIN)


def test_everything_comes_and_the_account_is_exact() -> None:
    made, now = plan(A, B, C), 0.0
    while not made.finished:
        now += 0.01
        for ask in made.next_asks(now):
            assert give(made, ask, now + 0.005)
    given = made.bytes_from()
    assert sum(given.values()) == len(DATA)
    assert set(given) == {A, B, C}
    assert made.next_asks(now) == []
    assert not made.stalled


def test_it_is_finished_only_when_the_last_piece_is_written() -> None:
    made = plan(A, layer=layer_of(b"small"))
    made.next_asks(0.0)
    assert made.on_piece(A, 0, b"small", 0.1)
    assert not made.finished
    made.on_written(0)
    assert made.finished


def test_one_bad_piece_and_the_provider_is_out() -> None:
    made = plan(A, B)
    made.next_asks(0.0)
    assert not made.on_piece(A, 0, piece(1), 0.1)
    asks = made.next_asks(0.1)
    assert {a.provider for a in asks} <= {B}
    (blame,) = made.blames()
    assert "sent a bad piece (0)" in blame
    made.add_provider(A)
    assert all(a.provider == B for a in made.next_asks(0.2))
    finish(made, 0.2)
    assert made.bytes_from() == {B: len(DATA)}


def finish(made: PiecePlan, now: float) -> None:
    """Let everyone who is asked answer well."""
    for _ in range(200):
        for ask in made.next_asks(now):
            give(made, ask, now + 0.01)
        now += 1.0
        if made.finished:
            return
    raise AssertionError("the plan does not come to an end")


def test_an_overdue_piece_is_asked_elsewhere_and_welcome_when_it_comes_late() -> None:
    made = plan(A, B)
    first = made.next_asks(0.0)
    slow = [a for a in first if a.provider == A]
    for ask in first:
        if ask.provider == B:
            give(made, ask, 0.01)
    made.next_asks(0.02)
    again = made.next_asks(TIMEOUT_UNKNOWN_S + 0.01)
    assert slow[0].index in [a.index for a in again]
    assert give(made, slow[0], TIMEOUT_UNKNOWN_S + 0.02)
    assert made.bytes_from()[A] == PIECE_BYTES


def test_a_provider_that_never_answers_is_left_after_three_times() -> None:
    made, now = plan(A), 0.0
    for _ in range(STRIKES_MAX):
        assert not made.stalled
        assert made.next_asks(now)
        now += TIMEOUT_UNKNOWN_S
    assert made.next_asks(now) == []
    assert made.stalled
    assert "did not answer in time" in made.blames()[0]


def test_a_refused_piece_is_asked_of_another() -> None:
    made = plan(A, B)
    first = made.next_asks(0.0)[0]
    made.on_failure(first.provider, first.index, "does not have it", 0.1)
    for now in (0.1, 0.2, 0.3):
        for ask in made.next_asks(now):
            assert (ask.provider, ask.index) != (first.provider, first.index)
            give(made, ask, now)


def test_when_nobody_is_left_it_stalls_and_a_new_provider_helps() -> None:
    made = plan(A)
    asks = made.next_asks(0.0)
    made.drop_provider(A, "left the mesh")
    assert made.stalled
    assert "left the mesh" in made.blames()[0]
    made.add_provider(B)
    assert not made.stalled
    assert asks[0].index in [a.index for a in made.next_asks(0.1)]


def test_a_plan_without_providers_is_stalled() -> None:
    assert plan().stalled
    assert not plan(layer=layer_of(b"")).stalled
    assert plan(layer=layer_of(b"")).finished


def test_the_rarest_piece_goes_first() -> None:
    made = PiecePlan(LAYER)
    made.add_provider(A, has=range(6))
    made.add_provider(B, has=range(5))
    made.add_provider(C)
    by_c = [a.index for a in made.next_asks(0.0) if a.provider == C]
    assert by_c == [6, 7]


def test_partial_providers_are_asked_only_for_what_they_have() -> None:
    made = PiecePlan(LAYER)
    made.add_provider(A, has=[3])
    assert [a.index for a in made.next_asks(0.0)] == [3]
    made.add_provider(A, has=[4])
    assert [a.index for a in made.next_asks(0.0)] == [4]


def test_the_last_piece_is_asked_twice_at_most_and_only_when_it_is_late() -> None:
    made = plan(A, B, C, layer=layer_of(b"only one"))
    (first,) = made.next_asks(0.0)
    assert made.next_asks(0.01) == []
    assert made.next_timer() == LATE_UNKNOWN_S
    (second,) = made.next_asks(LATE_UNKNOWN_S)
    assert second.provider != first.provider
    assert made.next_asks(LATE_UNKNOWN_S + 1) == []
    assert REQUESTERS_MAX == 2
    assert made.on_piece(second.provider, 0, b"only one", 1.0)
    assert not made.on_piece(first.provider, 0, b"only one", 1.1)
    assert sum(made.bytes_from().values()) == len(b"only one")


def test_an_unknown_provider_is_nobody() -> None:
    made = plan(A)
    assert not made.on_piece(B, 0, piece(0), 0.0)
    made.on_failure(B, 0, "x", 0.0)
    made.drop_provider(B, "x")


def test_ticking_twice_changes_nothing_and_the_timer_lies_ahead() -> None:
    made = plan(A, B)
    made.next_asks(1.0)
    timer = made.next_timer()
    assert timer is not None
    assert timer > 1.0
    made.tick(1.5)
    made.tick(1.5)
    assert made.next_timer() == timer


@pytest.mark.parametrize("seed", range(20))
def test_among_liars_and_sleepers_one_honest_provider_is_enough(seed: int) -> None:
    rng, now = Random(seed), 0.0
    behaviours: dict[NodeId, Callable[[Ask], bytes | None]] = {
        A: lambda ask: piece(ask.index),
        B: lambda ask: piece(ask.index) if rng.random() < 0.5 else b"lie",
        C: lambda ask: None,
        D: lambda ask: piece(ask.index) if rng.random() < 0.7 else None,
    }
    made = plan(*behaviours)
    flying: list[tuple[float, Ask]] = []
    for _ in range(2000):
        now += 0.05
        flying += [(now + rng.random(), ask) for ask in made.next_asks(now)]
        for due in [f for f in flying if f[0] <= now]:
            flying.remove(due)
            data = behaviours[due[1].provider](due[1])
            if data is not None and made.on_piece(due[1].provider, due[1].index, data, now):
                assert data == piece(due[1].index)
                made.on_written(due[1].index)
        if made.finished:
            break
    assert made.finished
    assert sum(made.bytes_from().values()) == len(DATA)


def test_a_plan_of_two_gibibytes_is_quick() -> None:
    count = 8192
    layer = PieceLayer(size=count * PIECE_BYTES, root=bytes(32), hashes=(bytes(32),) * count)
    made = plan(A, B, C, D, layer=layer)
    asked = 0
    while asked < count:
        for ask in made.next_asks(0.0):
            asked += 1
            made._missing.discard(ask.index)  # as if it had come; hashing is not measured here
            made._providers[ask.provider].asked.clear()
    assert asked == count
