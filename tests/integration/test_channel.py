"""Connections over real loopback sockets: pool, listener, strangers, ports."""

import socket
from dataclasses import replace

import pytest
import trio

from meshnode.errors import (
    BlobNotFound,
    ConfigError,
    DeadlineExceeded,
    JoinUnreachable,
    MeshnodeError,
    PeerUnreachable,
    PortTaken,
)
from meshnode.identity.keys import Identity
from meshnode.ids import Address, Contact, short
from meshnode.net.binding import bind_both
from meshnode.net.channel import MeshChannel
from meshnode.net.connection import Peer
from meshnode.net.datagrams import DatagramSocket
from meshnode.net.listener import Listener
from meshnode.wire.messages import (
    AskHeld,
    Held,
    ListModules,
    Reply,
    Request,
)
from tests.integration.listening import QUICK, Node, node
from tests.unit.net.mesh import (
    ALICE,
    BLOB,
    BOB,
    EVE,
    NOW,
    ROOT,
    channel_of,
    mesh_of,
    says_no,
    says_yes,
)

pytestmark = pytest.mark.integration
ASK, YES = AskHeld(blobs=(BLOB,)), Held(held=(True,))


async def settled(node: Node, count: int) -> None:
    with trio.fail_after(10):
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
    async with node(BOB, settings=replace(QUICK, handshake_timeout_s=0.2)) as b:
        with trio.fail_after(10):
            assert await said_to(b.contact.address.port, *messages) == b""
        assert b.listener.stats.secured == 0


async def test_another_meshs_member_hears_nothing() -> None:
    mesh = replace(mesh_of(EVE), mesh_key=b"e" * 32)
    foreign = MeshChannel(EVE, mesh, invites=None, unix_now=lambda: NOW)
    async with node(EVE, channel=foreign) as e, node(BOB) as b:
        with pytest.raises(PeerUnreachable) as caught:
            await e.pool.call(b.contact, ASK)
        assert "closed" in caught.value.because[0]


async def test_half_open_handshakes_are_bounded_and_a_member_gets_in_all_the_same() -> None:
    settings = replace(QUICK, half_open_max=4, handshake_timeout_s=60)
    async with node(BOB, settings=settings) as b, node(ALICE) as a:
        port = b.contact.address.port
        idle = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(12)]
        with trio.fail_after(30):
            while b.listener.stats.accepted < 12:
                await trio.lowlevel.checkpoint()
            while b.listener.stats.displaced < 8:
                await trio.lowlevel.checkpoint()
        assert await a.pool.call(b.contact, ASK) == YES
        with trio.fail_after(30):
            while b.listener.stats.displaced < 9:
                await trio.lowlevel.checkpoint()
        assert len(b.listener._entrance) == 3
        for stream in idle:
            await stream.aclose()


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


def test_errors_are_ones_of_the_house() -> None:
    assert issubclass(JoinUnreachable, MeshnodeError)
    assert ROOT.public_key != ALICE.public_key
