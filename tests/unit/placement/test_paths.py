"""What a path carries is learned from big payloads, and believed within bounds."""

from math import isfinite

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.placement.paths import (
    BIG_BYTES,
    BYTES_PER_MS_MAX,
    BYTES_PER_MS_MIN,
    NODES_MAX,
    SMALL_BYTES,
    Paths,
)
from tests.unit.placement.nodes import node_id

A, B = node_id("a"), node_id("b")


def test_small_payloads_tell_the_round_trip_and_middling_ones_nothing() -> None:
    paths = Paths()
    paths.learn(A, BIG_BYTES - 1, 500.0)
    assert (paths.rtt_of(A), paths.rate_of(A)) == (None, None)
    paths.learn(A, SMALL_BYTES, 4.0)
    assert (paths.rtt_of(A), paths.rate_of(A)) == (4.0, None)


def test_a_busy_loop_is_no_measurement_of_the_way() -> None:
    paths = Paths()
    for _ in range(20):
        paths.learn(A, 100, 2.0)
    paths.learn(A, 100, 900.0)
    assert paths.rtt_of(A) == pytest.approx(2.1)
    for _ in range(200):
        paths.learn(A, 100, 30.0)
    assert paths.rtt_of(A) == pytest.approx(30.0, rel=0.05)


def test_the_round_trip_is_not_taken_for_the_carrying() -> None:
    paths = Paths()
    paths.learn(A, 100, 50.0)
    paths.learn(A, 1_000_000, 150.0)
    assert paths.rate_of(A) == pytest.approx(10_000)


def test_the_first_is_taken_and_the_rest_followed() -> None:
    paths = Paths()
    paths.learn(A, 1_000_000, 100.0)
    assert paths.rate_of(A) == pytest.approx(10_000)
    for _ in range(20):
        paths.learn(A, 2_000_000, 20.0)
    assert paths.rate_of(A) == pytest.approx(100_000, rel=0.05)
    assert paths.rate_of(B) is None


def test_one_that_seems_to_take_no_time_does_not_hide_the_slow_ones() -> None:
    paths = Paths()
    for _ in range(10):
        paths.learn(A, 1_000_000, 100.0)
    paths.learn(A, 1_000_000, 0.0)
    rate = paths.rate_of(A)
    assert rate is not None
    assert rate < 15_000


@given(st.lists(st.tuples(st.integers(0, 2**27), st.floats(allow_nan=False)), max_size=20))
def test_whatever_is_measured_the_rate_stays_in_bounds(exchanges: list[tuple[int, float]]) -> None:
    paths = Paths()
    for carried, took_ms in exchanges:
        paths.learn(A, carried, took_ms)
        rate = paths.rate_of(A)
        assert rate is None or (isfinite(rate) and BYTES_PER_MS_MIN <= rate <= BYTES_PER_MS_MAX)


def test_the_nodes_measured_longest_ago_are_forgotten() -> None:
    paths = Paths()
    for i in range(NODES_MAX + 1):
        paths.learn(node_id(str(i)), BIG_BYTES, 1.0)
    assert paths.rate_of(node_id("0")) is None
    assert paths.rate_of(node_id("1")) is not None
