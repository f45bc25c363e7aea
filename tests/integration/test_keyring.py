"""Whole nodes on loopback: the mesh's key is replaced under load, and the expelled are cut off."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import numpy as np
import pytest
import trio

from meshnode.assets import asset
from meshnode.cli.main import main
from meshnode.config import home_dir
from meshnode.errors import MeshnodeError, RoleMissing, UntrustedPublisher
from meshnode.identity.keyring import Keyring, Stage
from meshnode.identity.keys import Identity
from meshnode.identity.ring_sealing import RingSealer
from meshnode.identity.sealing import Sealer
from meshnode.net.catching_up import LateChannel, catch_up
from meshnode.net.channel import MeshChannel
from meshnode.net.datagrams import DatagramSocket
from meshnode.net.pool import connect_under
from meshnode.net.settings import NetSettings
from meshnode.node import keyring_reconciling
from meshnode.node.clock import unix_now
from meshnode.node.membership_files import load_identity, load_mesh
from meshnode.node.node import Node
from meshnode.node.opening import open_node
from meshnode.wire.codec import Envelope, encode_datagram
from meshnode.wire.messages import FindNode, Reconcile
from tests.integration.test_mesh import (
    Mesh,
    ask,
    config_for,
    mesh_of,
    packed,
    publisher_of,
    until,
)

pytestmark = pytest.mark.integration
LONG_S = 3600
NET = NetSettings(connect_timeout_s=5, handshake_timeout_s=5)
IMAGE = np.load(asset("digits-test.images.npy"))[:1].astype(np.float32)


def ring_of(node: Node) -> Keyring:
    return node.parts.upkeep.rotation._book.ring


def all_at(mesh: Mesh, epoch: int, *, accepted: int) -> bool:
    rings = [ring_of(node) for node in mesh.nodes]
    return all(r.current.epoch == epoch and len(r.accepted()) == accepted for r in rings)


@asynccontextmanager
async def asking(*nodes: Node) -> AsyncIterator[list[str]]:
    """Requests at every node all the while; yields what went wrong, which must stay empty."""
    failures: list[str] = []
    answered = dict.fromkeys((node.name for node in nodes), 0)

    async def keep_asking(node: Node) -> None:
        while True:
            try:
                await ask(node, "digits", {"images": IMAGE})
                answered[node.name] += 1
            except MeshnodeError as error:
                failures.append(f"{node.name}: {error} {error.because}")

    async with trio.open_nursery() as nursery:
        for node in nodes:
            nursery.start_soon(keep_asking, node)
        await until(lambda: all(answered.values()))
        before = dict(answered)
        yield failures
        await until(lambda: all(answered[name] > count for name, count in before.items()))
        nursery.cancel_scope.cancel()


@contextmanager
def as_left_behind(root: Path, name: str) -> Iterator[tuple[Identity, MeshChannel, Keyring]]:
    """What a device holds that was switched off, or expelled: all its files."""
    home = home_dir(root / name)
    identity, _ = load_identity(home.identity_key)
    mesh = load_mesh(home.mesh_file)
    assert mesh is not None
    ring = Keyring.from_bytes(home.keyring_file.read_bytes())
    yield identity, MeshChannel(identity, mesh, invites=None, unix_now=unix_now, keys=ring), ring


async def publish(root: Path, node: Node, copies: int) -> None:
    model = asset("digits.onnx").read_bytes()
    await node.publish(packed(model, publisher_of(root, node.name)), [], copies)


async def test_no_request_fails_while_the_key_is_replaced(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        mesh = Mesh(tmp_path, stack)
        a = await mesh.add("a", **{"caps.use": "cpu"})  # must ask the others
        b, c = await mesh.add("b"), await mesh.add("c")
        await mesh.see_each_other()
        await publish(tmp_path, b, 3)
        async with asking(a, b, c) as failures:
            for epoch in (1, 2):
                a.rotate(False, LONG_S, LONG_S)
                await until(lambda epoch=epoch: all_at(mesh, epoch, accepted=epoch + 1), 30)
            a.rotate(False, LONG_S, 0)
            await until(lambda: all_at(mesh, 3, accepted=1), 30)
        assert failures == []
        await until(lambda: a.rotation()["finished"], 30)
        await mesh.see_each_other()


async def test_a_member_that_was_off_comes_back_before_and_after_the_old_key_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring_reconciling, "LATE_EVERY_S", 0.2)
    async with AsyncExitStack() as stack:
        mesh = Mesh(tmp_path, stack)
        a, b = await mesh.add("a"), await mesh.add("b")
        async with AsyncExitStack() as own:
            kept, mesh._stack = mesh._stack, own
            c = await mesh.add("c")
            mesh._stack = kept
            await mesh.see_each_other()
            mesh.nodes.remove(c)
        for epoch, keep_s, accepted in ((1, LONG_S, 2), (2, 0, 1)):
            a.rotate(False, LONG_S, keep_s)
            await until(lambda e=epoch, n=accepted: all_at(mesh, e, accepted=n), 30)
            home = home_dir(tmp_path / "c")
            async with open_node(config_for(home, "c"), home, probe_port=False) as back:
                assert ring_of(back).current.epoch == epoch - 1
                mesh.nodes.append(back)
                await until(lambda e=epoch, n=accepted: all_at(mesh, e, accepted=n), 30)
                await mesh.see_each_other()
                mesh.nodes.remove(back)
        assert b.rotation()["epoch"] == 2


async def test_a_half_of_the_mesh_that_was_off_together_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They find each other under the old key, so neither is alone, and both must look further."""
    monkeypatch.setattr(keyring_reconciling, "LATE_EVERY_S", 0.2)
    async with AsyncExitStack() as stack:
        mesh = Mesh(tmp_path, stack)
        a = await mesh.add("a")
        await mesh.add("b")
        async with AsyncExitStack() as own:
            kept, mesh._stack = mesh._stack, own
            half = [await mesh.add("c"), await mesh.add("d")]
            mesh._stack = kept
            await mesh.see_each_other()
            mesh.nodes = [node for node in mesh.nodes if node not in half]
        a.rotate(False, LONG_S, 0)
        await until(lambda: all_at(mesh, 1, accepted=1), 30)
        for name in ("c", "d"):
            home = home_dir(tmp_path / name)
            back = open_node(config_for(home, name), home, probe_port=False)
            mesh.nodes.append(await stack.enter_async_context(back))
        await until(lambda: all_at(mesh, 1, accepted=1), 60)
        await mesh.see_each_other()


async def test_the_expelled_is_cut_off_with_the_key_it_still_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keyring_reconciling, "LATE_EVERY_S", 0.2)
    async with mesh_of(tmp_path, "a", "b", "c") as mesh:
        a, b, c = mesh.nodes
        a.rotate(False, LONG_S, 0)
        await until(lambda: all_at(mesh, 1, accepted=1), 30)
        done = await a.revoke("c", "stolen", True)
        assert (done["reached"], done["members"], done["number"]) == (1, 1, 1)
        mesh.nodes.remove(c)
        await until(lambda: all_at(mesh, 2, accepted=1), 30)
        for node in (a, b):
            assert [r["name"] for r in node.revocations()] == ["c"]
            assert all(p["state"] == "left" for p in node.peers() if p["name"] == "c")
        for node in (a, b):
            await until(lambda node=node: node.parts.directory.size == 1, 60)
        await until(lambda: not any(p["state"] == "alive" for p in c.peers()), 60)
        told = 'it does not accept this node: "c" has been revoked'
        await until(lambda: any(told in r.getMessage() for r in caplog.records), 60)
        with as_left_behind(tmp_path, "c") as (identity, channel, ring):
            assert ring.current.epoch == 1
            await nothing_opens(b, identity, channel, ring)


async def nothing_opens(
    node: Node, identity: Identity, channel: MeshChannel, ring: Keyring
) -> None:
    """Neither its channel, nor the door of those who slept, nor a datagram under any name."""
    contact, settings = node.contact, NET
    with pytest.raises(MeshnodeError):
        await connect_under(ring.mesh_key, contact, channel, settings)
    late = LateChannel(channel, ring.late_keys())
    question = Reconcile(keys=bytes(16), revocations=bytes(16))
    with pytest.raises(MeshnodeError, match="lost") as refused:
        await catch_up(contact, late, question, settings, timeout_s=5)
    assert "revoked" in str(refused.value.because)
    socket, present = socket_of(node), ring_of(node)
    for sender in (identity, Identity.generate()):
        packet = RingSealer(sender, ring).seal(contact.public_key, find())
        opener = RingSealer(node.identity, ring)
        assert opener.is_for_me(packet), "with the defence off, the old key kept, it opens"
        assert not RingSealer(node.identity, present).is_for_me(packet)
        before = socket.stats.stranger
        assert socket._open(packet, ("127.0.0.1", 9), trio.current_time()) is None
        assert socket.stats.stranger == before + 1


def socket_of(node: Node) -> DatagramSocket:
    return node.parts.upkeep.expelled._datagrams


def find() -> bytes:
    return encode_datagram(Envelope(message=FindNode(rpc=1, target=bytes(32))))


async def test_a_revocation_alone_drops_datagrams_before_any_public_key_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with mesh_of(tmp_path, "a", "b") as mesh:
        a, b = mesh.nodes
        await a.revoke("b", "stolen", False)
        socket, ring = socket_of(a), ring_of(a)
        sealer = Sealer(b.identity, mesh_key=ring.mesh_key, network=a.mesh.network)
        packet = sealer.seal(a.identity.public_key, find())
        opened: list[bytes] = []
        real = Sealer.open_mine
        monkeypatch.setattr(Sealer, "open_mine", lambda s, p: opened.append(p) or real(s, p))
        where, now = ("127.0.0.1", 9), trio.current_time()
        before = socket.stats.expelled
        assert socket._open(packet, where, now) is None
        assert (socket.stats.expelled, opened) == (before + 1, [])
        socket.expelled = frozenset()  # the defence switched off: it is opened
        assert socket._open(packet, where, now) is not None
        assert opened == [packet]


async def test_what_a_revoked_device_admitted_and_published_falls_with_it(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        mesh = Mesh(tmp_path, stack)
        a, b = await mesh.add("a"), await mesh.add("b")
        mesh.nodes.reverse()
        child = await mesh.add("child")  # through b's invite
        mesh.nodes.sort(key=lambda node: node.name)
        await mesh.see_each_other()
        await publish(tmp_path, b, 3)
        assert [m.manifest.name for m in a.parts.library.modules] == ["digits"]
        done = await a.revoke("b", "stolen", True)
        assert (done["fallen"], done["members"]) == (["child"], 0)
        await until(lambda: a.rotation()["finished"], 90)
        await until(lambda: not a.parts.library.modules)
        with pytest.raises(MeshnodeError):
            await ask(a, "digits", {"images": IMAGE})
        assert ring_of(child).current.epoch == 0, "it cannot get the new key"
        await until(lambda: not any(p["state"] == "alive" for p in a.peers()), 60)
        with pytest.raises(UntrustedPublisher):
            await a.publish(packed(asset("digits.onnx").read_bytes(), _publisher(tmp_path)), [], 1)


async def test_what_fell_with_its_sponsor_comes_back_by_one_invite(tmp_path: Path) -> None:
    """With its key, its name and its files: `invite` on an admin, `join` on the device."""
    async with AsyncExitStack() as stack:
        mesh = Mesh(tmp_path, stack)
        a = await mesh.add("a")
        async with AsyncExitStack() as others:
            mesh._stack = others
            await mesh.add("b")
            mesh.nodes.reverse()
            child = await mesh.add("child")  # through b's invite
            await mesh.see_each_other()
            await publish(tmp_path, a, 3)
            assert (await a.revoke("b", "stolen", True))["fallen"] == ["child"]
            await until(lambda: a.rotation()["finished"], 90)
            key = child.identity.public_key
            assert key in a.parts.upkeep.expelled._book.expelled
        invite = (await a.invite(1, 60, "member"))["invite"]
        home = home_dir(tmp_path / "child")
        words = ["--home", str(home.data), "--quiet", "join", invite, "--name", "child"]
        assert await trio.to_thread.run_sync(main, words) == 0
        again = await stack.enter_async_context(
            open_node(config_for(home, "child"), home, probe_port=False)
        )
        assert again.identity.public_key == key
        await until(lambda: ring_of(again).current.epoch == 1, 60)
        await until(
            lambda: [p["name"] for p in a.peers() if p["state"] == "alive"] == ["child"], 60
        )
        assert len(again.parts.library.modules) == 1, "it kept what it held"
        assert key not in a.parts.upkeep.expelled._book.expelled


def _publisher(root: Path) -> Identity:
    return Identity.from_seed(home_dir(root / "b").publisher_key.read_bytes())


async def test_a_member_that_was_away_hears_of_a_revocation_on_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring_reconciling, "LATE_EVERY_S", 0.2)
    async with AsyncExitStack() as stack:
        mesh = Mesh(tmp_path, stack)
        a = await mesh.add("a")
        c = await mesh.add("c")
        async with AsyncExitStack() as own:
            kept, mesh._stack = mesh._stack, own
            b = await mesh.add("b")
            mesh._stack = kept
            await mesh.see_each_other()
            mesh.nodes.remove(b)
        done = await a.revoke("c", "stolen", True)
        assert done["not_reached"] == ["b"]
        home = home_dir(tmp_path / "b")
        async with open_node(config_for(home, "b"), home, probe_port=False) as back:
            await until(lambda: [r["name"] for r in back.revocations()] == ["c"], 60)
            await until(lambda: ring_of(back).current.epoch == 1, 60)
            assert c.identity.public_key in back.parts.upkeep.expelled._datagrams.expelled


async def test_only_an_admin_rotates_and_revokes(tmp_path: Path) -> None:
    async with mesh_of(tmp_path, "a", "b") as mesh:
        _, b = mesh.nodes
        with pytest.raises(RoleMissing):
            b.rotate(True, 0, 0)
        with pytest.raises(RoleMissing):
            await b.revoke("a", "no", True)
        assert ring_of(b).newest.stage is Stage.USE


async def test_what_a_joiner_gets_is_the_present_key(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        mesh = Mesh(tmp_path, stack)
        a = await mesh.add("a")
        a.rotate(False, LONG_S, 0)
        await until(lambda: all_at(mesh, 1, accepted=1), 30)
        await mesh.add("b")
        await mesh.see_each_other()
        said = [e["what"] for e in a.trust_log()["entries"]]
        assert said == ["key", "key", "key", "admitted"]
        await until(lambda: all_at(mesh, 1, accepted=1), 30)
