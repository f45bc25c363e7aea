"""What a path carries is learned from big payloads, and believed within bounds."""

from math import isfinite
from random import Random

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


def test_small_payloads_tell_the_round_trip_and_the_others_the_rate() -> None:
    paths = Paths()
    paths.learn(A, SMALL_BYTES, 4.0)
    assert (paths.rtt_of(A), paths.rate_of(A)) == (4.0, None)
    paths.learn(B, BIG_BYTES, 4.0 + BIG_BYTES / 20_000, 4.0)
    assert paths.rtt_of(B) is None
    assert paths.rate_of(B) == pytest.approx(20_000)


def test_middling_payloads_correct_the_rate_bit_by_bit_whatever_the_loop_s_noise() -> None:
    paths, rng = Paths(), Random(1)
    for _ in range(300):
        carried = rng.randrange(SMALL_BYTES + 1, 4 * SMALL_BYTES)
        paths.learn(A, 100, rng.uniform(1.5, 2.5))
        paths.learn(A, carried, carried / 200_000 + rng.uniform(1.5, 2.5))
    assert paths.rtt_of(A) == pytest.approx(2.0, rel=0.15)
    rate = paths.rate_of(A)
    assert rate is not None
    assert 64_000 / rate == pytest.approx(64_000 / 200_000, abs=0.3), "in ms, as it is used"


def test_the_first_call_of_all_made_the_connection() -> None:
    paths = Paths()
    paths.learn(A, 100, 40.0)
    paths.learn(A, 100, 2.0)
    assert paths.rtt_of(A) == 2.0


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
