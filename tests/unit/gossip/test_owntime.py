"""Own time stands still while we sleep and when the clock jumps, and is the clock's otherwise."""

from math import inf, nextafter

from hypothesis import given
from hypothesis import strategies as st

from meshnode.gossip.owntime import GRACE_S, OwnTime


def test_awake_it_is_the_clocks() -> None:
    time = OwnTime(0.1)
    assert time.read(100.0, inf) == (100.0, False)
    assert time.read(100.5, 100.5) == (100.5, False)
    assert time.read(100.55, 100.52) == (100.55, False)
    assert time.outside(101.0) == 101.0


def test_asleep_it_stands_still_and_what_was_due_comes_a_moment_later() -> None:
    time = OwnTime(0.1)
    time.read(100.0, inf)
    own, late = time.read(160.0, 101.0)
    assert late
    assert own == 101.0 - GRACE_S
    assert time.outside(101.0) == 160.0 + GRACE_S
    assert time.read(160.0 + GRACE_S, 101.0) == (101.0, False)


def test_a_timer_is_put_off_once_however_late_it_is_served() -> None:
    time = OwnTime(0.1)
    time.read(100.0, inf)
    assert time.read(160.0, 101.0)[0] < 101.0
    own, late = time.read(170.0, 101.0)
    assert late
    assert own == 101.0


def test_a_clock_that_jumps_back_is_not_believed() -> None:
    time = OwnTime(0.1)
    time.read(100.0, inf)
    assert time.read(-3600.0, 101.0) == (100.0, False)
    assert time.outside(101.0) == -3599.0
    assert time.read(-3599.0, 101.0) == (101.0, False)


def test_plain_swim_believes_the_clock_forwards() -> None:
    time = OwnTime(inf)
    time.read(100.0, inf)
    assert time.read(3700.0, 101.0) == (3700.0, False)


@given(st.lists(st.tuples(st.floats(-100, 100), st.floats(0, 10)), max_size=50))
def test_it_never_runs_backwards_and_never_faster_than_the_clock(
    steps: list[tuple[float, float]],
) -> None:
    time = OwnTime(0.1)
    now = 1000.0
    own, _ = time.read(now, inf)
    for step, due_in in steps:
        now += step
        after, _ = time.read(now, own + due_in)
        assert own <= after <= own + max(0.0, step) + 1e-5
        own = after


@given(st.floats(0, 1e6), st.floats(0, 1), st.floats(0, 500))
def test_a_timer_that_is_due_a_rounding_error_later_lies_ahead_all_the_same(
    began: float, due_in: float, slept: float
) -> None:
    time = OwnTime(0.1)
    time.read(began, inf)
    now = began + due_in + slept
    own, _ = time.read(now, began + due_in)
    assert time.timer(nextafter(own, inf)) > now
