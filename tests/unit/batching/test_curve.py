"""ServiceCurve: a level that follows the machine, a shape that noise does not bend."""

import pytest

from meshnode.batching.curve import SURE_AFTER, ServiceCurve, class_of


def taught(fixed_s: float, each_s: float, sizes: tuple[int, ...] = (1, 2, 4, 8)) -> ServiceCurve:
    curve = ServiceCurve()
    for n in (1, *sizes * 6):
        curve.learn(n, fixed_s + each_s * n)
    return curve


def test_sizes_fall_into_doubling_classes() -> None:
    assert [class_of(n) for n in (1, 2, 3, 4, 5, 8, 9, 32, 33)] == [0, 1, 2, 2, 3, 3, 4, 5, 6]


def test_nothing_is_claimed_before_anything_was_measured() -> None:
    assert ServiceCurve().seconds(4) == 0.0
    assert not ServiceCurve().sure


def test_the_first_batch_is_not_learned() -> None:
    curve = ServiceCurve()
    curve.learn(1, 9.0)
    assert curve.level_s == 0.0
    curve.learn(1, 0.5)
    assert curve.seconds(1) == pytest.approx(0.5)


def test_a_line_is_found_and_tells_sizes_that_were_not_met() -> None:
    curve = taught(0.010, 0.002)
    assert curve.sure
    assert curve.batches >= SURE_AFTER
    assert curve.fixed_s == pytest.approx(0.010, rel=0.05)
    assert curve.each_s == pytest.approx(0.002, rel=0.05)
    assert curve.seconds(16) == pytest.approx(0.042, rel=0.05)


def test_with_one_size_no_gain_is_assumed() -> None:
    assert taught(0.010, 0.002, (1,)).seconds(4) == pytest.approx(0.048)


def test_a_stalled_batch_moves_nothing() -> None:
    curve = taught(0.010, 0.002)
    before = curve.seconds(1)
    curve.learn(1, 5.0)
    assert curve.seconds(1) == pytest.approx(before, rel=0.05)


def test_a_machine_that_became_slower_is_noticed_in_a_few_batches_for_every_size() -> None:
    curve = taught(0.010, 0.002)
    for _ in range(3):
        curve.learn(1, 0.036)
    assert curve.seconds(1) == pytest.approx(0.036, rel=0.05)
    assert curve.seconds(8) == pytest.approx(0.078, rel=0.1)


def test_a_size_met_in_a_busy_moment_is_not_held_to_be_slow() -> None:
    curve = taught(0.0, 0.010, (1,))
    for _ in range(6):
        curve.learn(1, 0.030)
    for _ in range(5):
        curve.learn(2, 0.060)
        curve.learn(1, 0.030)
    assert curve.classes[1].ratio == pytest.approx(1.0, rel=0.01)


def test_changing_the_reference_changes_no_prediction() -> None:
    curve = taught(0.010, 0.002)
    before = [curve.seconds(n) for n in (1, 2, 8, 16)]
    curve.refer_to(3)
    assert [curve.seconds(n) for n in (1, 2, 8, 16)] == pytest.approx(before)
