"""Labels and data policies between whole nodes: who is asked, who refuses, what never leaves."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import trio

from meshnode.assets import asset
from meshnode.constraints import Constraints, Scope
from meshnode.errors import DeadlineExceeded, NoCandidate, NotTakenHere, Overloaded
from meshnode.gossip.member import MemberState
from meshnode.identity.keys import Identity
from meshnode.labels import labels_of
from meshnode.modules.manifest import Manifest
from meshnode.modules.pack import assemble, runner_manifest
from meshnode.modules.signing import sign
from meshnode.net.connection import Connection
from meshnode.node.membership import Membership
from meshnode.node.node import Node
from meshnode.node.requests import new_request_id
from meshnode.runtime.onnx_file import inspect_model
from meshnode.runtime.tensors import from_arrays
from meshnode.wire.messages import Predict
from tests.integration.test_mesh import Mesh, ask, publisher_of

pytestmark = pytest.mark.integration
NODE, SITE = Constraints(data=Scope.NODE), Constraints(data=Scope.SITE)


def only(**labels: str) -> Constraints:
    return Constraints(labels_of(labels))


@pytest.fixture
def image() -> np.ndarray:
    return np.load(asset("digits-test.images.npy"))[:1].astype(np.float32)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Predict]:
    """Every request that any node gave to another, as it went out."""
    gone: list[Predict] = []
    call = Connection.call

    async def noting(self: Connection, request: object, **kw: object) -> object:
        if isinstance(request, Predict):
            gone.append(request)
        return await call(self, request, **kw)  # type: ignore[arg-type]

    monkeypatch.setattr(Connection, "call", noting)
    return gone


def signed(publisher: Identity, name: str = "digits", **changes: object) -> bytes:
    model = asset("digits.onnx").read_bytes()
    facts = inspect_model(model)
    manifest: Manifest = runner_manifest(
        name=name, version="1.0.0", inputs=facts.inputs, outputs=facts.outputs, batch=facts.batch
    )
    guest = asset("onnx-runner.wasm").read_bytes()
    return sign(
        assemble(guest, replace(manifest, **changes), {"model": model}, embed=True)[0], publisher
    )


@asynccontextmanager
async def two_sites(root: Path, **door: object) -> AsyncIterator[tuple[Mesh, Node]]:
    """`door` cannot run models; `here` in its site and `there` in another can."""
    async with AsyncExitStack() as stack:
        mesh = Mesh(root, stack)
        settings = {"node.labels": {"site": "hall-3"}, "caps.use": "cpu", **door}
        first = await mesh.add("door", **settings)
        await mesh.add("here", **{"node.labels": {"site": "hall-3", "tier": "edge"}})
        await mesh.add("there", **{"node.labels": {"site": "hall-4", "tier": "cloud"}})
        await mesh.see_each_other()
        yield mesh, first


async def test_a_request_goes_where_its_labels_and_its_data_may(
    tmp_path: Path, image: np.ndarray, sent: list[Predict]
) -> None:
    async with two_sites(tmp_path) as (_, door):
        await door.publish(signed(publisher_of(tmp_path, "door")), [], 3)
        for asked, served in (
            (only(site="hall-4"), "there"),
            (only(tier="edge"), "here"),
            (SITE, "here"),
            (SITE.joined(only(tier="edge")), "here"),
        ):
            for _ in range(3):
                outcome = await ask(door, "digits", {"images": image}, constraints=asked)
                assert outcome.attempts[-1]["name"] == served
        names = {p["name"]: p["labels"] for p in door.peers()}
        assert names["there"] == {"site": "hall-4", "tier": "cloud"}
        sent.clear()
        for asked, because in (
            (NODE, ["data may not leave its node"] * 2),
            (
                SITE.joined(only(tier="cloud")),
                [
                    "other tier (edge, needs cloud)",
                    "other site (hall-4, data may not leave hall-3)",
                ],
            ),
            (only(rack="7"), ["no label rack (needs rack=7)"] * 2),
        ):
            with pytest.raises(NoCandidate) as refused:
                await ask(door, "digits", {"images": image}, constraints=asked)
            told = dict(line.split(": ", 1) for line in refused.value.because)
            assert [told["here"], told["there"]] == because
            assert set(told) == {"door", "here", "there"}
        assert sent == [], "no byte of an input left for a node that may not have it"


async def test_the_modules_own_policy_and_the_nodes_hold_too(
    tmp_path: Path, image: np.ndarray, sent: list[Predict]
) -> None:
    async with two_sites(tmp_path, **{"policy.data": "site"}) as (mesh, door):
        publisher = publisher_of(tmp_path, "door")
        await door.publish(signed(publisher), [], 3)
        await door.publish(signed(publisher, "private", constraints=NODE), [], 3)
        for _ in range(3):
            outcome = await ask(door, "digits", {"images": image}, explain=True)
            assert outcome.attempts[-1]["name"] == "here"
        assert outcome.explain is not None
        excluded = {row["name"]: row["reason"] for row in outcome.explain["excluded"]}
        assert excluded["there"] == "other site (hall-4, data may not leave hall-3)"
        sent.clear()
        with pytest.raises(NoCandidate):
            await ask(door, "private", {"images": image})
        assert sent == []
        here = mesh.nodes[1]
        assert (await ask(here, "private", {"images": image})).attempts[-1]["name"] == "here"


async def test_a_failover_stays_within_the_policy(
    tmp_path: Path, image: np.ndarray, sent: list[Predict]
) -> None:
    async with two_sites(tmp_path) as (mesh, door):
        await door.publish(signed(publisher_of(tmp_path, "door")), [], 3)
        await ask(door, "digits", {"images": image}, constraints=SITE)
        here = mesh.nodes[1]
        here.parts.stopping.set()
        here.parts.lanes.stop_taking()  # it refuses now, whatever its last record says
        sent.clear()
        with pytest.raises(NoCandidate) as refused:
            await ask(door, "digits", {"images": image}, constraints=SITE)
        assert any(line.startswith("here: MN-504") for line in refused.value.because) or any(
            line == "here: draining" for line in refused.value.because
        )
        told = [line for line in refused.value.because if line.startswith("there")]
        assert told == ["there: other site (hall-4, data may not leave hall-3)"]
        assert len(sent) <= 1


async def test_data_of_a_site_passes_no_relay(
    tmp_path: Path, image: np.ndarray, sent: list[Predict]
) -> None:
    async with two_sites(tmp_path) as (mesh, door):
        await door.publish(signed(publisher_of(tmp_path, "door")), [], 3)
        await ask(door, "digits", {"images": image}, constraints=SITE)
        connection = door.parts.requests._pool.connection_with(mesh.nodes[1].contact.node_id)
        assert connection is not None
        connection.peer = replace(connection.peer, relayed=True)
        sent.clear()
        with pytest.raises(NoCandidate) as refused:
            await ask(door, "digits", {"images": image}, constraints=SITE)
        assert any(
            line.startswith("here: MN-514 a relay leads to this node")
            for line in refused.value.because
        )
        assert sent == []
        assert await ask(door, "digits", {"images": image}, constraints=only(tier="edge"))


async def test_a_suspect_that_may_not_have_the_data_is_not_asked_for_want_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_sites(tmp_path) as (_, door):
        await door.publish(signed(publisher_of(tmp_path, "door")), [], 3)
        info = await door.describe("digits")
        (there,) = (m for m in door.parts.membership.members() if m.name == "there")
        suspect = there.in_state(MemberState.SUSPECT)
        monkeypatch.setattr(Membership, "candidates", lambda *asked: (suspect,))
        decide = partial(
            door.parts.requests.decide, info.module, info.manifest, payload=0, source=""
        )
        assert [s.candidate.name for s in decide().ranked] == ["there"]
        kept = decide(asked=SITE)
        assert kept.ranked == ()
        assert [reason for c, reason in kept.excluded if c.name == "there"] == [
            "other site (hall-4, data may not leave hall-3)"
        ]


async def test_a_server_refuses_what_it_may_not_be_given(tmp_path: Path, image: np.ndarray) -> None:
    async with two_sites(tmp_path) as (mesh, door):
        info = await door.publish(signed(publisher_of(tmp_path, "door")), [], 3)
        headers, body = from_arrays({"images": image}, ["images"])
        there = mesh.nodes[2]
        for asked, reason in (
            (SITE, "other site"),
            (NODE, "data may not leave its node"),
            (only(tier="edge"), "other tier"),
        ):
            request = Predict(
                request_id=new_request_id(bytes),
                module=(await door.describe(f"digits@sha256:{info['module']}")).module,
                source="",
                budget_ms=20_000,
                hops_left=0,
                constraints=asked,
                tensors=headers,
                body=body,
            )
            with pytest.raises(NotTakenHere, match=reason):
                await door.parts.requests._pool.call(there.contact, request)


async def test_without_a_site_label_data_of_a_site_stays_at_its_node(
    tmp_path: Path, image: np.ndarray, sent: list[Predict]
) -> None:
    async with two_sites(tmp_path, **{"node.labels": {}}) as (_, door):
        await door.publish(signed(publisher_of(tmp_path, "door")), [], 3)
        sent.clear()
        with pytest.raises(NoCandidate) as refused:
            await ask(door, "digits", {"images": image}, constraints=SITE)
        assert sum("no label site" in line for line in refused.value.because) == 2
        assert sent == []


async def test_a_module_that_fits_nobody_names_the_numbers(
    tmp_path: Path, image: np.ndarray
) -> None:
    async with AsyncExitStack() as stack:
        mesh = Mesh(tmp_path, stack)
        a = await mesh.add("a", **{"budget.memory": "8MiB"})
        await mesh.add("b", **{"budget.memory": "7MiB"})
        await mesh.see_each_other()
        await a.publish(signed(publisher_of(tmp_path, "a")), [], 1)
        with pytest.raises(NoCandidate) as refused:
            await ask(a, "digits", {"images": image})
        assert [line.split(" (")[0] for line in refused.value.because] == [
            "a: memory budget",
            "b: memory budget",
        ]
        assert refused.value.because[1].endswith(" MiB, has 7)")


async def test_a_module_that_a_policy_gives_too_little_is_known_before_it_is_sent(
    tmp_path: Path, image: np.ndarray, sent: list[Predict]
) -> None:
    async with AsyncExitStack() as stack:
        mesh = Mesh(tmp_path, stack)
        door = await mesh.add("door", **{"caps.use": "cpu"})
        await mesh.add("strict", **{"policy.max_memory": "64KiB"})
        await mesh.see_each_other()
        await door.publish(signed(publisher_of(tmp_path, "door")), [], 1)
        sent.clear()
        with pytest.raises(NoCandidate) as refused:
            await ask(door, "digits", {"images": image})
        why = [line.split(" (")[0] for line in refused.value.because]
        assert why == ["door: lacks cap nn", "strict: memory policy"]
        assert refused.value.because[1].endswith(", gives an instance 64 KiB)")
        assert sent == []


async def test_a_deadline_that_nobody_can_make_tells_what_each_node_would_take(
    tmp_path: Path, image: np.ndarray
) -> None:
    slow = {"simulate.run": "300ms"}
    async with AsyncExitStack() as stack:
        mesh = Mesh(tmp_path, stack)
        door = await mesh.add("door", **{"caps.use": "cpu"})
        await mesh.add("here", **slow)
        await mesh.add("there", **slow)
        await mesh.see_each_other()
        await door.publish(signed(publisher_of(tmp_path, "door")), [], 3)
        await ask(door, "digits", {"images": image})
        mesh_names = {"here", "there"}
        with pytest.raises(DeadlineExceeded) as late:
            await ask(door, "digits", {"images": image}, deadline_ms=150)
        told = dict(line.split(": ", 1) for line in late.value.because)
        assert set(told) >= mesh_names
        assert all("predicted" in told[name] for name in mesh_names)
        assert told["door"].startswith("lacks cap nn")
        warm = {"deadline_ms": 20_000}
        for _ in range(6):
            await ask(door, "digits", {"images": image}, **warm)
        at_the_door: list[Overloaded] = []

        async def hopeless() -> None:
            try:
                await ask(door, "digits", {"images": image}, deadline_ms=100)
            except Overloaded as error:
                if "within the request's deadline" in error.message:
                    at_the_door.append(error)
            except DeadlineExceeded:
                pass

        with trio.fail_after(60):
            while not at_the_door:  # one of several at once goes all the same, to find out
                async with trio.open_nursery() as nursery:
                    for _ in range(4):
                        nursery.start_soon(hopeless)
        for error in at_the_door:
            assert sum(": too late (predicted " in line for line in error.because) >= 1
            assert "door: lacks cap nn" in error.because
