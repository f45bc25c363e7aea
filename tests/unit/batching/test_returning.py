"""Promises: who is refused together is not told to come back together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.batching.returning import AGAIN_S_MAX, FLOWS_MAX, Promises


def test_each_is_given_a_place_of_its_own() -> None:
    promises = Promises()
    told = [promises.again_s("a", 0.2, 0.05, now=1.0) for _ in range(4)]
    assert told == pytest.approx([0.2, 0.25, 0.3, 0.35])
    assert promises.again_s("a", 0.2, 0.05, now=9.0) == pytest.approx(0.2), "the places have passed"


def test_who_comes_again_without_waiting_makes_only_his_own_time_longer() -> None:
    promises = Promises()
    for _ in range(10_000):
        told = promises.again_s("rude", 0.2, 0.05, now=1.0)
    assert told == pytest.approx(AGAIN_S_MAX)
    assert promises.again_s("polite", 0.2, 0.05, now=1.0) == pytest.approx(0.25)


def test_many_who_are_refused_together_are_told_different_times() -> None:
    promises = Promises()
    told = [promises.again_s(n, 0.2, 0.05, now=1.0) for n in range(60)]
    assert told == pytest.approx([0.2 + 0.05 * n for n in range(60)])


def test_what_is_remembered_is_bounded() -> None:
    promises = Promises()
    for n in range(3 * FLOWS_MAX):
        promises.again_s(n, 0.1, 0.1, now=1.0)
    assert len(promises) == FLOWS_MAX


@given(st.floats(-1, 1e6), st.floats(0, 1e6), st.floats(0, 1e6))
def test_what_is_told_lies_between_now_and_the_bound(
    earliest_s: float, each_s: float, now: float
) -> None:
    promises = Promises()
    for _ in range(3):
        assert 0 < promises.again_s("a", earliest_s, each_s, now) <= AGAIN_S_MAX + 1e-6
