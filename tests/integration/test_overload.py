"""Overload on whole nodes: a flood keeps nobody out, refusals are honest, no request runs twice."""

from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import numpy as np
import pytest
import trio

from meshnode.assets import asset
from meshnode.errors import DeadlineExceeded, MeshnodeError, Overloaded
from meshnode.node.node import Node
from tests.integration.test_mesh import Mesh, ask, mesh_of, packed, publisher_of

pytestmark = pytest.mark.integration
RUN_MS = 60
SLOW = {"simulate.run": f"{RUN_MS}ms", "batch.max": 1}


@dataclass
class Told:
    """What became of one source's requests."""

    answered: int = 0
    refused: list[MeshnodeError] = field(default_factory=list)
    late: int = 0

    @property
    def asked(self) -> int:
        return self.answered + len(self.refused) + self.late


async def with_module(root: Path, mesh: Mesh) -> None:
    """Publish the module everywhere, and let each node measure it."""
    name = mesh.nodes[0].name
    module = packed(asset("digits.onnx").read_bytes(), publisher_of(root, name))
    await mesh.nodes[0].publish(module, [], len(mesh.nodes))
    for node in mesh.nodes:
        info = await node.describe("digits")
        await node.parts.lanes.get(info.module)
        for _ in range(9):  # until what it takes is sure enough to refuse by it
            lane, _ = await node.parts.lanes.get(info.module)
            await lane.predict({"images": IMAGE}, run_by=trio.current_time() + 60)


IMAGE = np.load(asset("digits-test.images.npy"))[:1].astype(np.float32)


async def send(node: Node, source: str, told: Told, deadline_ms: int) -> None:
    try:
        await ask(node, "digits", {"images": IMAGE}, source=source, deadline_ms=deadline_ms)
        told.answered += 1
    except Overloaded as error:
        told.refused.append(error)
    except DeadlineExceeded:
        told.late += 1
    except MeshnodeError as error:
        told.refused.append(error)


async def stream(
    node: Node, source: str, told: Told, *, per_s: float, seconds: float, deadline_ms: int
) -> None:
    """Send requests in open loop, evenly spaced but for a tenth."""
    rng = Random(source)
    async with trio.open_nursery() as nursery:
        for _ in range(round(per_s * seconds)):
            nursery.start_soon(send, node, source, told, deadline_ms)
            await trio.sleep(rng.uniform(0.9, 1.1) / per_s)


async def test_a_source_that_floods_five_times_over_keeps_no_other_out(tmp_path: Path) -> None:
    async with mesh_of(tmp_path) as mesh:
        for name in ("a", "b"):
            await mesh.add(name, **SLOW)
        await mesh.see_each_other()
        await with_module(tmp_path, mesh)
        a, b = mesh.nodes
        capacity_per_s = 2 * 1000 / RUN_MS
        flood, quiet, beside = Told(), Told(), Told()
        case = {"seconds": 4.0, "deadline_ms": 1000}
        async with trio.open_nursery() as nursery:
            start = nursery.start_soon
            start(lambda: stream(a, "flood", flood, per_s=5 * capacity_per_s, **case))
            start(lambda: stream(b, "quiet", quiet, per_s=capacity_per_s / 10, **case))
            start(lambda: stream(a, "beside", beside, per_s=capacity_per_s / 10, **case))
        print(flood.answered, len(flood.refused), flood.late, quiet, beside)
        assert quiet.answered >= 0.85 * quiet.asked, "from another door"
        assert beside.answered >= 0.85 * beside.asked, "from the same door"
        assert flood.answered > quiet.answered + beside.answered, "the rest is for the flood"
