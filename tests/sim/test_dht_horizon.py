"""Who takes what he knows for the whole mesh: in a small one all soon, in a large one nobody."""

from collections import Counter

import pytest

from meshnode.dht.horizon import View
from tests.sim.dht_mesh import Mesh
from tests.sim.network import Link

NEAR = Link(delay_s=0.002, jitter_s=0.001, loss=0.01)
KNOWN_MIN = 0.75
"""Of those who joined so far: while others join every moment some are not heard of yet."""


def views(mesh: Mesh) -> list[tuple[View, int]]:
    """How much of the mesh each member believes to know, and how many contacts it has."""
    each = [mesh.machines[i] for i in sorted(mesh.live - {0})]
    return [(m._horizon.view(mesh.world.now), m.size) for m in each]


def joining(count: int, seed: int) -> Mesh:
    mesh = Mesh(count, seed=seed, link=NEAR, check=False)
    for index in range(1, count):
        mesh.join([index], every_s=0.01)
    return mesh


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_thirty_nodes_know_that_they_are_all_in_the_second_after_they_joined(seed: int) -> None:
    mesh = joining(30, seed)
    mesh.run(1.0)
    counts = Counter(view for view, _ in views(mesh))
    # One in a hundred sees so many near itself that it takes the mesh for a larger one.
    assert counts[View.PART] <= 2, counts
    assert counts[View.ALL] >= 20, counts


@pytest.mark.parametrize("every_s", [0.02, pytest.param(0.2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_of_a_hundred_nodes_none_takes_a_part_for_the_whole(seed: int, every_s: float) -> None:
    mesh = Mesh(100, seed=seed, link=NEAR, check=False)
    for joined in range(1, 100):
        mesh.join([joined], every_s=every_s)
        for view, size in views(mesh):
            assert view is not View.ALL or size >= KNOWN_MIN * (joined - 1), (joined, size)
    for _ in range(20):
        mesh.run(1.0)
        seen = Counter(view for view, _ in views(mesh))
        assert seen[View.ALL] == 0
        assert seen[View.LIKELY_ALL] <= 10, "records go out at once, and to the nearest later"
