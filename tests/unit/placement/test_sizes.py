"""Requests of different sizes of one module are predicted apart."""

from math import isfinite
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.placement.sizes import FACTOR_MAX, SIZES_MAX, Sizes
from tests.unit.placement.nodes import MODULE, OTHER


def test_a_size_that_was_never_seen_is_a_usual_one() -> None:
    assert Sizes().factor(MODULE, 1000) == 1.0


def test_each_power_of_two_has_its_factor() -> None:
    sizes = Sizes()
    for _ in range(50):
        sizes.learn(MODULE, 1000, 5.0, 10.0)
        sizes.learn(MODULE, 64_000, 160.0, 10.0)
    assert sizes.factor(MODULE, 900) == pytest.approx(0.5)
    assert sizes.factor(MODULE, 60_000) == pytest.approx(16.0)
    assert sizes.factor(OTHER, 1000) == 1.0


def test_it_follows_what_changes_and_one_stall_hardly_moves_it() -> None:
    sizes = Sizes()
    for _ in range(20):
        sizes.learn(MODULE, 1000, 10.0, 10.0)
    sizes.learn(MODULE, 1000, 100.0, 10.0)
    assert sizes.factor(MODULE, 1000) < 1.3
    for _ in range(100):
        sizes.learn(MODULE, 1000, 20.0, 10.0)
    assert sizes.factor(MODULE, 1000) == pytest.approx(2.0, rel=0.01)


def test_noise_about_what_the_rows_say_is_no_factor() -> None:
    sizes, rng = Sizes(), Random(2)
    for _ in range(40):
        sizes.learn(MODULE, 1000, 10.0 * rng.lognormvariate(0.0, 0.4), 10.0)
    assert sizes.factor(MODULE, 1000) == pytest.approx(1.0, abs=0.2)


def test_a_first_run_on_cold_caches_is_forgotten() -> None:
    sizes = Sizes()
    sizes.learn(MODULE, 1000, 300.0, 10.0)
    assert sizes.factor(MODULE, 1000) == pytest.approx(30.0)
    sizes.learn(MODULE, 1000, 20.0, 10.0)
    assert sizes.factor(MODULE, 1000) == pytest.approx(2.0)


@given(st.lists(st.tuples(st.integers(0, 2**26), st.floats(), st.floats()), max_size=20))
def test_whatever_is_measured_a_factor_stays_in_bounds(
    runs: list[tuple[int, float, float]],
) -> None:
    sizes = Sizes()
    for payload_bytes, run_ms, usual_ms in runs:
        sizes.learn(MODULE, payload_bytes, run_ms, usual_ms)
        factor = sizes.factor(MODULE, payload_bytes)
        assert isfinite(factor)
        assert 0.99 / FACTOR_MAX <= factor <= 1.01 * FACTOR_MAX


def test_the_sizes_seen_longest_ago_are_forgotten() -> None:
    sizes = Sizes()
    for i in range(SIZES_MAX + 1):
        sizes.learn(type(MODULE)(i.to_bytes(32, "big")), 1000, 20.0, 10.0)
    assert sizes.factor(type(MODULE)(bytes(32)), 1000) == 1.0
