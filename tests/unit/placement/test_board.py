"""Scoreboard: newest records, in-flight requests, bias, exclusions, last servers."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.ids import tag_of
from meshnode.placement.board import InFlight, Scoreboard
from meshnode.placement.candidate import Candidate
from meshnode.placement.choose import Scored
from meshnode.placement.score import Score, step_of
from meshnode.placement.settings import PlacementSettings
from meshnode.wire.excerpts import excerpt, rest_of
from meshnode.wire.messages import UNNAMED
from tests.unit.placement.nodes import MODULE, NOW, OTHER, node, node_id, record, request

A, B = node_id("a"), node_id("b")


def in_flight(board: Scoreboard, written_at: float, now: float) -> InFlight:
    standing = board.standing(tag_of(A))
    assert standing is not None
    return standing.in_flight(written_at, now, board.settings)


def promise(run: float = 10.0, network: float = 0.0) -> Scored:
    candidate: Candidate = node("a")
    return Scored(candidate, Score(network, 0.0, 0.0, run, 0.0, 0.0, 0.0, False))


def test_the_newest_record_is_kept_and_ages() -> None:
    board = Scoreboard()
    assert board.on_record(record("a", sequence=2), None, NOW)
    assert not board.on_record(record("a", sequence=1), None, NOW + 1)
    assert not board.on_record(record("a", sequence=2), None, NOW + 1)
    assert board.record_of(A, NOW + 1.5) == (record("a", sequence=2), 1.5)
    assert board.on_record(record("a", sequence=3), 20.0, NOW + 2)
    assert board.record_of(A, NOW + 2)[1] == pytest.approx(0.010)


def test_an_excerpt_adds_to_what_was_heard_before() -> None:
    board = Scoreboard()
    second = replace(record("a").modules[0], module=tag_of(OTHER), first=70)
    whole = replace(record("a"), modules=(*record("a").modules, second))
    board.on_record(whole, None, NOW)
    said = replace(whole, sequence=3, wait=50, modules=(replace(second, first=90), second)[:1])
    assert board.on_record(replace(said, rest=rest_of(whole.modules, 1)), None, NOW + 1)
    late = replace(excerpt(whole, 0), sequence=2, wait=7)
    late = replace(late, modules=(replace(whole.modules[0], first=60),))
    assert not board.on_record(late, None, NOW + 2), "its load is old"
    load, age_s = board.record_of(A, NOW + 2)
    assert load is not None
    assert (load.wait, load.rest, age_s) == (50, None, 1.0)
    assert [m.first for m in load.modules] == [60, 90]
    standing = board.standing(tag_of(A))
    assert standing is not None
    assert standing.by_module == {m.module: m for m in load.modules}


def test_what_somebody_else_invented_goes_with_the_record_that_it_came_in() -> None:
    board = Scoreboard()
    second = replace(record("a").modules[0], module=tag_of(OTHER))
    whole = replace(record("a"), modules=(*record("a").modules, second))
    board.on_record(whole, None, NOW)
    forged = replace(excerpt(whole, 0), sequence=900, modules=(replace(second, first=1),))
    board.on_record(forged, None, NOW, judged=True)
    board.on_record(replace(excerpt(whole, 0), sequence=2), None, NOW + 1, judged=True)
    load, _ = board.record_of(A, NOW + 1)
    assert load is not None
    assert load.modules == whole.modules[:1]


def test_in_a_call_a_node_speaks_for_itself_only() -> None:
    board = Scoreboard()
    assert board.on_word(A, replace(record("a"), node=UNNAMED), NOW) == record("a")
    assert board.on_word(A, record("a"), NOW) is None, "heard before"
    assert board.on_word(B, record("a", wait=900.0, sequence=2), NOW) is not None
    assert board.record_of(A, NOW) == (record("a"), 0.0)
    assert board.record_of(B, NOW) == (record("b", wait=900.0, sequence=2), 0.0)


def test_a_record_older_than_half_a_minute_is_none() -> None:
    board = Scoreboard()
    board.on_record(record("a"), None, NOW)
    assert board.record_of(A, NOW + 31) == (None, 0.0)
    assert board.record_of(B, NOW) == (None, 0.0)


def test_a_request_is_unseen_until_a_record_is_written_after_its_arrival() -> None:
    board = Scoreboard()
    board.on_record(record("a", run=10.0, unit=4.0), None, NOW)
    board.on_sent(A, request(1), MODULE, promise(network=20.0), NOW)  # arrives 10 ms later
    assert in_flight(board, NOW + 0.009, NOW + 0.02) == InFlight(4.0, 4.0)
    assert in_flight(board, NOW + 0.011, NOW + 0.02) == InFlight(0.0, 4.0)


@pytest.mark.parametrize(
    ("rows", "adds_ms"),
    [(1, 4.0), (2, 2 * 1.0 + 2 * 3.0), (3, 3 * 1.0 + 9.0), (100, 100 * 1.0 + 9.0)],
)
def test_a_request_in_flight_adds_its_rows_and_its_part_of_a_batch(
    rows: int, adds_ms: float
) -> None:
    board = Scoreboard()
    board.on_record(record("a", run=10.0, unit=4.0, each=step_of(1.0)), None, NOW)
    board.on_sent(A, request(1), MODULE, promise(), NOW, rows=rows)
    assert in_flight(board, NOW, NOW).open_ms == pytest.approx(adds_ms, rel=0.05)


def test_beyond_the_horizon_a_request_is_open_but_not_unseen() -> None:
    board = Scoreboard()
    board.on_sent(A, request(1), MODULE, promise(run=7.0), NOW)
    assert in_flight(board, NOW - 5, NOW + 0.9) == InFlight(7.0, 7.0)
    assert in_flight(board, NOW - 5, NOW + 1.1) == InFlight(0.0, 7.0)


def test_answers_and_losses_end_what_is_in_flight() -> None:
    board = Scoreboard()
    for i in (1, 2, 3):
        board.on_sent(A, request(i), OTHER, promise(), NOW)
    board.on_answer(A, request(1), "", 10.0, NOW)
    board.on_gone(A, request(2))
    board.on_gone(A, request(2))  # as a finally clause may do
    board.on_gone(B, request(9))
    assert in_flight(board, 0.0, NOW).open_ms == 10.0


def test_bias_moves_a_tenth_of_the_surprise_with_each_answer() -> None:
    board = Scoreboard(PlacementSettings(bias_gain=0.1))
    board.on_sent(A, request(1), MODULE, promise(run=10.0), NOW)
    board.on_answer(A, request(1), "", 110.0, NOW)
    assert board.bias_ms(A, NOW) == pytest.approx(10.0)
    board.on_sent(A, request(2), MODULE, promise(run=10.0), NOW)
    board.on_answer(A, request(2), "", 110.0, NOW)
    assert board.bias_ms(A, NOW) == pytest.approx(19.0)


def test_bias_fades_while_nobody_is_sent_there() -> None:
    board = Scoreboard(PlacementSettings(bias_gain=0.1, bias_half_life_s=20.0))
    board.on_sent(A, request(1), MODULE, promise(), NOW)
    board.on_answer(A, request(1), "", 5010.0, NOW)
    assert board.bias_ms(A, NOW + 20) == pytest.approx(250.0)
    assert board.bias_ms(B, NOW) == 0.0


def test_failures_exclude_longer_each_time_up_to_three_minutes() -> None:
    board = Scoreboard()
    now, lasted = NOW, []
    for _ in range(9):
        board.on_failure(A, now)
        exclusion = board.exclusion(A, now)
        assert exclusion is not None
        lasted.append(exclusion.left_s)
        now += exclusion.left_s
        assert board.exclusion(A, now) is None
    assert lasted == pytest.approx([3, 6, 12, 24, 48, 96, 180, 180, 180])


def test_requests_that_fail_together_count_once() -> None:
    board = Scoreboard()
    for i in range(8):
        board.on_failure(A, NOW + i / 100)
    exclusion = board.exclusion(A, NOW + 1.2)
    assert exclusion is not None
    assert (exclusion.failed_s, exclusion.left_s) == pytest.approx((1.2, 1.8))


def test_an_answer_ends_an_exclusion_and_its_growth() -> None:
    board = Scoreboard()
    board.on_failure(A, NOW)
    board.on_answer(A, request(1), "", 1.0, NOW + 1)
    assert board.exclusion(A, NOW + 1) is None
    board.on_failure(A, NOW + 2)
    exclusion = board.exclusion(A, NOW + 2)
    assert exclusion is not None
    assert exclusion.left_s == 3.0


def test_the_last_server_of_a_source_is_remembered_and_bounded() -> None:
    board = Scoreboard(PlacementSettings(sources_max=2))
    for source, who in (("one", A), ("two", B), ("one", A), ("three", B)):
        board.on_answer(who, request(1), source, 1.0, NOW)
    assert board.last_server("one") == tag_of(A)
    assert board.last_server("two") is None
    assert board.last_server("three") == tag_of(B)
    assert board.last_server("") is None


def test_a_forgotten_node_starts_anew() -> None:
    board = Scoreboard()
    board.on_record(record("a", sequence=9), None, NOW)
    board.on_failure(A, NOW)
    board.forget(A)
    assert board.exclusion(A, NOW) is None
    assert board.on_record(record("a", sequence=1), None, NOW)


def test_the_number_of_nodes_is_bounded_and_who_is_waited_for_stays() -> None:
    board = Scoreboard(PlacementSettings(nodes_max=3))
    board.on_sent(A, request(1), MODULE, promise(), NOW)
    for i in range(10):
        board.on_record(record(f"n{i}"), None, NOW + i)
    known = [i for i in range(10) if board.record_of(node_id(f"n{i}"), NOW + 10)[0]]
    assert known == [8, 9]
    assert in_flight(board, 0.0, NOW).open_ms == 10.0


def test_a_record_that_gossip_has_judged_replaces_an_invented_one() -> None:
    board = Scoreboard()
    board.on_record(record("a", sequence=900), None, NOW)
    assert board.on_record(record("a", sequence=3), None, NOW, judged=True)
    assert board.record_of(A, NOW) == (record("a", sequence=3), 0.0)


def test_who_broke_its_word_is_ranked_by_what_was_measured() -> None:
    board = Scoreboard(PlacementSettings(broken_gain=0.5))
    board.on_sent(A, request(1), MODULE, promise(run=10.0), NOW)
    board.on_broken(A, request(1), 210.0, NOW + 0.21)
    assert board.exclusion(A, NOW + 0.3) is not None
    assert board.bias_ms(A, NOW + 0.21) == pytest.approx(100.0)
    assert in_flight(board, NOW, NOW + 0.3) == (0.0, 0.0)


def test_an_answer_that_comes_late_does_not_restore_who_is_avoided() -> None:
    board = Scoreboard()
    for number, took_ms in ((1, 500.0), (2, 12.0)):
        board.on_sent(A, request(number), MODULE, promise(run=10.0), NOW)
        board.on_failure(A, NOW)
        board.on_answer(A, request(number), "", took_ms, NOW + 0.5)
        assert (board.exclusion(A, NOW + 0.6) is None) == (took_ms < 100)


NAMES = ("a", "b", "c")
ENDS = ("answer", "gone", "forget", "failure", "record")
steps = st.lists(
    st.tuples(st.sampled_from(NAMES), st.integers(0, 7), st.sampled_from(("sent", *ENDS))),
    max_size=60,
)


@given(steps)
def test_counts_return_to_zero(done: list[tuple[str, int, str]]) -> None:
    board = Scoreboard()
    score = Score(1.0, 0.0, 5.0, 10.0, 0.0, 0.0, 0.0, False)
    now = 0.0
    for name, number, what in done:
        now += 0.01
        ident, scored = node_id(name), Scored(node(name), score)
        match what:
            case "sent":
                board.on_sent(ident, request(number), MODULE, scored, now)
            case "answer":
                board.on_answer(ident, request(number), "camera", 20.0, now)
            case "gone":
                board.on_gone(ident, request(number))
            case "forget":
                board.forget(ident)
            case "failure":
                board.on_failure(ident, now)
            case _:
                board.on_record(record(name, sequence=number), None, now)
    for name in NAMES:
        for number in range(8):
            board.on_gone(node_id(name), request(number))
        standing = board.standing(tag_of(node_id(name)))
        if standing is not None:
            assert standing.in_flight(0.0, now, board.settings) == (0.0, 0.0)
            assert not standing.sent


def test_a_node_that_was_only_slow_to_speak_is_used_again_and_not_avoided_for_longer() -> None:
    board = Scoreboard()
    node = node_id("a")
    for _ in range(3):
        board.on_failure(node, NOW)
        assert board.exclusion(node, NOW) is not None
        board.on_alive(node)
        assert board.exclusion(node, NOW) is None
    board.on_failure(node, NOW)
    excluded = board.exclusion(node, NOW)
    assert excluded is not None
    assert excluded.left_s == board.settings.exclude_s_min
