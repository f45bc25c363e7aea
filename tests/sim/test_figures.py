"""The figures measure what they say, on small meshes."""

import pytest

from meshnode.gossip.settings import GossipSettings, without_lifeguard
from meshnode.ids import distance
from meshnode.machine import Random
from meshnode.sim.__main__ import main
from meshnode.sim.dht_figures import Finds, Probe
from meshnode.sim.figures import FIGURES
from meshnode.sim.gossip_figures import starve
from meshnode.sim.sybils import Mint


def test_finds_count_what_was_found_and_how_long_it_took() -> None:
    probe, finds = Probe(12, 1), Finds()
    key = probe.publish(3)
    probe.mesh.run(5.0)
    probe.find(5, key, finds)
    probe.find(6, bytes(32), finds)
    probe.mesh.run(10.0)
    assert (finds.asked, finds.found, len(finds.seconds)) == (2, 1, 2)
    assert "1 of 2 found (50.0 %)" in finds.line("twelve nodes")
    assert 0.1 < min(finds.seconds) < 2.0


def test_sybils_are_nearer_to_a_key_than_honest_nodes() -> None:
    rng = Random(1)
    mint, key = Mint(rng, 4000), rng.randbytes(32)
    honest = min(distance(rng.randbytes(32), key) for _ in range(40))
    ring = mint.ring(key, 20)
    assert len({contact.address for contact in ring}) == 20
    assert all(distance(contact.node_id, key) < honest for contact in ring)


def test_a_starved_node_is_declared_dead_by_plain_swim_only() -> None:
    assert starve(6, 1, without_lifeguard(GossipSettings()), seconds=40.0).of_starved > 0
    assert starve(6, 1, GossipSettings(), seconds=40.0).total == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_prints_its_lines(name: str) -> None:
    lines = FIGURES[name](40, 1)
    assert len(lines) >= 2
    print("\n".join(lines))


@pytest.mark.parametrize("command", ["figures", "placement-figures"])
def test_a_figure_that_is_none_is_named(command: str) -> None:
    with pytest.raises(SystemExit, match=r"no figure named 'none'; there are .*, "):
        main([command, "none"])
