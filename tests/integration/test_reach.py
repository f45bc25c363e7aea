"""Nodes that cannot be connected to, on real sockets whose packets the kernel drops."""

import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
import trio

from meshnode.config import home_dir
from meshnode.config.load import load
from meshnode.errors import NotTakenHere, PeerUnknown
from meshnode.identity.invites import parse
from meshnode.ids import Contact
from meshnode.net.binding import bind_socket
from meshnode.net.join import join
from meshnode.node import upgrading
from meshnode.node.membership_files import load_identity, save_admission
from meshnode.node.node import Node
from meshnode.node.opening import open_node
from meshnode.node.seed import Seed, open_seed
from meshnode.node.tunnel import Tunnel
from meshnode.reach.steps import Way
from meshnode.reach.verdicts import Standing
from meshnode.wire.messages import AskHeld, ListModules
from tests.integration.firewall import drop_incoming, drop_nothing
from tests.integration.test_mesh import answers, ask, digits, image, packed, publisher_of, until

__all__ = ["digits", "image"]
pytestmark = pytest.mark.integration
SENT_IN_VAIN = 20
"""Datagrams; the two need less to know each other."""
LOCAL = {"mesh.listen": "127.0.0.1:0", "api.listen": "off"}


async def two_members(root: Path, *names: str, forget: bool = True) -> None:
    """Make homes whose nodes are members of one mesh, and may remember nothing of each other."""
    first, *others = (home_dir(root / name) for name in names)
    async with open_node(load(first, LOCAL), first, probe_port=False) as founder:
        for home in others:
            home.prepare()
            invite = parse((await founder.invite(1, 60, "member"))["invite"])
            identity, _ = load_identity(home.identity_key)
            admission = await join(invite, identity, name=home.data.name, timeout_s=10)
            save_admission(home, admission, expected=invite.network)
    for home in (first, *others) if forget else ():
        home.state_file.unlink(missing_ok=True)


@asynccontextmanager
async def seeded(root: Path, **over: object) -> AsyncIterator[tuple[Seed, AsyncExitStack]]:
    home = home_dir(root / "seed")
    async with open_seed(load(home, {**LOCAL, **over}), home) as seed, AsyncExitStack() as stack:
        yield seed, stack


async def up(root: Path, name: str, seed: Seed, stack: AsyncExitStack) -> Node:
    home = home_dir(root / name)
    config = load(home, {**LOCAL, "node.name": name, "mesh.seeds": [seed.text]})
    return await stack.enter_async_context(open_node(config, home, probe_port=False))


async def up_behind_a_firewall(
    root: Path, name: str, seed: Seed, stack: AsyncExitStack, patch: pytest.MonkeyPatch
) -> Node:
    """Start a node that lets nothing in but datagrams of the seed."""

    async def bound(host: str, port: int, kind: int) -> socket.socket:
        sock = await bind_socket(host, port, kind)
        datagrams = kind == socket.SOCK_DGRAM
        drop_incoming(sock, but_from=[seed.contact.address.port] if datagrams else [])
        return sock

    with patch.context() as now:
        now.setattr("meshnode.net.listener.bind_socket", bound)
        now.setattr("meshnode.net.datagrams.bind_socket", bound)
        return await up(root, name, seed, stack)


def sees(node: Node, other: Node) -> bool:
    rows = {row["name"]: row for row in node.peers()}
    row = rows.get(other.name)
    return row is not None and row["state"] == "alive" and row["load"] is not None


async def test_two_nodes_that_nobody_can_connect_to_predict_and_fetch_through_a_seed(
    tmp_path: Path, digits: bytes, image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    await two_members(tmp_path, "a", "b")
    publisher = publisher_of(tmp_path, "a")
    async with seeded(tmp_path, **{"mesh.relay": "50MB"}) as (seed, stack):
        a = await up_behind_a_firewall(tmp_path, "a", seed, stack, monkeypatch)
        b = await up_behind_a_firewall(tmp_path, "b", seed, stack, monkeypatch)
        await until(lambda: sees(a, b) and sees(b, a), timeout_s=60)
        await until(lambda: a.parts.reach.standing.standing is Standing.UNREACHABLE, timeout_s=60)
        module = packed(digits, publisher)
        await a.publish(module, [], 2)
        for node in (a, b):
            outcome = await ask(node, "digits", {"images": image}, deadline_ms=30_000)
            assert answers(outcome)
        assert len(b.parts.library.modules) == 1, "fetched through the relay"
        assert seed.rendezvous.places.circuits, "one of those that both may have opened at once"
        connection = a.parts.reach.pool.connection_with(b.contact.node_id)
        assert connection is not None
        assert connection.peer.relayed
        with pytest.raises(NotTakenHere, match="a relay leads to this node"):
            await a.parts.reach.pool.call(b.contact, ListModules(), direct=True)
        found = {f["area"]: f for f in (await a.doctor("b"))["findings"]}
        assert "relayed by" in found["handshake"]["text"]
        assert found["tcp there"]["code"] == "MN-120"


async def test_a_relayed_connection_gives_way_to_a_direct_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is used all the time, so it never ends by itself."""
    monkeypatch.setattr(upgrading, "LOOK_EVERY_S", 0.2)
    monkeypatch.setattr(upgrading, "FIRST_AFTER_S", 0.2)
    monkeypatch.setattr(upgrading, "EVERY_S_MAX", 0.5)
    await two_members(tmp_path, "a", "b")
    async with seeded(tmp_path, **{"mesh.relay": "50MB"}) as (seed, stack):
        a = await up_behind_a_firewall(tmp_path, "a", seed, stack, monkeypatch)
        b = await up_behind_a_firewall(tmp_path, "b", seed, stack, monkeypatch)
        for node in (a, b):
            await until(lambda n=node: bool(n.parts.reach.standing.relays), timeout_s=60)
        pool = a.parts.reach.pool
        with trio.fail_after(60):
            relayed = await pool.connect(b.contact)
        assert relayed.peer.relayed

        def direct() -> bool:
            found = pool.connection_with(b.contact.node_id)
            return found is not None and not found.peer.relayed

        drop_nothing(b.parts.reach.listener._socket)
        await until(direct, timeout_s=60)
        assert not relayed.usable
        await pool.call(b.contact, AskHeld(blobs=()), timeout_s=20)


async def test_a_node_that_cannot_be_connected_to_connects_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await two_members(tmp_path, "a", "b")
    async with seeded(tmp_path) as (seed, stack):
        a = await up(tmp_path, "a", seed, stack)
        b = await up_behind_a_firewall(tmp_path, "b", seed, stack, monkeypatch)
        standing = b.parts.reach.standing
        await until(lambda: len(standing.relays) == 1, timeout_s=60)
        pool = a.parts.reach.pool
        pool.drop(b.contact.node_id)
        with trio.fail_after(60):
            connection = await pool.connect(b.contact)
        assert not connection.initiator
        assert a.parts.reach._memory.of(b.contact.node_id, trio.current_time()).way is Way.CALL_BACK
        assert seed.rendezvous.counters.passed >= 1

        await until(lambda: sees(a, b), timeout_s=60)
        found = {f["area"]: f for f in (await a.doctor("b"))["findings"]}
        assert found["handshake"]["text"].startswith("b answers, called back")
        assert (found["tcp there"]["code"], found["tcp there"]["level"]) == ("MN-119", "failure")
        assert "b can reach us, we cannot reach b" in found["tcp there"]["text"]
        assert found["tcp back"]["level"] == "ok"
        assert (found["udp"]["code"], found["udp"]["level"]) == ("MN-121", "warning")
        assert (found["clock"]["level"], found["version"]["level"]) == ("ok", "ok")

        own = {f["text"]: f for f in (await b.doctor(""))["findings"]}
        (closed,) = (f for text, f in own.items() if text.startswith("others cannot connect"))
        assert closed["code"] == "MN-120"
        with pytest.raises(PeerUnknown, match="no node is called 'nobody'"):
            await a.doctor("nobody")


@pytest.mark.parametrize("defended", [True, False])
async def test_where_udp_is_blocked_members_find_each_other_over_tcp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, defended: bool
) -> None:
    await two_members(tmp_path, "a", "b", forget=False)

    async def bound(host: str, port: int, kind: int) -> socket.socket:
        sock = await bind_socket(host, port, kind)
        drop_incoming(sock)
        return sock

    monkeypatch.setattr("meshnode.net.datagrams.bind_socket", bound)
    sent: list[bytes] = []

    def in_vain(self: Tunnel, recipient: Contact, packet: bytes) -> bool:
        sent.append(packet)
        return False

    if not defended:
        monkeypatch.setattr(Tunnel, "takes", in_vain)
    async with AsyncExitStack() as stack:
        nodes = []
        for name in ("a", "b"):
            home = home_dir(tmp_path / name)
            config = load(home, {**LOCAL, "node.name": name})
            nodes.append(await stack.enter_async_context(open_node(config, home)))
        a, b = nodes
        if not defended:
            await until(lambda: len(sent) >= SENT_IN_VAIN, timeout_s=60)
            assert not sees(a, b)
            return
        await until(lambda: sees(a, b) and sees(b, a), timeout_s=60)
        found = {f["area"]: f for f in (await a.doctor("b"))["findings"]}
        assert (found["tcp there"]["level"], found["tcp back"]["level"]) == ("ok", "ok")
        assert found["udp"]["code"] == "MN-121"
        assert a.status()["udp"]["blocked"]
        assert a.status()["udp"]["carried_over_connections"]
        own = {f["area"]: f for f in (await a.doctor(""))["findings"]}
        assert (own["udp"]["code"], own["udp"]["level"]) == ("MN-121", "warning")
