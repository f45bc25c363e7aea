"""The metric says what it is asked: how many predictions were near, and which way they err."""

from math import isfinite
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.placement.accuracy import KEPT, NODES_MAX, Accuracy
from tests.unit.placement.nodes import node_id

A, B = node_id("a"), node_id("b")


def test_before_the_first_there_is_nothing_to_say() -> None:
    assert (Accuracy().near, Accuracy().error) == (None, None)


def test_near_is_within_30_percent_of_what_it_took() -> None:
    accuracy = Accuracy()
    for predicted_ms in (70.0, 130.0, 69.0, 131.0, 100.0):
        accuracy.learn(A, predicted_ms, 100.0)
    assert accuracy.near == pytest.approx(3 / 5)
    assert accuracy.error == pytest.approx(0.0)


def test_only_the_last_count() -> None:
    accuracy = Accuracy()
    for _ in range(KEPT):
        accuracy.learn(A, 1000.0, 1.0)
    for _ in range(KEPT):
        accuracy.learn(A, 1.0, 1.0)
    assert accuracy.near == 1.0
    assert len(accuracy) == KEPT


def test_a_node_that_always_takes_longer_is_told_to_and_stalls_do_not_count() -> None:
    accuracy, rng = Accuracy(), Random(4)
    for _ in range(300):
        took_ms = 15.0 * rng.lognormvariate(0.0, 0.2) * (100.0 if rng.random() < 0.1 else 1.0)
        accuracy.learn(A, 10.0 * accuracy.factor(A), took_ms)
    assert accuracy.factor(A) == pytest.approx(1.5, rel=0.25)
    assert accuracy.factor(B) == 1.0


@given(st.lists(st.tuples(st.floats(), st.floats(allow_infinity=False)), max_size=60))
def test_a_factor_is_a_number_whatever_was_predicted(said: list[tuple[float, float]]) -> None:
    accuracy = Accuracy()
    for predicted_ms, took_ms in said:
        accuracy.learn(A, predicted_ms, took_ms)
    assert isfinite(accuracy.factor(A))
    assert 0.2 < accuracy.factor(A) < 5.0


def test_the_nodes_asked_longest_ago_are_forgotten() -> None:
    accuracy = Accuracy()
    for i in range(NODES_MAX + 1):
        accuracy.learn(node_id(str(i)), 1.0, 2.0)
    assert accuracy.factor(node_id("0")) == 1.0
    assert accuracy.factor(node_id("1")) > 1.0
