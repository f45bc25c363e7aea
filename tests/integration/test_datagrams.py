"""Sealed datagrams over real loopback sockets: proof, amplification, strangers, seeds."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest
import trio

from meshnode.identity.keys import Identity
from meshnode.identity.sealing import SEED_MESH_KEY, SEED_NETWORK, Sealer
from meshnode.ids import Address, Contact, NetworkId, PublicKey
from meshnode.net.datagrams import DatagramSocket
from meshnode.net.settings import NetSettings
from meshnode.wire.codec import Envelope, decode_datagram, encode_datagram
from meshnode.wire.limits import DATAGRAM_BYTES_MAX
from meshnode.wire.messages import (
    Ack,
    Datagram,
    FindNode,
    FoundNodes,
    Gossip,
    Ping,
    PutReply,
    Received,
    Send,
)
from tests.unit.net.mesh import ALICE, BOB, CAROL, EVE, NETWORK, mesh_of

pytestmark = pytest.mark.integration
MESH_KEY = b"m" * 32
CONTACTS = tuple(
    Contact(Identity.from_seed(bytes([n]) * 32).public_key, Address(f"2600::{n}", 6174))
    for n in range(50, 66)
)


@dataclass
class Node:
    contact: Contact
    socket: DatagramSocket
    heard: trio.MemoryReceiveChannel[Received]

    async def next(self) -> Received:
        with trio.fail_after(10):
            return await self.heard.receive()

    def say(self, to: "Node | Contact", message: Datagram) -> None:
        contact = to.contact if isinstance(to, Node) else to
        self.socket.send(Send(contact, message))


@asynccontextmanager
async def node(
    identity: Identity,
    *,
    settings: NetSettings | None = None,
    host: str = "127.0.0.1",
    seed: bool = False,
) -> AsyncIterator[Node]:
    send, receive = trio.open_memory_channel[Received](1000)
    sock = DatagramSocket(
        identity,
        mesh=None if seed else mesh_of(identity),
        settings=settings or NetSettings(),
        cookies_secret=identity.seed,
    )
    port = await sock.bind(host, 0)
    async with trio.open_nursery() as nursery:
        if seed:
            nursery.start_soon(sock.run_seed, lambda _, r: send.send_nowait(r))
        else:
            nursery.start_soon(sock.run, send.send_nowait)
        shown = "127.0.0.1" if host == "::" else host
        yield Node(Contact(identity.public_key, Address(shown, port)), sock, receive)
        nursery.cancel_scope.cancel()


class Stranger:
    """A raw socket that seals by hand, so a test sees the very bytes."""

    def __init__(self, identity: Identity = CAROL, mesh_key: bytes = MESH_KEY) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.settimeout(10)
        self.identity = identity
        self.sealer = Sealer(identity, mesh_key=mesh_key, network=NETWORK)

    def seal(self, to: Node, message: Datagram, *, pad_to: int = 0, **cookies: bytes) -> bytes:
        plain = encode_datagram(Envelope(message=message, **cookies), pad_to=pad_to)
        return self.sealer.seal(to.contact.public_key, plain)

    def send(self, to: Node, packet: bytes) -> int:
        return self.sock.sendto(packet, ("127.0.0.1", to.contact.address.port))

    async def receive(self) -> tuple[int, Envelope]:
        packet = await trio.to_thread.run_sync(self.sock.recv, 2000)
        return len(packet), decode_datagram(self.sealer.open(packet)[1])

    def heard_nothing(self) -> bool:
        self.sock.setblocking(False)
        try:
            self.sock.recv(2000)
        except BlockingIOError:
            return True
        return False

    def close(self) -> None:
        self.sock.close()


@pytest.fixture
def stranger() -> AsyncIterator[Stranger]:
    made = Stranger()
    yield made
    made.close()


async def test_a_message_arrives_with_its_verified_sender_and_proof_follows() -> None:
    async with node(ALICE) as a, node(BOB) as b:
        a.say(b, Ping(sequence=1))
        assert await b.next() == Received(a.contact, Ping(sequence=1), proved=False)
        b.say(a, Ack(sequence=1))
        assert await a.next() == Received(b.contact, Ack(sequence=1), proved=True)
        a.say(b, Ping(sequence=2))
        assert await b.next() == Received(a.contact, Ping(sequence=2), proved=True)


async def test_the_first_answer_may_be_full_because_the_question_was_padded() -> None:
    async with node(ALICE) as a, node(BOB) as b:
        a.say(b, FindNode(rpc=1, target=bytes(32)))
        await b.next()
        b.say(a, FoundNodes(rpc=1, contacts=CONTACTS))
        answer = (await a.next()).message
        assert isinstance(answer, FoundNodes)
        assert len(answer.contacts) >= 15
        assert b.socket.stats.withheld == 0


@pytest.mark.parametrize("pad_to", [0, 100, 300, 700, 1100])
@pytest.mark.parametrize("issued", [b"", b"c" * 8])
async def test_until_proved_answers_are_never_longer_than_the_question(
    stranger: Stranger, pad_to: int, issued: bytes
) -> None:
    async with node(BOB) as b:
        question = FindNode(rpc=7, target=bytes(32))
        sent = stranger.send(b, stranger.seal(b, question, pad_to=pad_to, issued=issued))
        sender = (await b.next()).sender
        received = 0
        for _ in range(5):
            b.say(sender, FoundNodes(rpc=7, contacts=CONTACTS))
        stats = b.socket.stats
        for _ in range(stats.sent):
            received += (await stranger.receive())[0]
        assert received <= sent
        assert stats.sent + stats.withheld == 5
        assert stats.sent >= 1, "the shortest answer fits every question"


async def test_a_returned_cookie_opens_the_way_and_a_wrong_one_does_not(
    stranger: Stranger,
) -> None:
    async with node(BOB) as b:
        ping = Ping(sequence=1)
        stranger.send(b, stranger.seal(b, ping, pad_to=300))
        sender = (await b.next()).sender
        b.say(sender, Ack(sequence=1))
        _, envelope = await stranger.receive()
        stranger.send(b, stranger.seal(b, ping, returned=b"x" * 8))
        assert not (await b.next()).proved
        stranger.send(b, stranger.seal(b, ping, returned=envelope.issued))
        assert (await b.next()).proved
        b.say(sender, FoundNodes(rpc=1, contacts=CONTACTS))
        size, envelope = await stranger.receive()
        assert size > 800


async def test_an_answer_to_an_address_that_asked_nothing_is_withheld(stranger: Stranger) -> None:
    async with node(BOB) as b:
        victim = Contact(CAROL.public_key, Address("127.0.0.1", stranger.sock.getsockname()[1]))
        b.say(victim, PutReply(rpc=1, kept=True))
        b.say(victim, Ack(sequence=1))
        assert b.socket.stats.withheld == 2
        assert stranger.heard_nothing()


async def test_strangers_and_damage_are_counted_and_answered_by_silence(
    stranger: Stranger,
) -> None:
    async with node(BOB) as b:
        other = Stranger(EVE, mesh_key=b"e" * 32)
        good = stranger.seal(b, Ping(sequence=1))
        plain_junk = stranger.sealer.seal(b.contact.public_key, b"junk that is no CBOR")
        for packet in (
            b"x",
            bytes(DATAGRAM_BYTES_MAX + 1),
            bytes(200),
            other.seal(b, Ping(sequence=1)),
            good[:-1] + bytes([good[-1] ^ 1]),
            plain_junk,
            stranger.seal(b, Ping(sequence=1), network=NETWORK),
            good,
        ):
            stranger.send(b, packet)
        assert (await b.next()).message == Ping(sequence=1)
        stats = b.socket.stats
        assert (stats.received, stats.delivered) == (8, 1)
        assert (stats.size, stats.stranger, stats.malformed, stats.foreign) == (2, 3, 1, 1)
        assert stranger.heard_nothing()
        other.close()


async def test_a_prefix_over_its_rate_is_dropped_before_public_key_work(
    stranger: Stranger,
) -> None:
    async with node(BOB, settings=NetSettings(datagrams_private_s=5)) as b:
        for number in range(50):
            stranger.send(b, stranger.seal(b, Ping(sequence=number)))
        with trio.fail_after(10):
            while b.socket.stats.received < 50:
                await trio.lowlevel.checkpoint()
        assert b.socket.stats.delivered <= 8
        assert b.socket.stats.limited >= 42


async def test_many_at_once_are_drained_in_turns() -> None:
    async with node(ALICE) as a, node(BOB) as b:
        for number in range(500):
            a.say(b, Gossip(loads=(), updates=()) if number % 2 else Ping(sequence=number))
        for _ in range(500):
            await b.next()


async def test_seeds_serve_any_mesh_without_its_secret() -> None:
    heard: list[tuple[NetworkId, Received]] = []
    seed = DatagramSocket(EVE, mesh=None, settings=NetSettings(), cookies_secret=bytes(32))
    port = await seed.bind("127.0.0.1", 0)
    contact = Contact(EVE.public_key, Address("127.0.0.1", port))

    def answer(network: NetworkId, received: Received) -> None:
        heard.append((network, received))
        seed.send(Send(received.sender, FoundNodes(rpc=1, contacts=CONTACTS)), network=network)

    async with node(ALICE) as a, trio.open_nursery() as nursery:
        nursery.start_soon(seed.run_seed, answer)
        a.socket.seeds.add(EVE.public_key)
        a.say(contact, FindNode(rpc=1, target=bytes(32)))
        found = await a.next()
        assert found.sender == contact
        assert isinstance(found.message, FoundNodes)
        assert len(found.message.contacts) >= 14
        assert heard == [(NETWORK, Received(a.contact, FindNode(rpc=1, target=bytes(32)), False))]
        nursery.cancel_scope.cancel()


async def test_only_known_seeds_may_use_the_seeds_seal_and_only_for_this_mesh(
    stranger: Stranger,
) -> None:
    async with node(BOB) as b:
        stranger.sealer = Sealer(CAROL, mesh_key=SEED_MESH_KEY, network=SEED_NETWORK)
        ping = Ping(sequence=1)
        stranger.send(b, stranger.seal(b, ping, network=NETWORK))
        with trio.fail_after(10):
            while not b.socket.stats.stranger:
                await trio.lowlevel.checkpoint()
        b.socket.seeds.add(CAROL.public_key)
        stranger.send(b, stranger.seal(b, ping, network=bytes(16)))
        stranger.send(b, stranger.seal(b, ping))
        stranger.send(b, stranger.seal(b, ping, network=NETWORK))
        assert (await b.next()).message == ping
        assert b.socket.stats.foreign == 2
        assert b.socket.stats.delivered == 1


async def test_a_host_name_is_looked_up_and_its_answers_keep_the_name() -> None:
    async with node(ALICE) as a, node(BOB) as b:
        named = Contact(BOB.public_key, Address("localhost", b.contact.address.port))
        a.say(named, Ping(sequence=1))
        a.say(named, Ping(sequence=2))
        sender = (await b.next()).sender
        assert sender == a.contact
        b.say(sender, Ack(sequence=1))
        assert (await a.next()).sender == named
        a.say(named, Ping(sequence=3))
        await b.next()
        a.say(replace(named, address=Address("no.such.host.invalid", 1)), Ping(sequence=1))
        with trio.fail_after(20):
            while not a.socket.stats.unresolved:
                await trio.lowlevel.checkpoint()


async def test_a_dual_stack_socket_knows_ipv4_addresses_as_ipv4() -> None:
    try:
        async with node(ALICE, host="::") as a, node(BOB) as b:
            a.say(b, Ping(sequence=1))
            assert (await b.next()).sender == a.contact
            b.say(a, Ping(sequence=2))
            assert (await a.next()).sender == b.contact
    except* OSError:
        pytest.skip("no IPv6 here")


async def test_what_cannot_be_sent_is_counted_and_never_raised() -> None:
    async with node(ALICE) as a:
        a.say(Contact(PublicKey(b"\xff" * 32), a.contact.address), Ping(sequence=1))
        a.say(Contact(BOB.public_key, Address("2600::1", 9)), Ping(sequence=1))
        a.say(Contact(BOB.public_key, Address("127.0.0.1", 70_000)), Ping(sequence=1))
        assert a.socket.stats.failed == 3
    a.say(Contact(BOB.public_key, a.contact.address), Ping(sequence=1))
    assert a.socket.stats.sent == 0


async def test_a_full_ping_is_as_long_as_a_datagram_gets(stranger: Stranger) -> None:
    """Only so a diagnosis can tell whether full datagrams get through."""
    there = Contact(stranger.identity.public_key, Address(*stranger.sock.getsockname()))
    async with node(BOB) as b:
        for full in (True, False):
            b.socket.send_by_udp(Send(there, Ping(sequence=1)), full=full)
            size, envelope = await stranger.receive()
            assert envelope.message == Ping(sequence=1)
            assert (size >= DATAGRAM_BYTES_MAX - 1) is full
