"""Budget: no second is larger than another, and neither kind of message shuts the other out."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.gossip.budget import Budget


def test_room_comes_back_a_second_after_it_was_used() -> None:
    budget = Budget(1000)
    assert budget.room(1.0) == 600
    budget.charge(400, 1.0)
    assert budget.room(1.2) == 200
    assert budget.when(300, 1.2) == pytest.approx(2.0)
    assert budget.room(1.99) == 200
    assert budget.room(2.0) == 600
    assert budget.room(9.0) == 600, "nothing is saved up"


def test_there_is_plenty_while_less_than_half_is_used() -> None:
    budget = Budget(1000)
    assert budget.is_plenty(1.0)
    budget.charge(350, 1.0)
    assert not budget.is_plenty(1.5)
    assert budget.is_plenty(2.0)


def test_what_may_wait_is_refused_without_room_and_counted() -> None:
    budget = Budget(1000)
    assert budget.spare(600, 1.0)
    assert not budget.spare(1, 1.0)
    assert budget.refused == 1


def test_headers_are_charged_too() -> None:
    budget = Budget(1000, headers_bytes=28)
    assert budget.room(1.0) == 572
    assert budget.spare(272, 1.0)
    assert budget.room(1.0) == 272


def test_urgent_messages_find_room_when_all_else_is_used_up() -> None:
    budget = Budget(1000)
    assert budget.spare(600, 1.0)
    assert sum(budget.urgent(100, 1.1) for _ in range(50)) == 4
    assert budget.refused == 46


def test_urgent_messages_leave_a_quarter_to_others() -> None:
    budget = Budget(1000)
    assert sum(budget.urgent(100, 1.0) for _ in range(50)) == 7
    assert budget.room(1.5) == 300


def test_when_counts_what_leaves_the_second_first() -> None:
    budget = Budget(1000)
    for step in range(6):
        budget.charge(100, 1.0 + step / 10)
    assert budget.when(250, 1.5) == pytest.approx(2.2)


def test_a_clock_that_is_set_back_gives_nothing_and_takes_nothing() -> None:
    budget = Budget(1000)
    assert budget.spare(600, 100.0)
    assert budget.room(1.0) == 0
    assert budget.room(1.9) == 0
    assert budget.room(2.0) == 600


def test_without_a_rate_there_is_no_limit() -> None:
    assert Budget(inf).spare(10**9, 1.0)


@given(st.lists(st.tuples(st.floats(0, 0.7), st.integers(1, 1200), st.booleans()), max_size=80))
def test_no_second_has_more_than_the_rate_wherever_it_begins(
    sent: list[tuple[float, int, bool]],
) -> None:
    budget = Budget(8000, headers_bytes=28)
    now = 0.0
    out: list[tuple[float, int]] = []
    for wait, size, urgent in sent:
        now += wait
        if budget.urgent(size, now) if urgent else budget.spare(size, now):
            out.append((now, size + 28))
    for at, _ in out:
        assert sum(size for when, size in out if at - 1.0 < when <= at) <= 8000
