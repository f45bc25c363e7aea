"""The way of a request: refused on its price it may return, failed it does not, and it ends."""

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from meshnode.errors import (
    CannotRunHere,
    ColdHere,
    GivenUp,
    MeshnodeError,
    Overloaded,
    Overpriced,
    PeerUnreachable,
)
from meshnode.ids import tag_of
from meshnode.placement.choose import Decision
from meshnode.placement.course import ATTEMPTS_MAX, REFUSALS_MAX, Course
from meshnode.placement.settings import PlacementSettings
from meshnode.wire.terms import NO_ALTERNATIVE
from tests.unit.placement.nodes import decide, node, node_id, record

LAST = PlacementSettings().cold_refusals_max
NODES = [node(name, record(name, wait=10.0 * i)) for i, name in enumerate("abcdefghijk")]


def view(course: Course) -> Decision:
    return decide(*(c for c in NODES if c.contact.node_id not in course.avoided))


def where(course: Course) -> str:
    return course.next(view(course))[0].candidate.name


def test_the_price_is_the_next_best() -> None:
    course = Course()
    best, second_ms = course.next(view(course))
    assert best.candidate.name == "a"
    assert course.terms(second_ms).alternative == round(second_ms * 10)
    assert course.terms(inf).alternative == NO_ALTERNATIVE
    assert course.terms(-3.0).alternative == 0, "a bonus may make it negative"
    assert course.terms(1e12).alternative == NO_ALTERNATIVE - 1


def test_who_refused_the_price_is_asked_again_if_still_the_best() -> None:
    course = Course()
    course.failed(node_id("a"), Overpriced("no"))
    assert where(course) == "a"
    assert course.terms(inf).refusals == 1


def test_a_server_that_refuses_beyond_its_right_has_failed() -> None:
    course = Course()
    for _ in range(3):
        course.failed(node_id("a"), Overpriced("no"))
    assert where(course) == "b"
    assert (course.refusals, course.failures) == (2, 1)


def test_closed_gates_are_passed_by_until_one_has_to_open() -> None:
    course = Course()
    for name in "abcdefghijk":
        assert where(course) == name
        course.failed(node_id(name), ColdHere("loading another"))
    assert where(course) == "a"
    assert course.terms(inf).cold_refusals == LAST == 11
    assert not course.is_over


def test_where_nobody_else_is_left_the_gate_must_open() -> None:
    course = Course()
    assert not course.insist()
    course.failed(node_id("a"), ColdHere("loading another"))
    assert course.insist()
    assert where(course) == "a"
    assert course.terms(inf).cold_refusals == LAST
    assert not course.insist()


def test_an_idle_caller_is_sent_to_once() -> None:
    course = Course()
    error = GivenUp("an idle node asked")
    error.instead = tag_of(node_id("f"))
    course.failed(node_id("a"), error)
    assert where(course) == "f"
    assert where(course) == "a", "the name holds for the next try only"
    assert course.terms(inf).moved
    course.failed(node_id("a"), error)
    assert course.failures == 1


ERRORS = [Overpriced, ColdHere, GivenUp, Overloaded, CannotRunHere, PeerUnreachable]


@given(st.lists(st.sampled_from(ERRORS), min_size=ATTEMPTS_MAX + REFUSALS_MAX))
def test_every_course_ends(kinds: list[type[MeshnodeError]]) -> None:
    course, sent = Course(), 0
    for kind in kinds:
        made = view(course)
        if course.is_over or not made.ranked:
            break
        course.failed(course.next(made)[0].node_id, kind("no"))
        sent += 1
    assert course.is_over or not view(course).ranked
    assert sent < ATTEMPTS_MAX + REFUSALS_MAX
