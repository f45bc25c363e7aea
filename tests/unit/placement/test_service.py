"""ServiceCurve: a line through batches of all sizes, whatever single ones met."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.placement.service import ServiceCurve


def test_the_curve_is_the_line_through_the_batches() -> None:
    curve = ServiceCurve()
    for n in (1, 8, 3, 5) * 10:
        curve.learn(n, 10.0 + 3.0 * n)
    assert curve.batch_ms(1) == pytest.approx(13.0, rel=0.01)
    assert curve.batch_ms(8) == pytest.approx(34.0, rel=0.01)
    assert curve.each_ms == pytest.approx(3.0, rel=0.01)
    assert curve.batch_ms(0) == 0.0


def test_with_batches_of_one_size_no_gain_from_batching_is_assumed() -> None:
    curve = ServiceCurve()
    for _ in range(5):
        curve.learn(1, 7.0)
    assert curve.batch_ms(1) == pytest.approx(7.0)
    assert curve.batch_ms(8) == pytest.approx(56.0)


def test_a_machine_that_slows_down_shows_within_ten_batches() -> None:
    curve = ServiceCurve()
    for _ in range(50):
        curve.learn(1, 10.0)
    for _ in range(10):
        curve.learn(1, 30.0)
    assert 25.0 < curve.batch_ms(1) < 40.0


def test_one_stalled_batch_does_not_ruin_the_curve() -> None:
    curve = ServiceCurve()
    for _ in range(40):
        curve.learn(1, 10.0)
    curve.learn(1, 1000.0)
    for _ in range(10):
        curve.learn(1, 10.0)
    assert curve.batch_ms(1) < 40.0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 16), st.floats(0.0, 1000.0)), min_size=1, max_size=30))
def test_no_measurements_make_a_curve_fall(batches: list[tuple[int, float]]) -> None:
    curve = ServiceCurve()
    for n, took_ms in batches:
        curve.learn(n, took_ms)
    times = [curve.batch_ms(n) for n in range(17)]
    assert all(a <= b + 1e-9 for a, b in pairwise(times))


def test_a_node_that_was_stopped_for_seconds_is_soon_believed_again() -> None:
    """SIGSTOP, a suspended laptop: one batch of 10 s must not make the module look that slow."""
    curve = ServiceCurve()
    for _ in range(20):
        curve.learn(1, 2.0)
    curve.learn(1, 10_000.0)
    assert curve.batch_ms(1) < 8.0
    for _ in range(20):
        curve.learn(1, 2.0)
    assert curve.batch_ms(1) == pytest.approx(2.0, rel=0.3)


def test_small_and_large_batches_are_known_as_well_as_each_other() -> None:
    curve, rng = ServiceCurve(), Random(3)
    for _ in range(400):
        n = rng.randrange(1, 65)
        curve.learn(n, (0.3 + 0.02 * n) * rng.lognormvariate(0.0, 0.25))
    for n in (1, 8, 64):
        assert curve.batch_ms(n) == pytest.approx(0.3 + 0.02 * n, rel=0.15)


def test_one_batch_in_five_that_takes_eight_times_as_long_is_noise() -> None:
    """A machine with other work: what a request usually takes is the middle and not the mean."""
    curve, rng = ServiceCurve(), Random(5)
    for _ in range(400):
        n = rng.randrange(1, 65)
        stall = 8.0 if rng.random() < 0.2 else 1.0
        curve.learn(n, (0.3 + 0.02 * n) * stall * rng.lognormvariate(0.0, 0.1))
    for n in (1, 8, 64):
        assert curve.batch_ms(n) == pytest.approx(0.3 + 0.02 * n, rel=0.25)


def test_a_first_batch_on_cold_caches_is_forgotten() -> None:
    curve = ServiceCurve()
    curve.learn(1, 80.0)
    curve.learn(1, 2.0)
    assert curve.batch_ms(1) == pytest.approx(2.0)


def test_a_machine_that_gets_quick_again_is_followed_too() -> None:
    curve = ServiceCurve()
    for took_ms in (10.0, 40.0, 10.0):
        for _ in range(60):
            curve.learn(1, took_ms)
        assert curve.batch_ms(1) == pytest.approx(took_ms, rel=0.25)
