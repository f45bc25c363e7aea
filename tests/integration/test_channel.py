"""Connections over real loopback sockets: pool, listener, strangers, joining."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest
import trio

from meshnode.errors import (
    BlobNotFound,
    ConfigError,
    DeadlineExceeded,
    InviteExpired,
    InviteForeign,
    InviteUsed,
    InviteWrong,
    JoinUnreachable,
    MeshnodeError,
    PeerUnreachable,
    PortTaken,
)
from meshnode.identity.certificates import Role, network_of
from meshnode.identity.invites import Invite, Ledger
from meshnode.identity.keys import Identity
from meshnode.identity.mesh import admit
from meshnode.ids import Address, Contact, NetworkId, short
from meshnode.net.binding import bind_both
from meshnode.net.channel import InviteChannel, MeshChannel
from meshnode.net.connection import Connection, Handler, Peer
from meshnode.net.datagrams import DatagramSocket
from meshnode.net.handshaking import initiate
from meshnode.net.join import join
from meshnode.net.listener import Listener
from meshnode.net.pool import ConnectionPool
from meshnode.net.settings import NetSettings
from meshnode.net.transport import SocketTransport
from meshnode.wire.messages import (
    Admission,
    AskHeld,
    Failure,
    Held,
    Join,
    ListModules,
    Reply,
    Request,
)
from tests.unit.net.mesh import (
    ALICE,
    BLOB,
    BOB,
    EVE,
    NETWORK,
    NOW,
    ROOT,
    channel_of,
    mesh_of,
    says_no,
    says_yes,
)

pytestmark = pytest.mark.integration
ASK, YES = AskHeld(blobs=(BLOB,)), Held(held=(True,))
QUICK = NetSettings(connect_timeout_s=2, handshake_timeout_s=0.2)


@dataclass
class Node:
    contact: Contact
    pool: ConnectionPool
    listener: Listener


@asynccontextmanager
async def node(
    identity: Identity,
    handler: Handler = says_yes,
    *,
    settings: NetSettings = QUICK,
    channel: MeshChannel | None = None,
) -> AsyncIterator[Node]:
    async with trio.open_nursery() as nursery:
        channel = channel or channel_of(identity)
        pool = ConnectionPool(channel, settings, nursery)
        listener = Listener(channel, settings, handler, pool=pool)
        port = await listener.bind("127.0.0.1", 0)
        nursery.start_soon(listener.run)
        yield Node(Contact(identity.public_key, Address("127.0.0.1", port)), pool, listener)
        nursery.cancel_scope.cancel()


async def settled(node: Node, count: int) -> None:
    with trio.fail_after(2):
        while len(node.pool) != count:
            await trio.lowlevel.checkpoint()


async def test_simultaneous_calls_share_one_connection_and_it_serves_both_ways() -> None:
    async with node(ALICE) as a, node(BOB) as b:
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(a.pool.call, b.contact, ASK)
        assert await b.pool.call(a.contact, ASK) == YES
        assert (b.listener.stats.accepted, a.listener.stats.accepted) == (1, 0)
        assert (len(a.pool), len(b.pool)) == (1, 1)


async def test_both_sides_connecting_at_once_end_with_one_connection() -> None:
    async with node(ALICE) as a, node(BOB) as b:
        for _ in range(5):
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(a.pool.call, b.contact, ASK)
                    nursery.start_soon(b.pool.call, a.contact, ASK)
            assert await a.pool.call(b.contact, ASK) == YES
            assert await b.pool.call(a.contact, ASK) == YES
            assert (len(a.pool), len(b.pool)) == (1, 1)
            a.pool.drop(BOB.node_id)
            await settled(a, 0)
            await settled(b, 0)


async def test_a_failure_is_raised_as_the_error_it_reports() -> None:
    async with node(ALICE) as a, node(BOB, says_no) as b:
        with pytest.raises(BlobNotFound, match="not here"):
            await a.pool.call(b.contact, ASK)


async def test_nobody_there_is_unreachable_with_the_reason() -> None:
    async with node(ALICE) as a:
        nowhere = Contact(BOB.public_key, Address("127.0.0.1", 1))
        with pytest.raises(PeerUnreachable) as caught:
            await a.pool.call(nowhere, ASK)
        assert "refused" in caught.value.because[0]
        assert short(BOB.node_id) in caught.value.message


async def test_another_node_at_the_address_is_unreachable_and_both_are_named() -> None:
    async with node(ALICE) as a, node(BOB) as b:
        wrong = Contact(EVE.public_key, b.contact.address)
        with pytest.raises(PeerUnreachable) as caught:
            await a.pool.call(wrong, ASK)
        assert short(EVE.node_id) in caught.value.message
        assert short(BOB.node_id) in caught.value.message


async def test_a_dropped_connection_fails_its_calls_at_once_and_a_new_one_is_made() -> None:
    waiting = trio.Event()

    async def stuck(peer: Peer, request: Request) -> Reply:
        if isinstance(request, ListModules):
            waiting.set()
            await trio.sleep_forever()
        return await says_yes(peer, request)

    async with node(ALICE) as a, node(BOB, stuck) as b:

        async def one() -> None:
            with pytest.raises(PeerUnreachable):
                await a.pool.call(b.contact, ListModules())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one)
            await waiting.wait()
            b.pool.drop(ALICE.node_id)
        assert await a.pool.call(b.contact, ASK) == YES


async def test_a_restarted_peer_is_called_again_without_an_error() -> None:
    async with node(ALICE) as a:
        async with node(BOB) as b:
            assert await a.pool.call(b.contact, ASK) == YES
            port = b.contact.address.port
        await settled(a, 0)
        async with trio.open_nursery() as nursery:
            listener = Listener(channel_of(BOB), QUICK, says_yes)
            await listener.bind("127.0.0.1", port)
            nursery.start_soon(listener.run)
            assert await a.pool.call(b.contact, ASK) == YES
            nursery.cancel_scope.cancel()


async def test_a_call_has_its_own_time() -> None:
    async def stuck(peer: Peer, request: Request) -> Reply:
        await trio.sleep_forever()
        raise AssertionError

    async with node(ALICE) as a, node(BOB, stuck) as b:
        with pytest.raises(DeadlineExceeded):
            await a.pool.call(b.contact, ASK, timeout_s=0.05)


async def test_an_expired_member_is_told_why_it_is_not_accepted() -> None:
    old = channel_of(ALICE, until=NOW - 500)
    async with node(ALICE, channel=old) as a, node(BOB) as b:
        with pytest.raises(PeerUnreachable) as caught:
            await a.pool.call(b.contact, ASK)
        assert "expired" in caught.value.because[0]
        assert b.listener.stats.turned_away == 1


async def test_a_member_that_expired_is_not_called_either() -> None:
    old = channel_of(BOB, until=NOW - 500)
    async with node(ALICE) as a, node(BOB, channel=old) as b:
        with pytest.raises(PeerUnreachable) as caught:
            await a.pool.call(b.contact, ASK)
        assert "expired" in caught.value.because[0]


# ---------------------------------------------------------------- strangers


async def said_to(port: int, *messages: bytes) -> bytes:
    """Everything a node says to one who sends these bytes."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        heard = b""
        try:
            for message in messages:
                await stream.send_all(message)
            while data := await stream.receive_some():
                heard += data
        except trio.BrokenResourceError:
            pass
        return heard


@pytest.mark.parametrize(
    "messages",
    [
        (),
        (b"GET / HTTP/1.1\r\n\r\n",),
        (b"\0\x30" + bytes(48),),
        (b"\0\0",),
        (b"\xff\xff" + bytes(100),),
        (b"\0\x30", bytes(20)),
    ],
    ids=["silence", "http", "zeros", "empty", "huge", "half"],
)
async def test_a_stranger_hears_nothing(messages: tuple[bytes, ...]) -> None:
    async with node(BOB) as b:
        with trio.fail_after(3):
            assert await said_to(b.contact.address.port, *messages) == b""
        assert b.listener.stats.secured == 0


async def test_another_meshs_member_hears_nothing() -> None:
    mesh = replace(mesh_of(EVE), mesh_key=b"e" * 32)
    foreign = MeshChannel(EVE, mesh, invites=None, unix_now=lambda: NOW)
    async with node(EVE, channel=foreign) as e, node(BOB) as b:
        with pytest.raises(PeerUnreachable) as caught:
            await e.pool.call(b.contact, ASK)
        assert "closed" in caught.value.because[0]


async def test_half_open_handshakes_are_bounded() -> None:
    settings = replace(QUICK, half_open_max=4, handshake_timeout_s=30)
    async with node(BOB, settings=settings) as b, node(ALICE) as a:
        idle = [await trio.open_tcp_stream("127.0.0.1", b.contact.address.port) for _ in range(4)]
        with trio.fail_after(2):
            while b.listener.stats.accepted < 4:
                await trio.lowlevel.checkpoint()
        assert await said_to(b.contact.address.port) == b""
        assert b.listener.stats.crowded == 1
        for stream in idle:
            await stream.aclose()
        with trio.fail_after(2):
            while b.listener.stats.silent < 4:
                await trio.lowlevel.checkpoint()
        assert await a.pool.call(b.contact, ASK) == YES


# ---------------------------------------------------------------- ports


async def test_a_taken_port_is_named() -> None:
    async with node(BOB) as b:
        port = b.contact.address.port
        with pytest.raises(PortTaken, match=str(port)):
            await Listener(channel_of(ALICE), QUICK, says_yes).bind("127.0.0.1", port)
    with pytest.raises(ConfigError):
        await Listener(channel_of(ALICE), QUICK, says_yes).bind("192.0.2.77", 0)


def both(identity: Identity = ALICE) -> tuple[DatagramSocket, Listener]:
    datagrams = DatagramSocket(
        identity, mesh=mesh_of(identity), settings=QUICK, cookies_secret=bytes(32)
    )
    return datagrams, Listener(channel_of(identity), QUICK, says_yes)


async def test_bind_both_finds_one_port_for_udp_and_tcp() -> None:
    datagrams, listener = both()
    port = await bind_both(datagrams, listener, "127.0.0.1", 0)
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken,
        pytest.raises(OSError, match="in use"),
    ):
        taken.bind(("127.0.0.1", port))
    others = both(BOB)
    with pytest.raises(PortTaken, match=str(port)):
        await bind_both(*others, "127.0.0.1", port)
    above = await bind_both(*others, "127.0.0.1", port, tries=20)
    assert port < above < port + 20
    for part in (datagrams, listener, *others):
        part.close()


async def test_a_port_that_is_free_for_tcp_only_is_passed_over() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        datagrams, listener = both()
        with pytest.raises(PortTaken):
            await bind_both(datagrams, listener, "127.0.0.1", port)
        assert port < await bind_both(datagrams, listener, "127.0.0.1", port, tries=20)
        datagrams.close()
        listener.close()


# ---------------------------------------------------------------- joining


class Sponsor:
    """A member that redeems invites with a real ledger."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.now = NOW
        self.channel = MeshChannel(
            ALICE,
            mesh_of(ALICE),
            invites=lambda: [psk for _, psk in self.ledger.psks(self.now)],
            unix_now=lambda: NOW,
        )

    def invite(self, *addresses: Address, network: NetworkId = NETWORK, uses: int = 1) -> Invite:
        self.ledger.open(
            secret=b"s" * 16, uses=uses, expires_at=int(NOW) + 60, roles=Role.WORKER, now_unix=NOW
        )
        return Invite(network, b"s" * 16, addresses, int(NOW) + 60, uses)

    async def answer(self, peer: Peer, request: Request) -> Reply:
        assert isinstance(request, Join)
        assert peer.invite is not None
        roles = self.ledger.redeem(peer.invite, peer.public_key, self.now)
        mesh = mesh_of(ALICE)
        chain = admit(
            ALICE, mesh.chain, peer.public_key, name=request.name, roles=roles, now_unix=NOW
        )
        return Admission(
            mesh_name=mesh.name,
            root_key=mesh.root_key,
            mesh_key=mesh.mesh_key,
            chain=chain,
            members=(),
            seeds=(),
        )


async def test_joining_with_a_good_invite() -> None:
    sponsor = Sponsor()
    async with node(ALICE, sponsor.answer, channel=sponsor.channel) as a:
        dead = Address("127.0.0.1", 1)
        admission = await join(sponsor.invite(dead, a.contact.address), EVE, name="eve")
        assert network_of(admission.root_key) == NETWORK
        assert len(a.pool) == 0, "a joiner is no peer to call"


async def test_used_and_expired_invites_are_told_apart() -> None:
    sponsor = Sponsor()
    async with node(ALICE, sponsor.answer, channel=sponsor.channel) as a:
        invite = sponsor.invite(a.contact.address)
        await join(invite, EVE, name="eve")
        await join(invite, EVE, name="eve")  # a lost answer can be asked for again
        with pytest.raises(InviteUsed):
            await join(invite, BOB, name="bob")
        sponsor.now = NOW + 100
        with pytest.raises(InviteExpired):
            await join(invite, BOB, name="bob")


@pytest.mark.parametrize("changed", [{"secret": b"x" * 16}, {"network": NetworkId(bytes(16))}])
async def test_an_invite_the_sponsor_does_not_know(changed: dict[str, bytes]) -> None:
    sponsor = Sponsor()
    async with node(ALICE, sponsor.answer, channel=sponsor.channel) as a:
        invite = replace(sponsor.invite(a.contact.address), **changed)
        with pytest.raises(InviteWrong, match="does not know this invite") as caught:
            await join(invite, EVE, name="eve")
        assert str(a.contact.address) in caught.value.message


async def test_a_sponsor_of_another_mesh_than_the_invites_is_foreign() -> None:
    other = network_of(EVE.public_key)
    sponsor = Sponsor()
    invite = sponsor.invite(network=other)
    lying = sponsor.channel
    lying.prologue = lambda: b"meshnode/channel/1\0" + other  # type: ignore[method-assign]  # an impostor
    async with node(ALICE, sponsor.answer, channel=lying) as a:
        with pytest.raises(InviteForeign):
            await join(replace(invite, addresses=(a.contact.address,)), EVE, name="eve")


async def test_nobody_at_any_address_gives_a_line_for_each() -> None:
    addresses = (Address("127.0.0.1", 1), Address("127.0.0.1", 2))
    with pytest.raises(JoinUnreachable) as caught:
        await join(Sponsor().invite(*addresses), EVE, name="eve")
    assert [line.split(": ")[0] for line in caught.value.because] == [str(a) for a in addresses]
    assert all("refused" in line for line in caught.value.because)


async def test_a_sponsor_that_says_nothing_is_unreachable_in_time() -> None:
    listening = trio.socket.socket()
    await listening.bind(("127.0.0.1", 0))
    listening.listen()
    address = Address("127.0.0.1", listening.getsockname()[1])
    with pytest.raises(JoinUnreachable) as caught:
        await join(Sponsor().invite(address), EVE, name="eve", timeout_s=0.3)
    assert str(address) in caught.value.because[0]
    listening.close()


async def test_a_joiner_can_do_nothing_but_join() -> None:
    sponsor = Sponsor()
    async with node(ALICE, sponsor.answer, channel=sponsor.channel) as a:
        invite = sponsor.invite(a.contact.address)
        stream = await trio.open_tcp_stream("127.0.0.1", a.contact.address.port)
        transport = SocketTransport(stream.socket, unacknowledged_ms=1000)
        secured = await initiate(transport, InviteChannel(EVE, invite), expect=None)
        connection = Connection(transport, secured, QUICK)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.run, says_yes)
            reply = await connection.call(ASK)
            assert isinstance(reply, Failure)
            assert "only join" in reply.message
            nursery.cancel_scope.cancel()


def test_errors_are_ones_of_the_house() -> None:
    assert issubclass(JoinUnreachable, MeshnodeError)
    assert ROOT.public_key != ALICE.public_key
