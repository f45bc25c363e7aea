"""The figures of the placement's acceptance, as far as minutes allow; the rest by the command."""

from dataclasses import replace

import pytest

from meshnode.sim.fleet.figures import FIGURES, Run
from meshnode.sim.fleet.fleet import Trial
from meshnode.sim.fleet.policies import run_trial
from meshnode.sim.fleet.shape import article

TRIAL = Trial(load=0.8, seconds=8.0, warm_up_s=3.0)


@pytest.mark.slow
def test_two_hundred_nodes_are_near_the_oracle_without_herding_or_much_traffic() -> None:
    mesh, oracle = (run_trial(article(), TRIAL, policy) for policy in ("mesh", "oracle"))
    assert mesh.p99_ms < 1.12 * oracle.p99_ms
    assert mesh.dispersion <= 1.0
    assert mesh.messages_per_s <= 60
    assert mesh.control_per_s <= 6000


@pytest.mark.slow
def test_liars_silence_and_twice_the_load_are_borne() -> None:
    clean = run_trial(article(), TRIAL, "mesh")
    lied = run_trial(article(), replace(TRIAL, liars=0.05), "mesh")
    assert lied.p99_ms < 1.25 * clean.p99_ms
    hung = run_trial(article(), replace(TRIAL, load=0.7, hangs_per_s=1.0), "mesh")
    assert (hung.lost, hung.p999_ms < 200) == (0, True)
    full = run_trial(article(), replace(TRIAL, load=2.0, seconds=4.0, deadline_ms=100.0), "mesh")
    assert full.goodput_per_s > 0.78 * full.capacity_per_s


@pytest.mark.slow
def test_a_figure_is_printed_with_its_bound() -> None:
    lines = list(FIGURES["flat"](Run(seconds=2.0)))
    assert any("<= 1.05" in line for line in lines)
