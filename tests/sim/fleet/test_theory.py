"""The model against what is known of queues: Pollaczek and Khinchine's mean wait of M/G/1."""

from math import exp
from statistics import fmean

import pytest

from meshnode.sim.fleet.fleet import Fleet, Trial
from tests.sim.fleet.fleets import AtHome, alone


def mean_wait_ms(load: float, each_ms: float, noise: float) -> float:
    """Return lambda * E[S^2] / (2 * (1 - rho)) for log-normal times of this mean and sigma."""
    return load * each_ms * exp(noise * noise) / (2 * (1 - load))


@pytest.mark.parametrize(("load", "noise"), [(0.5, 0.25), (0.6, 0.6)])
def test_separate_queues_wait_as_long_as_theory_says(load: float, noise: float) -> None:
    trial = Trial(load=load, seconds=40.0, warm_up_s=1.0, seed=3)
    fleet = Fleet(alone(50, 40.0, noise), trial, AtHome)
    outcome = fleet.run()
    waited = fmean(fleet.tally.latencies) - 40.0
    assert outcome.lost == outcome.refused == 0
    assert waited == pytest.approx(mean_wait_ms(load, 40.0, noise), rel=0.08)


@pytest.mark.slow
def test_two_hundred_queues_agree_within_a_percent() -> None:
    trial = Trial(load=0.7, seconds=400.0, warm_up_s=10.0, seed=1)
    fleet = Fleet(alone(200, 40.0, 0.25), trial, AtHome)
    fleet.run()
    assert fmean(fleet.tally.latencies) - 40.0 == pytest.approx(
        mean_wait_ms(0.7, 40.0, 0.25), rel=0.015
    )


def test_arrivals_of_poisson_have_a_dispersion_of_one() -> None:
    trial = Trial(load=0.5, seconds=20.0, warm_up_s=1.0, seed=5)
    assert Fleet(alone(40, 10.0, 0.25), trial, AtHome).run().dispersion == pytest.approx(
        1, abs=0.05
    )
