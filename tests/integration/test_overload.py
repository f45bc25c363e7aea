"""Overload on whole nodes: a flood keeps nobody out, refusals are honest, no request runs twice."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import trio

from meshnode.assets import asset
from meshnode.errors import (
    DeadlineExceeded,
    MeshnodeError,
    Overloaded,
    OverShare,
    PeerUnreachable,
)
from meshnode.ids import RequestId
from meshnode.node.node import Node
from meshnode.runtime.tensors import from_arrays
from meshnode.wire.messages import Intent, Predict, Prediction, Reply
from tests.integration.test_mesh import Mesh, ask, mesh_of, packed, publisher_of, until

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


async def with_module(root: Path, mesh: Mesh, name: str = "digits") -> None:
    """Publish a module everywhere, and let each node measure it."""
    publisher = publisher_of(root, mesh.nodes[0].name)
    module = packed(asset("digits.onnx").read_bytes(), publisher, name)
    await mesh.nodes[0].publish(module, [], len(mesh.nodes))
    for node in mesh.nodes:
        info = await node.describe(name)
        await node.parts.lanes.get(info.module)
        for _ in range(9):  # until what it takes is sure enough to refuse by it
            lane, _ = await node.parts.lanes.get(info.module)
            await lane.predict({"images": IMAGE}, run_by=trio.current_time() + 60)


FLOODED = ("digits-1", "digits-2", "digits-3")
IMAGE = np.load(asset("digits-test.images.npy"))[:1].astype(np.float32)


async def send(
    node: Node, source: str, told: Told, deadline_ms: int, module: str = "digits"
) -> None:
    try:
        await ask(node, module, {"images": IMAGE}, source=source, deadline_ms=deadline_ms)
        told.answered += 1
    except Overloaded as error:
        told.refused.append(error)
    except DeadlineExceeded:
        told.late += 1
    except MeshnodeError as error:
        told.refused.append(error)


async def stream(
    node: Node,
    source: str,
    told: Told,
    *,
    per_s: float,
    seconds: float,
    deadline_ms: int,
    modules: Sequence[str] = ("digits",),
) -> None:
    """Send requests in open loop, evenly spaced but for a tenth, for one module after another."""
    rng = Random(source)
    async with trio.open_nursery() as nursery:
        for number in range(round(per_s * seconds)):
            module = modules[number % len(modules)]
            nursery.start_soon(send, node, source, told, deadline_ms, module)
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
        case = {"seconds": 4.0, "deadline_ms": 1500}
        async with trio.open_nursery() as nursery:
            start = nursery.start_soon
            start(lambda: stream(a, "flood", flood, per_s=5 * capacity_per_s, **case))
            start(lambda: stream(b, "quiet", quiet, per_s=capacity_per_s / 10, **case))
            start(lambda: stream(a, "beside", beside, per_s=capacity_per_s / 10, **case))
        print(flood.answered, len(flood.refused), flood.late, quiet, beside)
        assert quiet.answered >= 0.85 * quiet.asked, "from another door"
        assert beside.answered >= 0.85 * beside.asked, "from the same door"
        assert flood.answered > quiet.answered + beside.answered, "the rest is for the flood"
        assert not [e for e in quiet.refused + beside.refused if isinstance(e, OverShare)]
        blamed = sum(isinstance(e, OverShare) for e in flood.refused)
        assert blamed > len(flood.refused) / 2, "it is told that it asks too much"


async def test_a_flood_over_three_modules_leaves_half_of_the_machine_to_who_asks_for_one(
    tmp_path: Path,
) -> None:
    async with mesh_of(tmp_path) as mesh:
        node = await mesh.add("a", **SLOW)
        for name in (*FLOODED, "digits"):
            await with_module(tmp_path, mesh, name)
        capacity_per_s = 1000 / RUN_MS
        flood, quiet = Told(), Told()
        case = {"seconds": 4.0, "deadline_ms": 1500}
        wide = {**case, "per_s": 5 * capacity_per_s, "modules": FLOODED}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: stream(node, "flood", flood, **wide))
            nursery.start_soon(
                lambda: stream(node, "quiet", quiet, per_s=0.4 * capacity_per_s, **case)
            )
        print(flood.answered, len(flood.refused), flood.late, quiet)
        assert quiet.answered >= 0.85 * quiet.asked, "by turns of modules it had a quarter"
        assert flood.answered > quiet.answered, "the rest is for the flood"


async def test_most_who_come_again_when_they_were_told_to_are_answered(tmp_path: Path) -> None:
    async with mesh_of(tmp_path) as mesh:
        for name in ("a", "b"):
            await mesh.add(name, **SLOW)
        await mesh.see_each_other()
        await with_module(tmp_path, mesh)
        door = mesh.nodes[0]
        told, again = Told(), Told()

        async def patient(number: int) -> None:
            """Ask once, and once more when that was said to have a chance."""
            mine = Told()
            await send(door, f"cam-{number}", mine, deadline_ms=1000)
            told.answered += mine.answered
            told.late += mine.late
            told.refused += mine.refused
            for error in mine.refused:
                if error.retry_after_ms is not None:
                    await trio.sleep(error.retry_after_ms / 1000)
                    await send(door, f"cam-{number}", again, deadline_ms=1000)

        async with trio.open_nursery() as nursery:
            for number in range(80):
                nursery.start_soon(patient, number)
        print(told.answered, len(told.refused), told.late, again.answered, len(again.refused))
        waits = [e.retry_after_ms for e in told.refused if e.retry_after_ms is not None]
        assert len(told.refused) >= 20, "eighty at once are too many"
        assert len(waits) >= 0.9 * len(told.refused)
        assert len(set(waits)) > len(waits) / 2, "no constant"
        assert again.answered >= 0.6 * again.asked


async def test_one_request_that_arrives_twice_runs_once(tmp_path: Path) -> None:
    async with mesh_of(tmp_path) as mesh:
        await mesh.add("a", **SLOW)
        await mesh.add("b", **{**SLOW, "simulate.run": "500ms"})
        await mesh.see_each_other()
        await with_module(tmp_path, mesh)
        a, b = mesh.nodes
        info = await a.describe("digits")
        runs: list[int] = []
        lane, _ = await b.parts.lanes.get(info.module)
        begin = lane.begin
        lane.begin = lambda waiters, now: (runs.append(len(waiters)), begin(waiters, now))[1]  # type: ignore[method-assign]
        headers, body = from_arrays({"images": IMAGE}, ["images"])
        request = Predict(
            request_id=RequestId(b"twice-twice-twic"),
            module=info.module,
            source="cam",
            budget_ms=30_000,
            hops_left=0,
            tensors=headers,
            body=body,
        )
        pool, got = a.parts.requests._pool, list[Reply]()

        async def call() -> None:
            got.append(await pool.call(b.contact, request, timeout_s=30))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            nursery.start_soon(call)
            await until(lambda: bool(runs))
            lost = pool.connection_with(b.contact.node_id)
            assert lost is not None
            with trio.move_on_after(0.01):  # a third time, and its asker leaves
                await call()
        assert len(got) == 2
        await call()
        assert runs == [1]
        first = got[0]
        assert isinstance(first, Prediction)
        assert all(isinstance(g, Prediction) and g.tensors == first.tensors for g in got)

        second = replace(request, request_id=RequestId(b"over a new chann"))
        got.clear()

        async def once_lost() -> None:
            with pytest.raises(PeerUnreachable):
                await pool.call(b.contact, second, timeout_s=30)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(once_lost)
            await until(lambda: len(runs) == 2)
            gone = pool.connection_with(b.contact.node_id)
            assert gone is not None
            gone.close("cut by the test")
        got.append(await pool.call(b.contact, second, timeout_s=30))
        assert runs == [1, 1], "the run went on, and its answer was kept"
        assert isinstance(got[0], Prediction)


async def test_over_a_slow_path_a_refusal_costs_no_payload(tmp_path: Path) -> None:
    async with mesh_of(tmp_path) as mesh:
        await mesh.add("a", **{**SLOW, "simulate.run": "800ms"})
        await mesh.add("b", **{**SLOW, "simulate.run": "100ms"})
        await mesh.see_each_other()
        await with_module(tmp_path, mesh)
        a, b = mesh.nodes
        there = b.contact.node_id
        paths = a.parts.requests._view.measured.paths
        paths.learn(there, 10**6, 10**6)  # its 256 bytes take 256 ms
        asked: list[Intent] = []
        came: list[Predict] = []
        requests = b.parts.requests
        consider, serve = requests.consider, requests.serve
        requests.consider = lambda peer, intent: (asked.append(intent), consider(peer, intent))[1]  # type: ignore[method-assign]
        requests.serve = lambda peer, request: (came.append(request), serve(peer, request))[1]  # type: ignore[method-assign]
        outcome = await ask(a, "digits", {"images": IMAGE})
        assert outcome.prediction.served_by == there
        assert [i.request_id for i in asked] == [p.request_id for p in came]
        assert len(came) == 1

        asked.clear()
        came.clear()
        info = await a.describe("digits")
        lane, _ = await b.parts.lanes.get(info.module)
        paths.learn(there, 10**6, 10**6)
        async with trio.open_nursery() as nursery:
            run_by = trio.current_time() + 60
            for _ in range(12):  # 1.2 s of work that nobody has told a of
                nursery.start_soon(lambda: lane.predict({"images": IMAGE}, run_by=run_by))
            await until(lambda: len(lane.queue(trio.current_time())) == 11)
            outcome = await ask(a, "digits", {"images": IMAGE})
        assert outcome.prediction.served_by == a.contact.node_id
        assert len(asked) <= 1
        assert not came, "the payload stayed where it was"
