"""choose: filters name their reason, the score ranks, and load never makes a node better."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.caps import Caps
from meshnode.placement.board import Scoreboard
from meshnode.placement.candidate import Candidate
from meshnode.placement.choose import Scored
from meshnode.placement.settings import PlacementSettings
from tests.unit.placement.nodes import (
    MODULE,
    NOW,
    PLAIN,
    decide,
    node,
    node_id,
    order,
    reasons,
    record,
    request,
    total,
)


def send(board: Scoreboard, name: str, count: int = 1, *, now: float = NOW) -> None:
    """Count requests as in flight at a node, as the hall does after a decision."""
    made = decide(node(name), board=board, now=now)
    for number in range(count):
        board.on_sent(node_id(name), request(1000 * count + number), MODULE, made.ranked[0], now)


def hearing(*nodes: Candidate) -> Scoreboard:
    """A board that has heard what the candidates say."""
    board = Scoreboard(PLAIN)
    for each in nodes:
        assert each.load is not None
        board.on_record(each.load, None, NOW)
    return board


# ---------------------------------------------------------------- ranking


def test_the_shorter_wait_wins() -> None:
    made = decide(node("busy", record("busy", wait=40.0)), node("idle", record("idle", wait=3.0)))
    assert order(made) == ["idle", "busy"]


def test_a_fast_busy_node_beats_a_slow_idle_one_by_measured_speed() -> None:
    fast = node("fast", record("fast", wait=15.0, run=5.0))
    slow = node("slow", record("slow", wait=0.0, run=60.0))
    assert order(decide(slow, fast)) == ["fast", "slow"]


def test_a_warm_node_beats_a_cold_idle_one() -> None:
    cold = node("cold", record("cold", warm=False))
    absent = node("absent", record("absent", holds=False))
    warm = node("warm", record("warm", wait=50.0))
    assert order(decide(absent, cold, warm)) == ["warm", "cold", "absent"]


def test_our_own_node_saves_the_way() -> None:
    made = decide(node("far", rtt=8.0), node("own", is_self=True, rtt=0.0), payload_bytes=500_000)
    assert order(made) == ["own", "far"]
    assert total(made, "far") - total(made, "own") == pytest.approx(8.0 + 10.0)


def test_equal_scores_stay_here() -> None:
    assert order(decide(node("a", rtt=0.0), node("own", rtt=0.0, is_self=True)))[0] == "own"


def test_the_last_server_of_a_source_keeps_it_only_within_the_bonus() -> None:
    board = Scoreboard(PlacementSettings(sticky_ms=5.0))
    board.on_answer(node_id("home"), request(1), "cam", 1.0, NOW)
    other = node("other")
    assert order(decide(other, node("home", rtt=4.0), board=board, source="cam"))[0] == "home"
    assert order(decide(other, node("home", rtt=4.0), board=board, source="dog"))[0] == "other"
    assert order(decide(other, node("home", rtt=7.0), board=board, source="cam"))[0] == "other"


def test_an_unmeasured_node_is_estimated_from_the_others_by_its_speed() -> None:
    known = node("known", record("known", run=10.0, speed=100))
    twice = node("twice", record("twice", run=0.0, unit=0.0, speed=200))
    made = decide(known, twice, board=hearing(known, twice))
    (found,) = [s.score for s in made.ranked if s.candidate.name == "twice"]
    assert found.estimated
    assert found.run_ms == pytest.approx(20.0)
    assert not made.ranked[0].score.estimated


def test_where_nobody_measured_the_prior_is_scaled_by_speed() -> None:
    nodes = [
        node(n, record(n, run=0.0, unit=0.0, speed=s))
        for n, s in zip("abc", (50, 100, 400), strict=True)
    ]
    runs = [s.score.run_ms for s in decide(*nodes, board=hearing(*nodes)).ranked]
    assert runs == pytest.approx([10.0, 20.0, 80.0])
    speechless = decide(node("z", record("z", run=0.0, unit=0.0, speed=0)))
    assert speechless.ranked[0].score.run_ms == PLAIN.first_prior_ms


def test_a_broken_promise_is_remembered_in_the_score() -> None:
    board = Scoreboard(PLAIN)
    liar, honest = node("liar", rtt=0.5), node("honest", rtt=1.0)
    assert order(decide(liar, honest, board=board))[0] == "liar"
    send(board, "liar")
    board.on_answer(node_id("liar"), request(1000), "", 211.0, NOW)
    assert order(decide(liar, honest, board=board))[0] == "honest"


def test_a_burst_spreads_though_every_record_says_idle() -> None:
    """Thirty requests in one instant, one record each: no node gets them all."""
    board = Scoreboard(PLAIN)
    nodes = [node(n, record(n, run=10.0)) for n in "abc"]
    got = {n: 0 for n in "abc"}
    for i in range(30):
        best: Scored = decide(*nodes, board=board).ranked[0]
        got[best.candidate.name] += 1
        board.on_sent(best.candidate.contact.node_id, request(i), MODULE, best, NOW)
    assert list(got.values()) == [10, 10, 10]


def test_our_own_cold_node_counts_what_waits_for_its_start() -> None:
    board = Scoreboard(PLAIN)
    own = node("own", record("own", warm=False), is_self=True, rtt=0.0)
    before = total(decide(own, board=board), "own")
    made = decide(own, board=board)
    for i in range(3):
        board.on_sent(node_id("own"), request(i), MODULE, made.ranked[0], NOW)
    assert total(decide(own, board=board), "own") == pytest.approx(before + 30.0)


def test_our_own_warm_node_is_known_exactly() -> None:
    board = Scoreboard(PLAIN)
    own = node("own", record("own", wait=7.0, mean=90.0, sigma=50.0), is_self=True, rtt=0.0)
    made = decide(own, board=board)
    board.on_sent(node_id("own"), request(1), MODULE, made.ranked[0], NOW)
    assert total(decide(own, board=board), "own") == pytest.approx(17.0)


# ---------------------------------------------------------------- filters


def test_each_exclusion_has_its_exact_reason() -> None:
    board = Scoreboard(PLAIN)
    board.on_failure(node_id("failed"), NOW - 1.2)
    made = decide(
        node("fine"),
        node("also"),
        node("draining", record("draining", draining=True)),
        node("dead", unfit="dead"),
        node("weak", caps=Caps(0)),
        node("quiet", heard=False),
        node("stale", age_s=4.2),
        node("failed"),
        node("unwanted", policy="policy: needs 16 MiB, 6 left"),
        board=board,
    )
    assert sorted(order(made)) == ["also", "fine"]
    assert reasons(made) == {
        "draining": "draining",
        "dead": "dead",
        "weak": "lacks cap cpu",
        "quiet": "no load record yet",
        "stale": "no load record for 4.2 s",
        "failed": "failed 1.2 s ago, excluded 1.8 s more",
        "unwanted": "policy: needs 16 MiB, 6 left",
    }


def test_missing_capabilities_are_all_named() -> None:
    made = decide(node("a"), required=Caps.CPU | Caps.NN | Caps.CUDA)
    assert reasons(made) == {"a": "lacks cap cuda, nn"}
    assert made.ranked == ()


def test_a_capability_that_operators_switch_on_says_so() -> None:
    made = decide(node("a"), required=Caps.CPU | Caps.WASI)
    assert reasons(made) == {"a": "lacks cap wasi (off unless named in its policy.caps)"}


def test_the_first_reason_in_order_is_given() -> None:
    worst = node(
        "worst", record("worst", draining=True), caps=Caps(0), unfit="dead", age_s=9.0, policy="no"
    )
    assert reasons(decide(worst)) == {"worst": "draining"}
    assert reasons(decide(replace(worst, load=record("worst")))) == {"worst": "dead"}


def test_our_own_record_is_never_too_old() -> None:
    assert order(decide(node("own", is_self=True, age_s=9.0))) == ["own"]


def test_never_more_than_half_of_the_view_is_excluded_for_failing() -> None:
    board = Scoreboard(PLAIN)
    nodes = [node(n) for n in "abcd"]
    for i, name in enumerate("abcd"):
        board.on_failure(node_id(name), NOW - 2.0 + i * 0.5)
    made = decide(*nodes, board=board)
    assert sorted(order(made)) == ["a", "b"]  # whose time ends soonest
    assert sorted(reasons(made)) == ["c", "d"]


def test_the_only_capable_node_is_tried_again_though_it_failed() -> None:
    board = Scoreboard(PLAIN)
    board.on_failure(node_id("only"), NOW)
    assert order(decide(node("only"), node("weak", caps=Caps(0)), board=board)) == ["only"]


def test_who_is_readmitted_still_obeys_policy() -> None:
    board = Scoreboard(PLAIN)
    board.on_failure(node_id("a"), NOW)
    made = decide(node("a", policy="not here"), board=board)
    assert reasons(made) == {"a": "not here"}


# ---------------------------------------------------------------- properties

nodes = st.builds(
    lambda name, wait, mean, sigma, run, rtt, age_s, warm: node(
        name,
        record(name, wait=wait, mean=mean, sigma=sigma, run=run, warm=warm),
        rtt=rtt,
        age_s=age_s,
    ),
    name=st.sampled_from("abcdef"),
    wait=st.floats(0, 500),
    mean=st.floats(0, 500),
    sigma=st.floats(0, 100),
    run=st.floats(0.1, 200),
    rtt=st.floats(0, 50),
    age_s=st.floats(0, 4),
    warm=st.booleans(),
)
views = st.lists(nodes, min_size=1, max_size=6, unique_by=lambda c: c.name)


@settings(max_examples=60, deadline=None)
@given(views, st.floats(0, 500))
def test_more_load_never_makes_a_node_better(view: list[Candidate], more: float) -> None:
    before = decide(*view)
    name = before.ranked[0].candidate.name
    busier = [
        replace(c, load=replace(c.load, wait=c.load.wait + round(more * 10)))
        if c.name == name and c.load is not None
        else c
        for c in view
    ]
    assert total(decide(*busier), name) >= total(before, name) - 1e-9


@settings(max_examples=60, deadline=None)
@given(views, st.integers(1, 5))
def test_our_own_requests_in_flight_make_a_node_worse(view: list[Candidate], count: int) -> None:
    board = Scoreboard(PLAIN)
    before = decide(*view, board=board)
    best = before.ranked[0]
    name = best.candidate.name
    previous = best.score.total_ms
    for i in range(count):
        board.on_sent(best.candidate.contact.node_id, request(i), MODULE, best, NOW)
        now = total(decide(*view, board=board), name)
        assert now > previous
        previous = now


@settings(max_examples=60, deadline=None)
@given(views, st.integers(0, 10**6))
def test_every_candidate_is_ranked_or_has_a_reason_and_parts_add_up(
    view: list[Candidate], payload: int
) -> None:
    made = decide(*view, payload_bytes=payload)
    assert len(made.ranked) + len(made.excluded) == len(view)
    totals = [s.score.total_ms for s in made.ranked]
    assert totals == sorted(totals)
    for scored in made.ranked:
        assert sum(scored.score.as_dict().values()) == pytest.approx(scored.score.total_ms)


@settings(max_examples=50, deadline=None)
@given(views, st.data())
def test_a_draining_node_is_never_chosen(view: list[Candidate], data: st.DataObject) -> None:
    leaving = data.draw(st.sampled_from(view))
    assert leaving.load is not None
    going = replace(leaving, load=replace(leaving.load, draining=True))
    made = decide(*[going if c is leaving else c for c in view])
    assert leaving.name not in order(made)
    assert reasons(made)[leaving.name] == "draining"
