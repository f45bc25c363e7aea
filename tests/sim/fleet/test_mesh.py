"""The shipped placement on small fleets: near the oracle, in balance, and the same again."""

import subprocess
import sys
from dataclasses import replace

import pytest

from meshnode.sim.fleet.fleet import Fleet, Trial
from meshnode.sim.fleet.mesh import Mesh
from meshnode.sim.fleet.policies import POLICIES, run_trial
from tests.sim.fleet.fleets import SMALL

TRIAL = Trial(load=0.8, seconds=4.0, warm_up_s=2.0, seed=2)
SHORT = replace(TRIAL, seconds=1.0, warm_up_s=0.5)
SCRIPT = """
from tests.sim.fleet.test_mesh import SHORT, SMALL
from meshnode.sim.fleet.policies import run_trial
from dataclasses import replace
outcome = run_trial(SMALL, replace(SHORT, hangs_per_s=1.0, liars=0.1), "mesh")
print(replace(outcome, took_s=0.0))
"""


def balanced(fleet: Fleet) -> None:
    """Every request that a board counts is really at that node, and no other is."""
    mesh = fleet.policy
    assert isinstance(mesh, Mesh)
    for member in mesh.members:
        for other in mesh.members:
            standing = member.board.standing(other.names.tag)
            for request_id in standing.sent if standing is not None else ():
                request = fleet.open.get(request_id)
                assert request is not None, "what has ended is not in flight"
                assert (request.home, request.server) == (member.index, other.index)


def test_the_mesh_is_near_the_oracle_and_herding_is_not() -> None:
    oracle, mesh, herd = (run_trial(SMALL, TRIAL, p) for p in ("oracle", "mesh", "gossip-least"))
    assert mesh.requests == oracle.requests == herd.requests
    assert mesh.p99_ms < 1.5 * oracle.p99_ms
    assert herd.p99_ms > 3 * mesh.p99_ms
    assert mesh.lost == mesh.refused == 0


@pytest.mark.parametrize(
    "change",
    [
        {"hangs_per_s": 2.0, "hang_s": 0.7},
        {"liars": 0.3},
        {"deadline_ms": 100.0, "load": 2.0},
    ],
)
def test_what_is_in_flight_is_what_is_counted(change: dict[str, float]) -> None:
    fleet = Fleet(SMALL, replace(SHORT, **change), Mesh)  # type: ignore[arg-type]  # floats only
    outcome = fleet.run()
    balanced(fleet)
    assert outcome.lost == 0


def test_cold_modules_are_loaded_and_nothing_is_lost() -> None:
    shape = replace(SMALL, modules=5)
    fleet = Fleet(shape, replace(SHORT, cold=True, load=0.3, seconds=2.0), Mesh)
    outcome = fleet.run()
    balanced(fleet)
    assert outcome.lost == 0
    assert all(server.warm for server in fleet.servers if server.served)


def test_fewer_nodes_than_refusals_still_open_a_gate() -> None:
    few = tuple(replace(group, sites=(0,)) for group in SMALL.groups)
    trial = replace(SHORT, cold=True, load=0.2, seconds=2.0, warm_up_s=0.0)
    fleet = Fleet(replace(SMALL, groups=few, modules=8), trial, Mesh)
    outcome = fleet.run()
    assert fleet.tally.marks["ColdHere"] > 0
    assert fleet.tally.marks["nowhere"] == 0
    assert outcome.lost == 0


def test_the_same_seed_is_the_same_run_whatever_the_order_of_sets() -> None:
    said = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


@pytest.mark.parametrize("policy", sorted(set(POLICIES) - {"mesh", "oracle", "gossip-least"}))
def test_every_policy_answers(policy: str) -> None:
    outcome = run_trial(SMALL, replace(SHORT, load=0.2, seconds=0.5), policy)
    assert outcome.requests > 20
    assert outcome.lost == outcome.refused == 0


def test_an_oracle_loses_nothing_when_nodes_fall_silent() -> None:
    outcome = run_trial(SMALL, replace(SHORT, hangs_per_s=2.0, hang_s=0.7, load=0.5), "oracle")
    assert outcome.lost == 0
