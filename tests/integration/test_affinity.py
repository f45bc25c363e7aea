"""Real nodes whose module asks for an order of its own: sources stay at home, turns go round."""

from collections import Counter
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import trio

from meshnode.assets import asset
from meshnode.identity.keys import Identity
from meshnode.modules.pack import assemble, runner_manifest
from meshnode.modules.signing import sign
from meshnode.node.node import Node
from meshnode.runtime.onnx_file import inspect_model
from tests.integration.test_mesh import Mesh, ask, mesh_of, publisher_of

pytestmark = pytest.mark.integration

NAMES = ("a", "b", "c", "d")
SOURCES = [f"camera-{i}" for i in range(160)]
AT_ONCE = 2
"""Requests under way: so few that no home's queue is out of bounds."""
AWAY_MAX = 0.05
PASSES_MAX = 8
PACE = {"simulate.run": "28ms", "batch.max": 1}
"""A run takes the same everywhere, and hardly any CPU; the noise of a busy machine is less than
what would count as another capacity."""


def packed(publisher: Identity, affinity: str) -> bytes:
    model = asset("digits.onnx").read_bytes()
    facts = inspect_model(model)
    manifest = runner_manifest(
        name="digits", version="1.0.0", inputs=facts.inputs, outputs=facts.outputs, batch=True
    )
    module, _ = assemble(
        asset("onnx-runner.wasm").read_bytes(),
        replace(manifest, affinity=affinity),
        {"model": model},
        embed=True,
    )
    return sign(module, publisher)


async def homes(door: Node, sources: Iterable[str]) -> dict[str, str]:
    """Send one request of each source through a door; return who served it."""
    image = np.load(asset("digits-test.images.npy"))[:1].astype(np.float32)
    served: dict[str, str] = {}
    todo = iter(sources)

    async def some() -> None:
        for source in todo:
            outcome = await ask(door, "digits", {"images": image}, source=source)
            served[source] = outcome.attempts[-1]["name"]

    async with trio.open_nursery() as nursery:
        for _ in range(AT_ONCE):
            nursery.start_soon(some)
    return served


def moved(before: dict[str, str], after: dict[str, str]) -> float:
    return sum(before[s] != after[s] for s in before) / len(before)


async def settled(door: Node) -> dict[str, str]:
    """Return where sources stay, once every node has measured what a run takes.

    On a machine whose cores are taken a node is avoided now and then for what others do to it.
    """
    now = await homes(door, SOURCES)
    for _ in range(PASSES_MAX):
        before, now = now, await homes(door, SOURCES)
        if moved(before, now) <= AWAY_MAX:
            return now
    raise AssertionError("sources do not stay at home")


async def test_sources_stay_at_home_and_few_move_when_a_node_goes(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack, AsyncExitStack() as leaving:
        mesh = Mesh(tmp_path, stack)
        for name in NAMES[:-1]:
            await mesh.add(name, **PACE)
        mesh._stack = leaving
        await mesh.add(NAMES[-1], **PACE)
        await mesh.see_each_other()
        door = mesh.nodes[0]
        await door.publish(packed(publisher_of(tmp_path, "a"), "source-hash"), [], len(NAMES))
        before = await settled(door)
        assert set(Counter(before.values())) == set(NAMES)
        await leaving.aclose()
        after = await settled(door)
        assert NAMES[-1] not in after.values()
        assert moved(before, after) <= 1 / len(NAMES) + 0.10


async def test_turns_go_round_whatever_the_time_they_take(tmp_path: Path) -> None:
    async with mesh_of(tmp_path, "a", "b", "c") as mesh:
        door = mesh.nodes[0]
        await door.publish(packed(publisher_of(tmp_path, "a"), "round-robin"), [], 3)
        await homes(door, SOURCES[:12])
        image = np.load(asset("digits-test.images.npy"))[:1].astype(np.float32)
        served = []
        for _ in range(9):
            shown = await door.explain("digits", ())
            outcome = await ask(door, "digits", {"images": image})
            served.append(outcome.attempts[0]["name"])
            assert served[-1] == shown["candidates"][0]["name"], "a look takes nobody's turn"
            assert shown["affinity"] == "round-robin"
        assert all(one != other for one, other in pairwise(served))
        assert Counter(served) == {"a": 3, "b": 3, "c": 3}


async def test_a_bandit_learns_who_is_slow(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        mesh = Mesh(tmp_path, stack)
        await mesh.add("a", **{**PACE, "caps.use": "cpu"})
        await mesh.add("quick", **{**PACE, "simulate.run": "5ms"})
        await mesh.add("slow", **{**PACE, "simulate.run": "200ms"})
        await mesh.see_each_other()
        _, quick, _ = mesh.nodes
        await quick.publish(packed(publisher_of(tmp_path, "quick"), "bandit"), [], 3)
        served = Counter((await homes(mesh.nodes[0], SOURCES[:60])).values())
        assert served["quick"] > served["slow"]
