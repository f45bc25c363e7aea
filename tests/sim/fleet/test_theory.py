"""The model against what is known of queues: Pollaczek and Khinchine's mean wait of M/G/1."""

from math import exp, sqrt
from statistics import fmean, stdev

import pytest

from meshnode.sim.fleet.fleet import Fleet, Trial
from tests.sim.fleet.fleets import AtHome, alone


def mean_wait_ms(load: float, each_ms: float, noise: float) -> float:
    """Return lambda * E[S^2] / (2 * (1 - rho)) for log-normal times of this mean and sigma."""
    return load * each_ms * exp(noise * noise) / (2 * (1 - load))


def off_by(load: float, noise: float, *, queues: int, seconds: float) -> tuple[float, float]:
    """Return how far the model's mean wait is off, and its standard error, as shares of theory's.

    The queues are independent, so their means say how much such a run can tell.
    """
    trial = Trial(load=load, seconds=seconds, warm_up_s=2.0, seed=3)
    fleet = Fleet(alone(queues, 40.0, noise), trial, AtHome)
    outcome = fleet.run()
    assert outcome.lost == outcome.refused == 0
    waits = [fmean(times) - 40.0 for times in fleet.tally.by_server.values()]
    expected = mean_wait_ms(load, 40.0, noise)
    off = (fmean(fleet.tally.latencies) - 40.0) / expected - 1.0
    return off, stdev(waits) / sqrt(len(waits)) / expected


@pytest.mark.parametrize(("load", "noise"), [(0.5, 0.25), (0.6, 0.6)])
def test_separate_queues_wait_as_long_as_theory_says(load: float, noise: float) -> None:
    off, error = off_by(load, noise, queues=50, seconds=40.0)
    assert error < 0.05
    assert abs(off) < 3 * error


@pytest.mark.slow
def test_two_hundred_queues_agree_as_far_as_half_a_million_frames_can_tell() -> None:
    off, error = off_by(0.7, 0.25, queues=200, seconds=150.0)
    assert error < 0.01
    assert abs(off) < 3 * error


def test_arrivals_of_poisson_have_a_dispersion_of_one() -> None:
    trial = Trial(load=0.5, seconds=20.0, warm_up_s=1.0, seed=5)
    assert Fleet(alone(40, 10.0, 0.25), trial, AtHome).run().dispersion == pytest.approx(
        1, abs=0.05
    )
