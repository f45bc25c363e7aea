"""Bad links between real nodes: distance, loss, bursts of loss, a slow line, small packets."""

import threading
from statistics import quantiles
from time import monotonic

import numpy as np
import pytest

from tests.netns.fabric import Host
from tests.netns.lab import Lab, LabPlayground
from tests.netns.mesh import LabMesh

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("hosts_allowed")]

NODES = 8
PATIENCE_S = 60.0
"""Where a quarter of all packets is lost, TCP says some for the sixth time after 12 s."""
HOSTS = [Host(address=f"20.0.{i}.1") for i in range(NODES)]
NAMES = {f"n{i}" for i in range(NODES)}
LADDER: dict[str, tuple[int, dict[str, float]]] = {
    "20 ms, 1 % loss": (1500, {"delay_s": 0.010, "loss": 0.005}),
    "25 % loss in bursts": (1500, {"delay_s": 0.005, "burst_loss": 0.25, "burst_packets": 4.0}),
    "100 Mbit/s, 20 ms": (1500, {"delay_s": 0.010, "rate_bps": 100e6}),
    "MTU 1,280, 40 ms": (1280, {"delay_s": 0.020, "jitter_s": 0.005}),
    "800 ms": (1500, {"delay_s": 0.4}),
}
"""MTU and terms of every link; delays are one way."""


@pytest.mark.parametrize("rung", LADDER)
def test_a_mesh_on_bad_links_forms_spreads_a_module_and_answers(rung: str) -> None:
    mtu, terms = LADDER[rung]
    with Lab(HOSTS, mtu=mtu) as lab, LabPlayground(lab) as play:
        lab.everywhere(**terms)
        mesh = LabMesh(lab, play)
        began = monotonic()
        mesh.found(range(NODES))
        mesh.agree(NAMES, timeout_s=120.0)
        formed = monotonic() - began
        began = monotonic()
        mesh.publish(3)
        published = monotonic() - began
        here = mesh.predict("n0", source="a", deadline=PATIENCE_S)
        took = []
        for i in range(40):
            asked = monotonic()
            there = mesh.predict(f"n{i % NODES}", source=f"s{i}", deadline=PATIENCE_S)
            took.append(monotonic() - asked)
            assert np.array_equal(here, there)
        print(
            f"{rung}: formed in {formed:.1f} s, published in {published:.1f} s,"
            f" predict p50 {1e3 * quantiles(took, n=2)[0]:.0f} ms,"
            f" slowest {1e3 * max(took):.0f} ms; {lab.counts()}"
        )


def test_bursts_of_loss_kill_nobody_for_a_minute() -> None:
    with Lab(HOSTS) as lab, LabPlayground(lab) as play:
        mesh = LabMesh(lab, play)
        mesh.found(range(NODES))
        mesh.agree(NAMES)
        mesh.publish(3)
        lab.everywhere(burst_loss=0.25, burst_packets=4.0, delay_s=0.002)
        missed, over = [], monotonic() + 60.0
        with mesh.under_load(["n2", "n5"], deadline_s=PATIENCE_S) as load:
            while monotonic() < over:
                threading.Event().wait(0.5)
                missed += [(a, b) for a in sorted(NAMES) for b in sorted(NAMES - mesh.alive(a))]
        print(f"{len(missed)} times someone was not seen alive; {load.answered}, {load.failed}")
        assert not load.failed
        lab.everywhere(burst_loss=0.0)
        mesh.agree(NAMES)
