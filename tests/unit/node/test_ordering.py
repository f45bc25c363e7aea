"""Orders of a module's own, as a node keeps them."""

from dataclasses import replace

from trio.testing import MockClock

from meshnode.machine import Random
from meshnode.modules.manifest import Manifest
from meshnode.node.ordering import Ordering, is_ordered, kept
from meshnode.placement.board import Scoreboard
from meshnode.placement.choose import Decision
from meshnode.wire.terms import NO_ALTERNATIVE, Terms
from tests.unit.placement.nodes import MODULE, decide, node, record, request

PLAIN = Manifest(name="m", version="1.0.0", abi="infer", inputs=(), outputs=())
NAMES = "abcd"
SOURCES = [f"camera-{i}" for i in range(300)]


def candidates(*names: str, factor: float = 1.0) -> Decision:
    runs = {name: 13.0 + i for i, name in enumerate(NAMES)}
    return decide(*(replace(node(n, record(n, run=runs[n])), run_factor=factor) for n in names))


def first(ordering: Ordering, decision: Decision, source: str) -> str:
    manifest = replace(PLAIN, affinity="source-hash")
    return ordering.order(decision, manifest, MODULE, source).ranked[0].candidate.name


async def test_the_default_is_left_as_it_is(mock_clock: MockClock) -> None:
    made = candidates(*NAMES)
    assert not is_ordered(PLAIN)
    assert Ordering(Scoreboard(), Random(1)).order(made, PLAIN, MODULE, "camera") is made


async def test_a_source_stays_whatever_the_size_of_its_requests(mock_clock: MockClock) -> None:
    ordering = Ordering(Scoreboard(), Random(1))
    for source in SOURCES:
        home = first(ordering, candidates(*NAMES), source)
        for factor in (0.1, 1.5, 7.0, 40.0):
            assert first(ordering, candidates(*NAMES, factor=factor), source) == home


async def test_failing_over_goes_to_the_same_second_home_each_time(mock_clock: MockClock) -> None:
    ordering = Ordering(Scoreboard(), Random(1))
    moved = 0
    for source in SOURCES:
        home = first(ordering, candidates(*NAMES), source)
        others = [n for n in NAMES if n != home]
        second = first(ordering, candidates(*others), source)
        assert first(ordering, candidates(*reversed(others)), source) == second
        assert first(ordering, candidates(*NAMES), source) == home, "and back"
        moved += first(ordering, candidates(*NAMES[1:]), source) != home
    assert moved / len(SOURCES) <= 1 / len(NAMES) + 0.1


async def test_another_ones_request_in_flight_sends_nobody_away(mock_clock: MockClock) -> None:
    board = Scoreboard()
    ordering = Ordering(board, Random(1))
    home = first(ordering, candidates(*NAMES), "camera")
    for number in range(2):
        made = next(s for s in candidates(*NAMES).ranked if s.candidate.name == home)
        board.on_record(record(home, run=13.0), None, mock_clock.current_time())
        board.on_sent(made.node_id, request(number), MODULE, made, mock_clock.current_time())
    queued = [
        replace(s, score=s.score._replace(queue_ms=3 * 26.0)) if s.candidate.name == home else s
        for s in candidates(*NAMES).ranked
    ]
    assert first(ordering, Decision(tuple(queued), ()), "camera") == home


async def test_a_look_takes_nobodys_turn(mock_clock: MockClock) -> None:
    manifest = replace(PLAIN, affinity="round-robin")
    ordering = Ordering(Scoreboard(), Random(1))
    for _ in range(9):
        seen = ordering.foresee(candidates(*NAMES), manifest, MODULE, "")
        assert ordering.order(candidates(*NAMES), manifest, MODULE, "") == seen


def test_no_server_sends_an_ordered_request_elsewhere() -> None:
    terms = kept(Terms(alternative=5, refusals=1))
    assert (terms.alternative, terms.moved, terms.refusals) == (NO_ALTERNATIVE, True, 1)
