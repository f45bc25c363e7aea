"""A field decides as `choose` does, in a fraction of its time."""

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.caps import Caps
from meshnode.placement.board import Scoreboard
from meshnode.placement.candidate import Candidate
from meshnode.placement.choose import Decision, unfitness
from meshnode.placement.field import Field, Pick
from meshnode.placement.settings import PlacementSettings
from tests.unit.placement.nodes import MODULE, NOW, decide, node, node_id, record, request

NAMES = ("own", "a", "b", "c")
waits = st.floats(0, 500)
loads = st.fixed_dictionaries(
    {
        "wait": waits,
        "mean": waits,
        "sigma": st.floats(0, 100),
        "run": st.one_of(st.just(0.0), st.floats(0.1, 300)),
        "unit": st.floats(0.1, 300),
        "each": st.integers(0, 160),
        "rate": st.one_of(st.none(), st.floats(1000.0, 1e6)),
        "warm": st.booleans(),
        "holds": st.booleans(),
    }
)
sends = st.lists(st.tuples(st.sampled_from(NAMES), st.floats(0, 1.5)), max_size=12)


def both(
    board: Scoreboard,
    nodes: list[Candidate],
    payload: int = 0,
    source: str = "",
    factor: float = 1.0,
    rows: int = 1,
) -> tuple[Pick | None, Decision]:
    limit_s = board.settings.record_age_s_max
    fit = [c for c in nodes if not unfitness(c, int(Caps.CPU), limit_s)]
    field = Field(fit, board=board, module=MODULE)
    own = next((c.load for c in nodes if c.is_self), None)
    pick = field.pick(
        payload_bytes=payload, source=source, now=NOW, own=own, run_factor=factor, rows=rows
    )
    sized = [replace(c, run_factor=factor, rows=rows) for c in nodes]
    return pick, decide(*sized, board=board, payload_bytes=payload, source=source)


def heard(
    board: Scoreboard, name: str, age_s: float, rtt: float, **load: float | None
) -> Candidate:
    """A candidate whose record came over the network, so that the board has it too."""
    rate = load.pop("rate", None)
    said = record(name, **load)  # type: ignore[arg-type]
    own = name == "own"
    if not own:
        board.on_record(said, None, NOW - age_s)
    made = node(name, said, rtt=rtt, age_s=0.0 if own else age_s, is_self=own)
    return replace(made, bytes_per_ms=rate)


@given(
    st.lists(loads, min_size=4, max_size=4),
    st.lists(st.tuples(st.floats(0, 5), st.floats(0, 50)), min_size=4, max_size=4),
    sends,
    st.lists(st.floats(0, 400), max_size=3),
    st.integers(0, 10_000_000),
    st.sampled_from(["", "camera"]),
    st.sampled_from([1.0, 0.02, 0.5, 3.0, 90.0]),
    st.sampled_from([1, 2, 64]),
)
def test_the_pick_is_the_first_of_the_decision(
    told: list[dict[str, float]],
    ways: list[tuple[float, float]],
    sent: list[tuple[str, float]],
    observed: list[float],
    payload: int,
    source: str,
    factor: float,
    rows: int,
) -> None:
    board = Scoreboard(PlacementSettings())
    nodes = [
        heard(board, name, *way, **load) for name, way, load in zip(NAMES, ways, told, strict=True)
    ]
    for number, took in enumerate(observed):
        made = decide(*nodes, board=board)
        best = made.ranked[0]
        board.on_sent(best.node_id, request(number), MODULE, best, NOW - 1)
        board.on_answer(best.node_id, request(number), source, took, NOW - 0.5)
    for number, (name, ago) in enumerate(sent, 100):
        for scored in decide(*nodes, board=board).ranked:
            if scored.candidate.name == name:
                board.on_sent(node_id(name), request(number), MODULE, scored, NOW - ago, rows=rows)
    pick, made = both(board, nodes, payload, source, factor, rows)
    assert pick is not None
    best_ms = made.ranked[0].score.total_ms
    tied = [s for s in made.ranked if s.score.total_ms <= best_ms + 1e-6]  # sums of another order
    (same,) = [s for s in tied if s.node_id == pick.best.node_id]
    assert pick.best.score == pytest.approx(same.score, abs=1e-3)
    seconds = [s.score.total_ms for s in made.ranked[1:2]] or [inf]
    assert pick.second_ms == pytest.approx(seconds[0], abs=1e-3)


def test_a_newer_record_is_read_when_it_is_used() -> None:
    board = Scoreboard()
    nodes = [heard(board, "a", 0.1, 1.0, wait=5.0), heard(board, "b", 0.1, 1.0, wait=50.0)]
    field = Field(nodes, board=board, module=MODULE)

    def best() -> str:
        pick = field.pick(payload_bytes=0, source="", now=NOW, own=None)
        assert pick is not None
        return pick.best.candidate.name

    assert best() == "a"
    board.on_record(record("a", wait=90.0, sequence=2), None, NOW)
    assert best() == "b"


@pytest.mark.parametrize("strange", ["draining", "no record", "failed"])
def test_what_only_a_whole_decision_can_judge_is_declined(strange: str) -> None:
    board = Scoreboard()
    nodes = [heard(board, name, 0.1, 1.0) for name in ("a", "b")]
    match strange:
        case "draining":
            board.on_record(record("a", draining=True, sequence=2), None, NOW)
        case "no record":
            nodes.append(node("c", heard=False))
        case "failed":
            board.on_failure(node_id("a"), NOW)
            board.on_failure(node_id("b"), NOW)
    field = Field(nodes, board=board, module=MODULE)
    assert field.pick(payload_bytes=0, source="", now=NOW, own=None) is None


def test_nobody_and_nobody_heard_lately() -> None:
    board = Scoreboard()
    assert both(board, [])[0] is None
    late = replace(heard(board, "a", 100.0, 1.0), load_age_s=100.0)
    pick, made = both(board, [late])
    assert pick is None
    assert made.ranked == ()


def test_who_failed_is_left_out_as_in_a_whole_decision() -> None:
    board = Scoreboard(PlacementSettings())
    nodes = [heard(board, name, 0.1, 1.0, run=run) for name, run in (("a", 5.0), ("b", 9.0))]
    nodes.append(heard(board, "c", 0.1, 1.0, run=20.0))
    board.on_failure(node_id("a"), NOW - 1)
    pick, made = both(board, nodes)
    assert pick is not None
    assert pick.best.candidate.name == made.ranked[0].candidate.name == "b"
    assert pick.second_ms == pytest.approx(made.ranked[1].score.total_ms)


def test_a_path_that_was_measured_has_its_own_transfer_time() -> None:
    board = Scoreboard(PlacementSettings())
    near, far = heard(board, "a", 0.1, 1.0), heard(board, "b", 0.1, 1.0)
    nodes = [near, replace(far, bytes_per_ms=1_000.0)]
    pick, made = both(board, nodes, payload=100_000)
    assert pick is not None
    assert [s.score.transfer_ms for s in made.ranked] == [2.0, 100.0]
    assert pick.best.score.transfer_ms == 2.0
    assert pick.second_ms == pytest.approx(made.ranked[1].score.total_ms)
