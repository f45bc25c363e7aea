"""The arithmetic of placement.md section 2."""

from math import exp, sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.placement.score import EACH_MS, Score, cold_ms, corrected_ms, step_of, wait_ms
from meshnode.placement.settings import PlacementSettings

DEFAULTS = PlacementSettings(pessimism=1.0, crowd=1.0)
"""Those of the design page; what ships was tuned in the model (docs/placement.md)."""
ms = st.floats(0, 10_000)


def waiting(wait: float, mean: float, sigma: float, age_ms: float) -> float:
    return wait_ms(wait, mean, sigma, age_ms, DEFAULTS)


def test_a_fresh_record_is_believed() -> None:
    assert waiting(50.0, 20.0, 30.0, 0.0) == 50.0


def test_the_formula_at_one_time_constant() -> None:
    e = exp(-1.0)
    expected = 20.0 + 30.0 * e + 10.0 * sqrt(1 - e * e)
    assert waiting(50.0, 20.0, 10.0, 200.0) == pytest.approx(expected)


@settings(max_examples=100, deadline=None)
@given(ms, ms)
def test_an_old_record_decays_to_the_nodes_own_mean(wait: float, mean: float) -> None:
    previous = abs(wait - mean)
    for age_ms in (50.0, 100.0, 200.0, 400.0, 800.0):
        gap = abs(waiting(wait, mean, 0.0, age_ms) - mean)
        assert gap <= previous + 1e-9
        previous = gap
    assert waiting(wait, mean, 0.0, 10_000.0) == pytest.approx(mean)


@settings(max_examples=100, deadline=None)
@given(ms, st.floats(0.1, 1000), ms, ms)
def test_caution_grows_with_age_to_one_sigma(
    wait: float, sigma: float, young: float, older: float
) -> None:
    young, older = sorted((young, older))

    def caution(age_ms: float) -> float:
        return waiting(wait, wait, sigma, age_ms) - wait

    assert -1e-9 <= caution(young) <= caution(older) + 1e-9
    assert caution(older) <= sigma + 1e-9


def test_unseen_requests_count_twice_since_others_behave_like_us() -> None:
    assert corrected_ms(10.0, 5.0, 0.0, DEFAULTS) == 20.0


def test_what_is_unanswered_is_the_least_that_waits() -> None:
    assert corrected_ms(3.0, 0.0, 40.0, DEFAULTS) == 40.0


def test_cold_starts_cost_loading_and_where_needed_fetching() -> None:
    loading, fetching = DEFAULTS.load_ms, DEFAULTS.fetch_ms
    assert cold_ms(True, 0, DEFAULTS) == loading
    assert cold_ms(False, 0, DEFAULTS) == loading + fetching
    assert cold_ms(False, 50_000_000, DEFAULTS) == loading + fetching + 1000.0


@settings(max_examples=100, deadline=None)
@given(st.builds(Score, ms, ms, ms, ms, ms, ms, st.floats(-20, 0), st.booleans()))
def test_the_explained_parts_sum_to_the_total(score: Score) -> None:
    assert sum(score.as_dict().values()) == pytest.approx(score.total_ms)


def test_a_promise_is_without_cold_start_bias_and_bonus() -> None:
    assert Score(1.0, 2.0, 3.0, 4.0, 500.0, 60.0, -5.0, False).promised_ms == 10.0


@given(st.floats(0.001, 1e6))
def test_what_one_more_row_takes_is_told_within_five_percent(each_ms: float) -> None:
    assert EACH_MS[step_of(each_ms)] == pytest.approx(each_ms, rel=0.05)


@pytest.mark.parametrize("each_ms", [0.0, 0.0009, 1e12])
def test_every_step_fits_a_byte_and_has_a_time(each_ms: float) -> None:
    assert 0 <= step_of(each_ms) <= 255
    assert len(EACH_MS) == 256
    assert list(EACH_MS) == sorted(EACH_MS)
