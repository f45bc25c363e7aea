"""What holds of every decision, by `choose`, by `Field` and in every affinity's order.

Who is avoided after failures is left out: never more than half of the view is, so that leaving
out one candidate may bring another back.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import isfinite

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.caps import Caps
from meshnode.ids import tag_of
from meshnode.machine import Random
from meshnode.placement.affinity import Bandit, Rotation, by_source
from meshnode.placement.board import Scoreboard
from meshnode.placement.candidate import Candidate
from meshnode.placement.choose import Scored, unfitness
from meshnode.placement.field import Field
from meshnode.placement.settings import PlacementSettings
from meshnode.wire.messages import LoadRecord, ModuleLoad
from tests.unit.placement.nodes import MODULE, NOW, OTHER, decide, node, node_id, record, request

NAMES = "abcdef"
ROUND = st.sampled_from([0.0, 1.0, 5.0, 40.0])
"""Few values: ties are what the order of a dict would decide."""


@st.composite
def candidates(draw: st.DrawFn, name: str) -> Candidate:
    wait = draw(st.one_of(ROUND, st.floats(0, 500)))
    said = record(
        name,
        wait=wait,
        mean=draw(ROUND),
        sigma=draw(ROUND),
        run=draw(st.one_of(st.sampled_from([0.0, 10.0]), st.floats(0.1, 200))),
        unit=draw(st.sampled_from([0.0, 4.0])),
        warm=draw(st.booleans()),
        holds=draw(st.booleans()),
        speed=draw(st.sampled_from([0, 50, 100])),
    )
    own = name == "a"
    age_s = 0.0 if own else draw(st.sampled_from([0.0, 0.1, 2.0]))
    return node(name, said, rtt=draw(st.sampled_from([None, 1.0, 20.0])), age_s=age_s, is_self=own)


@st.composite
def views(draw: st.DrawFn) -> tuple[Scoreboard, list[Candidate]]:
    """A board that has heard, sent and learned, and its candidates; the own node is "a"."""
    board = Scoreboard(PlacementSettings())
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=6, unique=True))
    view = [draw(candidates(name)) for name in names]
    for c in view:
        assert c.load is not None
        if not c.is_self:
            board.on_record(c.load, None, NOW - c.load_age_s)
    for number, name in enumerate(draw(st.lists(st.sampled_from(names), max_size=6))):
        promise = next(s for s in decide(*view, board=board).ranked if s.candidate.name == name)
        board.on_sent(node_id(name), request(number), MODULE, promise, NOW - 0.05)
        if draw(st.booleans()):
            board.on_answer(node_id(name), request(number), "camera", draw(ROUND), NOW - 0.01)
    return board, view


Way = Callable[[Scoreboard, Sequence[Candidate]], list[str]]
"""Ranks candidates: their names, the first is chosen."""


def by_choose(board: Scoreboard, view: Sequence[Candidate]) -> list[str]:
    return [s.candidate.name for s in ranked(board, view)]


def by_field(board: Scoreboard, view: Sequence[Candidate]) -> list[str]:
    """Taking the winner away again and again gives the ranking that a field stands for."""
    left, names = list(view), []
    while left:
        pick = picked(board, left)
        assert pick is not None
        names.append(pick.candidate.name)
        left = [c for c in left if c.name != names[-1]]
    return names


def ranked(board: Scoreboard, view: Sequence[Candidate]) -> list[Scored]:
    return list(decide(*view, board=board, source="camera", payload_bytes=1000).ranked)


def picked(board: Scoreboard, view: Sequence[Candidate]) -> Scored | None:
    limit_s = board.settings.record_age_s_max
    fit = [c for c in view if not unfitness(c, int(Caps.CPU), limit_s)]
    own = next((c.load for c in view if c.is_self), None)
    pick = Field(fit, board=board, module=MODULE).pick(
        payload_bytes=1000, source="camera", now=NOW, own=own
    )
    return None if pick is None else pick.best


def in_turn(board: Scoreboard, view: Sequence[Candidate]) -> list[str]:
    rotation = Rotation()
    rotation.order(decide(node("c")).ranked, MODULE)
    return [s.candidate.name for s in rotation.order(ranked(board, view), MODULE)]


def by_bandit(board: Scoreboard, view: Sequence[Candidate]) -> list[str]:
    bandit = Bandit(Random(1))
    for name in "bdb":
        bandit.learn(MODULE, node_id(name), 12.0)
    return [s.candidate.name for s in bandit.order(ranked(board, view), MODULE)]


def at_home(board: Scoreboard, view: Sequence[Candidate]) -> list[str]:
    return [s.candidate.name for s in by_source(ranked(board, view), "camera")]


def at_idle_home(board: Scoreboard, view: Sequence[Candidate]) -> list[str]:
    """Where no queue is near its bound, which is a mean over the candidates."""
    idle = [
        replace(c, load=replace(c.load, wait=0, wait_mean=0, wait_sigma=0)) for c in view if c.load
    ]
    return at_home(Scoreboard(), idle)


ALL: list[Way] = [by_choose, by_field, at_home, in_turn, by_bandit]
ways = pytest.mark.parametrize("way", ALL)


@ways
@settings(max_examples=40, deadline=None)
@given(views(), st.randoms(use_true_random=False))
def test_the_order_in_which_candidates_come_decides_nothing(
    way: Way, found: tuple[Scoreboard, list[Candidate]], rng: Random
) -> None:
    board, view = found
    expected = way(board, view)
    shuffled = list(view)
    rng.shuffle(shuffled)
    assert way(board, shuffled) == expected


@ways
@settings(max_examples=40, deadline=None)
@given(views(), st.data(), st.floats(0.1, 1000), st.sampled_from(["wait", "wait_mean", "sent"]))
def test_more_load_never_raises_a_rank(
    way: Way, found: tuple[Scoreboard, list[Candidate]], data: st.DataObject, more: float, kind: str
) -> None:
    board, view = found
    busier = data.draw(st.sampled_from(view))
    before = way(board, view).index(busier.name)
    assert busier.load is not None
    if kind == "sent":
        promise = next(s for s in ranked(board, view) if s.candidate.name == busier.name)
        board.on_sent(node_id(busier.name), request(99), MODULE, promise, NOW)
    else:
        added = getattr(busier.load, kind) + round(10 * more)
        load = replace(busier.load, **{kind: added, "sequence": 2})  # type: ignore[arg-type]
        view = [replace(c, load=load) if c is busier else c for c in view]
        if not busier.is_self:
            board.on_record(load, None, NOW - busier.load_age_s)
    assert way(board, view).index(busier.name) >= before


@pytest.mark.parametrize("way", [by_choose, by_field, at_idle_home, in_turn, by_bandit])
@settings(max_examples=40, deadline=None)
@given(views(), st.data())
def test_without_a_loser_the_winner_is_the_same(
    way: Way, found: tuple[Scoreboard, list[Candidate]], data: st.DataObject
) -> None:
    board, view = found
    winner = way(board, view)[0]
    losers = [c for c in view if c.name != winner]
    gone = data.draw(st.lists(st.sampled_from(losers), unique=True)) if losers else []
    assert way(board, [c for c in view if c not in gone])[0] == winner


U32 = st.sampled_from([0, 1, 2**31, 2**32 - 1]) | st.integers(0, 2**32 - 1)
lies = st.builds(
    LoadRecord,
    node=st.just(tag_of(node_id("b"))),
    sequence=st.integers(0, 2**64 - 1),
    age_ms=U32,
    wait=U32,
    wait_mean=U32,
    wait_sigma=U32,
    in_flight=st.integers(0, 2**16 - 1),
    draining=st.just(False),
    speed=U32,
    modules=st.lists(
        st.builds(
            ModuleLoad,
            module=st.sampled_from([tag_of(MODULE), tag_of(OTHER)]),
            warm=st.booleans(),
            first=U32,
            unit=U32,
        ),
        max_size=8,
    ).map(tuple),
)


@settings(max_examples=150, deadline=None)
@given(lies, lies, st.floats(0, 4), st.integers(0, 2**40), st.floats(0, 1e9))
def test_whatever_a_liar_says_scores_are_finite(
    lie: LoadRecord, later: LoadRecord, age_s: float, payload: int, observed_ms: float
) -> None:
    board = Scoreboard(PlacementSettings())
    board.on_record(replace(lie, age_ms=0), None, NOW - age_s)
    honest = node("c", record("c", run=0.0, unit=0.0, speed=90))
    assert honest.load is not None
    board.on_record(honest.load, None, NOW)
    view = [node("b", lie, age_s=age_s), honest]
    best = decide(*view, board=board, payload_bytes=payload).ranked[0]
    board.on_sent(best.node_id, request(1), MODULE, best, NOW)
    board.on_sent(node_id("b"), request(2), MODULE, best, NOW)
    board.on_answer(best.node_id, request(1), "camera", observed_ms, NOW)
    board.on_record(later, None, NOW)
    for scored in decide(*view, board=board, source="camera", payload_bytes=payload).ranked:
        assert all(map(isfinite, scored.score))
        assert isfinite(scored.score.total_ms)
        assert isfinite(scored.score.promised_ms)
    field = Field(view, board=board, module=MODULE)
    pick = field.pick(payload_bytes=payload, source="camera", now=NOW, own=None)
    if pick is not None:
        assert all(map(isfinite, pick.best.score))
        assert pick.second_ms >= pick.best.score.total_ms - 1e-6
    found = ranked(board, view)
    for order in (
        by_source(found, "camera"),
        Rotation().order(found, MODULE),
        Bandit(Random(3)).order(found, MODULE),
    ):
        assert len(order) == len(found)
