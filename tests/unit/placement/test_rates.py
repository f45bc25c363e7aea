"""What a path carries is learned from big payloads, and believed within bounds."""

from math import isfinite

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.placement.rates import (
    BIG_BYTES,
    BYTES_PER_MS_MAX,
    BYTES_PER_MS_MIN,
    NODES_MAX,
    Rates,
)
from tests.unit.placement.nodes import node_id

A, B = node_id("a"), node_id("b")


def test_small_payloads_tell_nothing() -> None:
    rates = Rates()
    rates.learn(A, BIG_BYTES - 1, 500.0)
    assert rates.rate_of(A) is None


def test_the_first_is_taken_and_the_rest_followed() -> None:
    rates = Rates()
    rates.learn(A, 1_000_000, 100.0)
    assert rates.rate_of(A) == pytest.approx(10_000)
    for _ in range(20):
        rates.learn(A, 2_000_000, 20.0)
    assert rates.rate_of(A) == pytest.approx(100_000, rel=0.05)
    assert rates.rate_of(B) is None


def test_one_that_seems_to_take_no_time_does_not_hide_the_slow_ones() -> None:
    rates = Rates()
    for _ in range(10):
        rates.learn(A, 1_000_000, 100.0)
    rates.learn(A, 1_000_000, 0.0)
    rate = rates.rate_of(A)
    assert rate is not None
    assert rate < 15_000


@given(st.lists(st.tuples(st.integers(0, 2**27), st.floats(allow_nan=False)), max_size=20))
def test_whatever_is_measured_the_rate_stays_in_bounds(exchanges: list[tuple[int, float]]) -> None:
    rates = Rates()
    for carried, took_ms in exchanges:
        rates.learn(A, carried, took_ms)
        rate = rates.rate_of(A)
        assert rate is None or (isfinite(rate) and BYTES_PER_MS_MIN <= rate <= BYTES_PER_MS_MAX)


def test_the_nodes_measured_longest_ago_are_forgotten() -> None:
    rates = Rates()
    for i in range(NODES_MAX + 1):
        rates.learn(node_id(str(i)), BIG_BYTES, 1.0)
    assert rates.rate_of(node_id("0")) is None
    assert rates.rate_of(node_id("1")) is not None
