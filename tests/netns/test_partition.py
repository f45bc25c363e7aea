"""A mesh cut into halves under load: both serve, and after the heal there is one mesh again."""

import threading

import pytest

from tests.netns.fabric import Host
from tests.netns.lab import Lab, LabPlayground
from tests.netns.mesh import LabMesh

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("hosts_allowed")]

NODES = 20
CUT_S = 30.0
DOORS = ("n1", "n4", "n11", "n14")


def test_halves_serve_and_find_together_again() -> None:
    hosts = [Host(address=f"20.0.{i}.1") for i in range(NODES)]
    names = {f"n{i}" for i in range(NODES)}
    halves = [{f"n{i}" for i in range(NODES // 2)}, {f"n{i}" for i in range(NODES // 2, NODES)}]
    with Lab(hosts) as lab, LabPlayground(lab) as play:
        lab.everywhere(delay_s=0.001)
        mesh = LabMesh(lab, play)
        mesh.found(range(NODES))
        print(f"all see each other after {mesh.agree(names):.1f} s")
        mesh.publish(NODES)
        with mesh.under_load(DOORS) as load:
            threading.Event().wait(3.0)
            lab.cut(range(NODES // 2), range(NODES // 2, NODES))
            before = load.answered.total()
            parted = max(mesh.agree(half) for half in halves)
            threading.Event().wait(max(0.0, CUT_S - parted))
            during = load.answered.total() - before
            lab.heal()
            healed = mesh.agree(names)
            threading.Event().wait(3.0)
    print(
        f"halves saw just themselves after {parted:.1f} s; one mesh {healed:.1f} s after the heal;"
        f" {load.answered.total()} requests answered, {during} of them while cut,"
        f" {len(load.failed)} failed, slowest {load.slowest_s:.2f} s"
    )
    assert not load.failed
    assert all(load.answered[door] for door in DOORS)
