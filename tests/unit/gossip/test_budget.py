"""Budget: bytes a second, a burst, and an overdraft for what cannot wait."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.gossip.budget import Budget


def test_room_comes_back_with_time_up_to_the_burst() -> None:
    budget = Budget(rate=1000, burst=500)
    assert budget.room(1.0) == 500
    budget.charge(400, 1.0)
    assert budget.room(1.2) == pytest.approx(300)
    assert budget.when(400, 1.2) == pytest.approx(1.3)
    assert budget.room(9.0) == 500


def test_what_may_wait_is_refused_without_room_and_counted() -> None:
    budget = Budget(rate=1000, burst=500)
    assert budget.spare(500, 1.0)
    assert not budget.spare(1, 1.0)
    assert budget.refused == 1


def test_urgent_messages_overdraw_it_by_one_second() -> None:
    budget = Budget(rate=1000, burst=500)
    assert sum(budget.urgent(100, 1.0) for _ in range(50)) == 10
    assert budget.refused == 40
    assert not budget.spare(1, 1.4)


def test_urgent_messages_leave_half_of_the_rate_to_others() -> None:
    budget = Budget(rate=1000, burst=500)
    urgent = spare = 0
    for step in range(1000):
        now = 1.0 + step / 100
        urgent += 100 * sum(budget.urgent(100, now) for _ in range(5))
        spare += 100 * budget.spare(100, now)
    assert 4000 < urgent < 7500
    assert 3500 < spare < 6500


def test_a_clock_that_is_set_back_gives_nothing_and_takes_nothing() -> None:
    budget = Budget(rate=1000, burst=500)
    assert budget.spare(500, 100.0)
    assert budget.room(1.0) == 0
    assert budget.room(1.1) == pytest.approx(100)


def test_without_a_rate_there_is_no_limit() -> None:
    assert Budget(rate=inf, burst=inf).spare(10**9, 1.0)


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 1200), st.booleans()), max_size=80))
def test_no_more_goes_out_than_the_rate_the_burst_and_the_overdraft(
    sent: list[tuple[float, int, bool]],
) -> None:
    budget = Budget(rate=8000, burst=4000)
    now = total = 0.0
    for wait, size, urgent in sent:
        now += wait
        if budget.urgent(size, now) if urgent else budget.spare(size, now):
            total += size
    assert total <= 4000 + 8000 + 8000 * now + 1e-3
