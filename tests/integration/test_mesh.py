"""Whole nodes in one process, on loopback: join, publish, spread, predict, lose a node."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import trio

from meshnode.assets import asset
from meshnode.caps import Caps
from meshnode.config import Config, Home, home_dir
from meshnode.config.load import load
from meshnode.errors import (
    BadSignature,
    InviteUsed,
    InviteWrong,
    MeshnodeError,
    ModuleNotFound,
    NoCandidate,
    UntrustedPublisher,
    WrongShape,
)
from meshnode.identity.invites import parse
from meshnode.identity.keys import Identity
from meshnode.modules.pack import assemble, runner_manifest
from meshnode.modules.signing import sign
from meshnode.net.join import join
from meshnode.node.membership_files import load_identity, save_admission
from meshnode.node.memory import recall
from meshnode.node.node import Node, Outcome
from meshnode.node.opening import open_node
from meshnode.node.running import SAVE_EVERY_S
from meshnode.runtime.onnx_file import inspect_model
from meshnode.runtime.tensors import from_arrays, to_arrays
from meshnode.storage.state import write_secret
from tests.unit.runtime.wasi_support import ECHO
from tests.unit.runtime.wasi_support import about as command_manifest

pytestmark = pytest.mark.integration

FAST = {"mesh.listen": "127.0.0.1:0", "api.listen": "off"}


async def until(holds: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Look again at every turn of the loop until a condition of other tasks holds."""
    with trio.fail_after(timeout_s):
        while not holds():  # noqa: ASYNC110 - the state of other nodes has no event here
            await trio.sleep(0.01)


def config_for(home: Home, name: str, **over: object) -> Config:
    return load(home, {**FAST, "node.name": name, **over})


class Mesh:
    """Nodes that joined one another; the first founded the mesh."""

    def __init__(self, root: Path, stack: AsyncExitStack) -> None:
        self._root = root
        self._stack = stack
        self.nodes: list[Node] = []

    async def add(self, name: str, **over: object) -> Node:
        home = home_dir(self._root / name)
        home.prepare()
        if self.nodes:
            invite = parse((await self.nodes[0].invite(1, 60, "member"))["invite"])
            identity, _ = load_identity(home.identity_key)
            admission = await join(invite, identity, name=name, timeout_s=5)
            save_admission(home, admission, expected=invite.network)
        config = config_for(home, name, **over)
        node = await self._stack.enter_async_context(open_node(config, home, probe_port=False))
        self.nodes.append(node)
        return node

    async def see_each_other(self) -> None:
        others = len(self.nodes) - 1
        await until(
            lambda: all(
                sum(p["state"] == "alive" and p["load"] is not None for p in n.peers()) == others
                for n in self.nodes
            )
        )


@asynccontextmanager
async def mesh_of(root: Path, *names: str) -> AsyncIterator[Mesh]:
    async with AsyncExitStack() as stack:
        mesh = Mesh(root, stack)
        for name in names:
            await mesh.add(name)
        await mesh.see_each_other()
        yield mesh


def packed(model: bytes, publisher: Identity, name: str = "digits") -> bytes:
    facts = inspect_model(model)
    manifest = runner_manifest(
        name=name, version="1.0.0", inputs=facts.inputs, outputs=facts.outputs, batch=facts.batch
    )
    module, blobs = assemble(
        asset("onnx-runner.wasm").read_bytes(), manifest, {"model": model}, embed=True
    )
    assert not blobs
    return sign(module, publisher)


def publisher_of(root: Path, name: str) -> Identity:
    publisher = Identity.generate()
    write_secret(home_dir(root / name).publisher_key, publisher.seed)
    return publisher


async def ask(node: Node, ref: str, arrays: dict[str, np.ndarray], **kw: object) -> Outcome:
    headers, body = from_arrays(arrays, list(arrays))
    return await node.predict(ref, headers, body, **kw)  # type: ignore[arg-type]


def answers(outcome: Outcome) -> dict[str, np.ndarray]:
    prediction = outcome.prediction
    return to_arrays(prediction.tensors, memoryview(b"".join(map(bytes, prediction.body))))


@pytest.fixture(scope="module")
def digits() -> bytes:
    return asset("digits.onnx").read_bytes()


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.load(asset("digits-test.images.npy"))[:1].astype(np.float32)


async def test_a_request_at_any_node_is_answered_like_onnxruntime(
    tmp_path: Path, digits: bytes, image: np.ndarray
) -> None:
    async with mesh_of(tmp_path, "a", "b", "c") as mesh:
        a, b, c = mesh.nodes
        await a.publish(packed(digits, publisher_of(tmp_path, "a")), [], 1)
        expected = ort.InferenceSession(digits).run(None, {"images": image})
        for node in (a, b, c):
            outcome = await ask(node, "digits", {"images": image})
            got = answers(outcome)
            assert got["probabilities"].tobytes() == expected[0].tobytes()
            assert got["label"].tobytes() == expected[1].tobytes()
        assert [i.manifest.name for i in b.parts.library.modules] in ([], ["digits"])


async def test_a_request_that_is_cancelled_before_it_is_placed_ends_quietly(
    tmp_path: Path, digits: bytes, image: np.ndarray
) -> None:
    async with AsyncExitStack() as stack:
        mesh = Mesh(tmp_path, stack)
        a = await mesh.add("a", **{"caps.use": "cpu"})
        b = await mesh.add("b")
        await mesh.see_each_other()
        await b.publish(packed(digits, publisher_of(tmp_path, "b")), [], 2)
        await ask(a, "digits", {"images": image})
        with trio.CancelScope() as scope:
            scope.cancel()
            await ask(a, "digits", {"images": image})
        assert scope.cancelled_caught


async def test_it_is_fetched_from_several_peers_and_survives_its_publisher(
    tmp_path: Path, digits: bytes, image: np.ndarray
) -> None:
    async with mesh_of(tmp_path, "a", "b", "c") as mesh:
        a, b, c = mesh.nodes
        done = await a.publish(packed(digits, publisher_of(tmp_path, "a")), [], 3)
        assert [r["ok"] for r in done["replicas"]] == [True, True]
        assert len(done["replicas"][1]["sources"]) == 2
        assert (await ask(c, "digits@1.0.0", {"images": image})).name == "digits"
        assert (await ask(b, f"digits@sha256:{done['module'][:12]}", {"images": image})).version


async def test_the_explanation_is_where_the_request_went(
    tmp_path: Path, digits: bytes, image: np.ndarray
) -> None:
    async with mesh_of(tmp_path, "a", "b") as mesh:
        a, b = mesh.nodes
        await a.publish(packed(digits, publisher_of(tmp_path, "a")), [], 2)
        outcome = await ask(b, "digits", {"images": image}, explain=True)
        assert outcome.explain is not None
        rows = outcome.explain["candidates"]
        assert rows[0]["name"] == outcome.attempts[-1]["name"]
        assert {r["name"] for r in rows} == {"a", "b"}
        for row in rows:
            assert sum(row["parts"].values()) == pytest.approx(row["score_ms"], abs=0.02)


async def test_refusals_name_their_reason(tmp_path: Path, digits: bytes, image: np.ndarray) -> None:
    async with mesh_of(tmp_path, "a") as mesh:
        (a,) = mesh.nodes
        publisher = publisher_of(tmp_path, "a")
        module = packed(digits, publisher)
        await a.publish(module, [], 1)
        with pytest.raises(ModuleNotFound, match="digit"):
            await ask(a, "digit", {"images": image})
        with pytest.raises(WrongShape, match="images"):
            await ask(a, "digits", {"images": image.reshape(1, 8, 8)})
        changed = bytearray(module)
        changed[-1] ^= 1
        with pytest.raises(BadSignature):
            await a.publish(bytes(changed), [], 1)
        with pytest.raises(UntrustedPublisher):
            await a.publish(packed(digits, Identity.generate(), "other"), [], 1)
        assert [i.manifest.name for i in a.parts.library.modules] == ["digits"]


async def test_no_node_with_the_capability_lists_every_reason(
    tmp_path: Path, digits: bytes, image: np.ndarray
) -> None:
    async with AsyncExitStack() as stack:
        mesh = Mesh(tmp_path, stack)
        a = await mesh.add("a", **{"caps.use": "cpu"})
        assert a.caps == Caps.CPU
        await a.publish(packed(digits, publisher_of(tmp_path, "a")), [], 1)
        with pytest.raises(NoCandidate) as refused:
            await ask(a, "digits", {"images": image})
        assert any("lacks cap nn" in line for line in refused.value.because)


async def test_a_wasi_program_runs_only_where_the_operator_lets_it(tmp_path: Path) -> None:
    about = command_manifest(required=Caps.CPU | Caps.WASI)
    module, _ = assemble(ECHO, about, {}, embed=True)
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    async with AsyncExitStack() as stack:
        mesh = Mesh(tmp_path, stack)
        a = await mesh.add("a")
        assert a.caps == Caps.CPU | Caps.NN
        await a.publish(sign(module, publisher_of(tmp_path, "a")), [], 1)
        with pytest.raises(NoCandidate) as refused:
            await ask(a, "test", {"x": x})
        assert refused.value.because == ("a: lacks cap wasi (off unless named in its policy.caps)",)
        b = await mesh.add("b", **{"policy.caps": "cpu,nn,nn.load,wasi"})
        assert b.caps == Caps.CPU | Caps.NN | Caps.NN_LOAD | Caps.WASI
        await mesh.see_each_other()
        outcome = await ask(a, "test", {"x": x})
        assert np.array_equal(answers(outcome)["y"], x)


async def test_an_invite_admits_as_often_as_it_says_and_nobody_else(tmp_path: Path) -> None:
    async with mesh_of(tmp_path, "a", "b") as mesh:
        a, b = mesh.nodes
        invite = parse((await b.invite(1, 60, "worker"))["invite"])
        first, second = Identity.generate(), Identity.generate()
        admission = await join(invite, first, name="c", timeout_s=5)
        assert admission.mesh_name == a.mesh.name
        with pytest.raises(InviteUsed):
            await join(invite, second, name="d", timeout_s=5)
        other = parse((await a.invite(1, 60, "worker"))["invite"])
        forged = type(other)(
            other.network, b"0" * 16, other.addresses, other.expires_at, other.uses
        )
        with pytest.raises(InviteWrong):
            await join(forged, second, name="d", timeout_s=5)


async def test_a_lost_node_costs_no_request(
    tmp_path: Path, digits: bytes, image: np.ndarray
) -> None:
    async with AsyncExitStack() as stack:
        mesh = Mesh(tmp_path, stack)
        a = await mesh.add("a", **{"caps.use": "cpu"})
        b = await mesh.add("b")
        async with open_far(mesh, "c") as c:
            await mesh.see_each_other()
            await b.publish(packed(digits, publisher_of(tmp_path, "b")), [], 3)
            for _ in range(5):
                await ask(a, "digits", {"images": image})
            mesh.nodes.remove(c)
        for _ in range(20):
            outcome = await ask(a, "digits", {"images": image})
            assert outcome.attempts[-1]["name"] == "b"
        with pytest.raises(MeshnodeError):
            await ask(c, "digits", {"images": image})


async def test_whom_a_node_meets_is_on_disk_before_the_next_periodic_save(tmp_path: Path) -> None:
    async with mesh_of(tmp_path, "a", "b") as mesh:
        a, b = mesh.nodes
        kept = home_dir(tmp_path / "a").state_file
        await until(lambda: b.contact in recall(kept).contacts, timeout_s=SAVE_EVERY_S / 2)
        assert recall(kept).port == a.contact.address.port


@asynccontextmanager
async def open_far(mesh: Mesh, name: str) -> AsyncIterator[Node]:
    """A node whose end the test decides."""
    async with AsyncExitStack() as own:
        kept, mesh._stack = mesh._stack, own
        try:
            node = await mesh.add(name)
        finally:
            mesh._stack = kept
        yield node
