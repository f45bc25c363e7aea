"""The dispatcher and the server of docs/placement.md, as they stand there, driven to their ends."""

import re
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.errors import GivenUp, PeerUnreachable
from meshnode.ids import tag_of
from meshnode.placement.board import Scoreboard
from meshnode.placement.course import Course
from meshnode.placement.settings import PlacementSettings
from tests.unit.placement.nodes import MODULE, OTHER, node, node_id, request

PAGE = Path(__file__).parents[2] / "docs" / "placement.md"
SETTINGS = PlacementSettings()
NAMES = "abcde"
"""The own node is "a"."""


def example() -> dict[str, Any]:
    found = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    assert found is not None, "the page has an example"
    names: dict[str, Any] = {}
    exec(compile(found[1], str(PAGE), "exec"), names)
    return names


EXAMPLE = example()


class Town:
    """A dispatcher and its servers, with no way between them but these calls."""

    def __init__(self) -> None:
        self.now = 100.0
        self.board = Scoreboard(SETTINGS)
        self.servers = {
            n: EXAMPLE["Server"](node_id(n), [MODULE, OTHER], 1, SETTINGS) for n in NAMES
        }
        self.by_id = {node_id(n): n for n in NAMES}
        for name, server in self.servers.items():
            server.warm += [MODULE] if name in "abc" else []
            self._run(server)
        view = [node(n, heard=False, rtt=0.0 if n == "a" else 1.0, is_self=n == "a") for n in NAMES]
        for name in NAMES[1:]:
            self.board.on_record(self.servers[name].said(self.now), None, self.now)
        self.dispatcher = EXAMPLE["Dispatcher"](view, self.board, MODULE)
        self.flying: dict[int, tuple[Course, Any]] = {}
        self.courses: dict[int, Course] = {}
        self.numbers = count(1)
        self.ran: Counter[str] = Counter()
        self.refused = 0

    def _run(self, server: Any) -> None:
        """Have it measure a run of 20 ms."""
        server.meter.enqueued(MODULE, self.now)
        server.meter.started(MODULE, 1, self.now)
        server.meter.finished(MODULE, 1, self.now + 0.02)
        self.now += 0.1

    def send(self, number: int | None = None) -> None:
        """Place a request, as often as servers refuse it."""
        number = next(self.numbers) if number is None else number
        course = self.courses.setdefault(number, Course(SETTINGS))
        while True:
            own = self.servers["a"].said_of(MODULE, self.now)
            placed = self.dispatcher.place(request(number), course, "camera", 100, own, self.now)
            if placed is None:
                return
            best, terms = placed
            name = self.by_id[best.node_id]
            error = self.servers[name].asked(MODULE, terms, self.now)
            if error is None:
                self.ran[name] += 1
                self.flying[number] = (course, best)
                return
            self.refused += 1
            self._refused(number, name, course, error)

    def _refused(self, number: int, name: str, course: Course, error: Exception) -> None:
        said = self.servers[name].said_of(MODULE, self.now)
        self.dispatcher.refused(request(number), node_id(name), course, error, said, 1.0, self.now)

    def end(self, number: int, how: str) -> None:
        course, best = self.flying.pop(number)
        name = self.by_id[best.node_id]
        match how:
            case "answer":
                said = self.servers[name].said_of(MODULE, self.now)
                self.dispatcher.answered(
                    request(number), best.node_id, "camera", 30.0, said, 1.0, self.now
                )
            case "cancel":
                self.board.on_gone(best.node_id, request(number))
            case "lost":
                self.board.on_failure(best.node_id, self.now)
                error = PeerUnreachable("silent")
                self.dispatcher.refused(
                    request(number), best.node_id, course, error, None, 1.0, self.now
                )
                self.send(number)
            case "strike":
                self.board.on_broken(best.node_id, request(number), 400.0, self.now)
            case _:
                given = GivenUp("an idle node asked")
                given.instead = tag_of(node_id("b"))
                self._refused(number, name, course, given)
                self.send(number)

    def open_at(self, name: str) -> int:
        standing = self.board.standing(tag_of(node_id(name)))
        return 0 if standing is None else len(standing.sent)


ENDS = ("answer", "cancel", "lost", "strike", "given")
steps = st.lists(
    st.tuples(st.sampled_from(("send", "send", *ENDS)), st.integers(0, 9), st.floats(0, 0.5)),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(steps)
def test_what_is_in_flight_returns_to_zero(done: list[tuple[str, int, float]]) -> None:
    town = Town()
    for what, which, pause_s in done:
        town.now += pause_s
        if what == "send":
            town.send()
        elif town.flying:
            town.end(sorted(town.flying)[which % len(town.flying)], what)
        there = Counter(town.by_id[best.node_id] for _, best in town.flying.values())
        assert {n: town.open_at(n) for n in NAMES} == {n: there[n] for n in NAMES}
    for number in list(town.flying):
        town.end(number, "answer")
    assert all(town.open_at(n) == 0 for n in NAMES)


def test_the_example_spreads_refuses_and_loads() -> None:
    town = Town()
    for name in "bc":
        for _ in range(9):  # of which the dispatcher does not know
            town.servers[name].meter.enqueued(MODULE, town.now)
    for _ in range(60):
        town.send()
        town.now += 0.002
    assert len(town.ran) == 5, "the last two had to load the module for it"
    assert max(town.ran.values()) < 40
    assert town.refused > 0
    assert MODULE in town.servers["e"].warm
