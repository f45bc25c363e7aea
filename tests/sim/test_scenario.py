"""Whole nodes under the faults of a seed: what must hold holds, and a run repeats exactly."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from meshnode.ids import Address
from meshnode.sim.__main__ import main
from meshnode.sim.invariants import Broken, Invariants
from meshnode.sim.knobs import draw
from meshnode.sim.node import SimNode
from meshnode.sim.scenario import Scenario, run_seed

SEEDS = [
    tuple(map(int, line.split()))
    for line in (Path(__file__).parent / "seeds.txt").read_text().splitlines()
    if not line.startswith("#")
]


@pytest.mark.parametrize("seed", range(11, 13))
def test_what_must_hold_holds_whatever_goes_wrong(seed: int) -> None:
    knobs = replace(draw(seed, nodes=4), faults_s=20.0, settle_s=60.0)
    outcome = Scenario(seed, knobs=knobs).run()
    assert not outcome.failure, (outcome.command, outcome.failure)
    assert outcome.facts["lookups"] > 10


def test_liars_boxes_and_fragments_break_nothing() -> None:
    knobs = draw(13, nodes=4)
    link = replace(knobs.link, mtu=576, fragments=True)
    knobs = replace(knobs, link=link, back=link, liars=1, natted=2, requests_s=5.0, budget_s=0.2)
    outcome = Scenario(13, knobs=replace(knobs, faults_s=20.0, settle_s=60.0)).run()
    assert not outcome.failure, (outcome.command, outcome.failure)
    assert "1 liars, 2 behind NAT, MTU 576" in outcome.knobs


@pytest.mark.parametrize(("seed", "nodes"), SEEDS)
def test_what_once_failed_does_not_fail_again(seed: int, nodes: int) -> None:
    outcome = run_seed(seed, nodes=nodes)
    assert not outcome.failure, (outcome.command, outcome.failure)


def test_the_log_of_a_seed_is_the_same_under_any_hash_seed() -> None:
    runs = [
        subprocess.Popen(
            [sys.executable, "-m", "meshnode.sim", "run", "--seed", "3", "--nodes", "3"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for hash_seed in ("0", "12345")
    ]
    said = [run.communicate(timeout=120)[0] for run in runs]
    assert said[0] == said[1]
    assert "packets" in said[0]


def test_the_same_seed_gives_the_same_log_and_another_seed_another() -> None:
    knobs = replace(draw(5, nodes=3), faults_s=5.0, settle_s=10.0)
    one, two = (Scenario(5, knobs=knobs).run() for _ in range(2))
    assert one == two
    assert Scenario(6, knobs=knobs).run().digest != one.digest


def test_a_run_that_breaks_prints_the_command_that_replays_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def look_into(self: Invariants, node: SimNode) -> None:
        raise Broken(f"{node.name} is looked into")

    monkeypatch.setattr(Invariants, "look_into", look_into)
    assert main(["run", "--seed", "5", "--nodes", "3"]) == 1
    said = capsys.readouterr().out
    assert "is looked into" in said
    assert "replay: python -m meshnode.sim run --seed 5 --nodes 3" in said


def small(seed: int = 7) -> Scenario:
    knobs = replace(draw(seed, nodes=3), faults_s=1.0, settle_s=5.0, hostile=0, strangers=0)
    scenario = Scenario(seed, knobs=knobs)
    scenario.run()
    return scenario


def test_two_truths_about_one_incarnation_are_noticed() -> None:
    scenario = small()
    one, two, three = scenario.honest
    assert one.swim is not None
    member = next(
        m for m in one.swim.members() if m.contact.public_key == three.identity.public_key
    )
    moved = replace(member.contact, address=Address("10.66.6.6", 1))
    with pytest.raises(Broken, match="another node"):
        scenario.invariants.changed(two, replace(member, contact=moved))


def test_a_view_that_goes_back_is_noticed() -> None:
    scenario = small()
    one, _, three = scenario.honest
    assert one.swim is not None
    member = next(
        m for m in one.swim.members() if m.contact.public_key == three.identity.public_key
    )
    scenario.invariants.changed(one, replace(member, incarnation=member.incarnation + 1))
    with pytest.raises(Broken, match="went back"):
        scenario.invariants.changed(one, member)


def test_a_stranger_in_a_table_and_a_lookup_without_end_are_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scenario = small()
    one, two, _ = scenario.honest
    scenario.invariants.members.discard(two.identity.public_key)
    with pytest.raises(Broken, match="stranger"):
        scenario.invariants.look_into(one)
    scenario.invariants.members.add(two.identity.public_key)
    ticket = one.find(bytes(32), lambda end: None)
    scenario.invariants.expect_end(one, ticket, "lookup")
    assert one.place.pace is not None
    one.place.pace.stall(scenario.mesh.world.now + 50.0)
    monkeypatch.setattr(SimNode, "waits_for", lambda _, asked: asked == ticket)
    scenario.mesh.run(60.0)  # most of which it stood
    with pytest.raises(Broken, match="did not end"):
        scenario.mesh.run(20.0)
