"""The metric says what it is asked: how many predictions were near, and which way they err."""

import pytest

from meshnode.placement.accuracy import KEPT, Accuracy


def test_before_the_first_there_is_nothing_to_say() -> None:
    assert (Accuracy().near, Accuracy().error) == (None, None)


def test_near_is_within_30_percent_of_what_it_took() -> None:
    accuracy = Accuracy()
    for predicted_ms in (70.0, 130.0, 69.0, 131.0, 100.0):
        accuracy.learn(predicted_ms, 100.0)
    assert accuracy.near == pytest.approx(3 / 5)
    assert accuracy.error == pytest.approx(0.0)


def test_only_the_last_count() -> None:
    accuracy = Accuracy()
    for _ in range(KEPT):
        accuracy.learn(1000.0, 1.0)
    for _ in range(KEPT):
        accuracy.learn(1.0, 1.0)
    assert accuracy.near == 1.0
    assert len(accuracy) == KEPT
