"""Attacks on datagrams, each with its defence and without it (docs/threat-model.md).

An attack returns whether it succeeded. It must fail against the node as it is, and succeed once
the one part that defends is replaced or its limit lifted: otherwise the test would prove nothing.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from meshnode.identity.keys import Identity
from meshnode.identity.ring_sealing import RingSealer
from meshnode.identity.sealing import Cookies, Sealer
from meshnode.ids import Address, Contact, PublicKey
from meshnode.net.datagrams import DatagramSocket
from meshnode.net.entrance import Entrance
from meshnode.net.replays import Replays
from meshnode.net.routability import Routability
from meshnode.net.settings import NetSettings
from meshnode.net.vouched import Vouched
from meshnode.wire.codec import Envelope, encode_datagram
from meshnode.wire.messages import Ack, FindNode, FoundNodes, Ping
from tests.integration.test_datagrams import CONTACTS, MESH_KEY, Stranger, node
from tests.unit.net.mesh import ALICE, BOB, CAROL, EVE, NETWORK, mesh_of

pytestmark = pytest.mark.integration
both = pytest.mark.parametrize("defended", [True, False])
ASK = FindNode(rpc=7, target=bytes(32))
UNLIMITED = 1e9


@pytest.fixture
def member() -> Stranger:
    """Carol, who has the mesh key and a raw socket: she can send any bytes she likes."""
    made = Stranger(CAROL)
    yield made
    made.close()


def bob(**settings: float) -> DatagramSocket:
    return DatagramSocket(
        BOB, mesh=mesh_of(BOB), settings=NetSettings(**settings), cookies_secret=bytes(32)
    )


def packet_of(identity: Identity, number: int = 1) -> bytes:
    sealer = Sealer(identity, mesh_key=MESH_KEY, network=NETWORK)
    return sealer.seal(BOB.public_key, encode_datagram(Envelope(message=Ping(sequence=number))))


# ------------------------------------------------------------------ 5: spoofed sources


@both
async def test_a_forged_source_cannot_be_flooded_with_answers(
    member: Stranger, monkeypatch: pytest.MonkeyPatch, defended: bool
) -> None:
    if not defended:
        monkeypatch.setattr(Routability, "answer_max", lambda *_: None)
    async with node(BOB) as b:
        sent = member.send(b, member.seal(b, ASK))
        victim = (await b.next()).sender
        for _ in range(4):
            b.say(victim, FoundNodes(rpc=7, contacts=CONTACTS))
        received = sum([(await member.receive())[0] for _ in range(b.socket.stats.sent)])
        assert (received > sent) is not defended


@both
async def test_who_never_received_at_an_address_cannot_prove_it(
    member: Stranger, monkeypatch: pytest.MonkeyPatch, defended: bool
) -> None:
    """A cookie that came to one address is given back from another, as if that were proved."""
    if not defended:
        monkeypatch.setattr(Cookies, "check", lambda *_: True)
    async with node(BOB) as b:
        member.send(b, member.seal(b, ASK, pad_to=300))
        b.say((await b.next()).sender, Ack(sequence=1))
        _, answer = await member.receive()
        forger = Stranger(CAROL)
        forger.send(b, member.seal(b, ASK, returned=answer.issued))
        proved = (await b.next()).proved
        forger.close()
        assert proved is not defended


@both
async def test_a_list_of_contacts_that_all_point_at_a_victim_does_not_flood_it(
    defended: bool,
) -> None:
    """Each contact is unknown, so each is asked with a padded request: 1,216 bytes."""
    settings = NetSettings(first_requests_private_s=32 if defended else UNLIMITED)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as victim:
        victim.bind(("127.0.0.1", 0))
        where = Address("127.0.0.1", victim.getsockname()[1])
        async with node(ALICE, settings=settings) as a:
            for number in range(200):
                made_up = Identity.from_seed(number.to_bytes(32, "big")).public_key
                a.say(Contact(made_up, where), ASK)
            assert (a.socket.stats.sent > 100) is not defended
            assert (a.socket.stats.unproved > 0) is defended


# ------------------------------------------------------------------ 6: replay


@both
async def test_a_datagram_that_was_overheard_is_not_answered_again(
    member: Stranger, monkeypatch: pytest.MonkeyPatch, defended: bool
) -> None:
    if not defended:
        monkeypatch.setattr(Replays, "is_new", lambda *_: True)
    async with node(BOB) as b:
        overheard = member.seal(b, ASK)
        for _ in range(20):
            member.send(b, overheard)
        member.send(b, member.seal(b, Ping(sequence=9)))
        heard = []
        while Ping(sequence=9) not in heard:
            heard.append((await b.next()).message)
        assert (len(heard) > 2) is not defended


async def test_a_datagram_sent_back_to_its_sender_is_refused(member: Stranger) -> None:
    """The pair key is one for both directions; the sender's key inside tells them apart."""
    async with node(BOB) as b, node(ALICE) as a:
        packet = member.seal(b, Ping(sequence=1))
        member.send(a, packet)
        own = Sealer(BOB, mesh_key=MESH_KEY, network=NETWORK)
        to_carol = own.seal(CAROL.public_key, encode_datagram(Envelope(message=Ping(sequence=2))))
        member.send(b, to_carol)
        member.send(b, packet)
        assert (await b.next()).message == Ping(sequence=1)
        assert (b.socket.stats.delivered, b.socket.stats.stranger) == (1, 1)
        assert a.socket.stats.delivered == 0


# ------------------------------------------------------------------ 12: probing


@both
async def test_a_stranger_gets_no_answer_and_costs_no_key(
    member: Stranger, monkeypatch: pytest.MonkeyPatch, defended: bool
) -> None:
    """He has every public key, and the wrong mesh key or the one of before."""
    derived, derive = [], Sealer._derive

    def counted(self: Sealer, other: PublicKey) -> object:
        derived.append(other)
        return derive(self, other)

    async with node(BOB) as b:
        monkeypatch.setattr(Sealer, "_derive", counted)
        if not defended:
            monkeypatch.setattr(RingSealer, "is_for_me", take_for_mine)
        for key in (b"x" * 32, bytes(32)):
            member.sealer = Sealer(EVE, mesh_key=key, network=NETWORK)
            packet = member.seal(b, ASK)
            derived.clear()
            member.send(b, packet)
            with trio.fail_after(10):
                stats = b.socket.stats
                seen = stats.stranger + stats.unsealed
                while stats.stranger + stats.unsealed == seen:
                    await trio.lowlevel.checkpoint()
            assert (derived == []) is defended, "an X25519 was paid for a stranger"
        assert member.heard_nothing()
        assert not b.socket._mesh_sealer.knows(EVE.public_key)


def take_for_mine(self: RingSealer, packet: bytes) -> bool:
    self._hit = (packet, next(iter(self._present().values())))
    return True


# ------------------------------------------------------------------ 20: public-key work


@both
def test_made_up_keys_do_not_buy_public_key_work_without_end(defended: bool) -> None:
    """An insider seals each packet under another key: each would cost an X25519."""
    target = bob(new_senders_private_s=50 if defended else UNLIMITED)
    opened = 0
    for number in range(200):
        made_up = Identity.from_seed(number.to_bytes(32, "big"))
        opened += target._open(packet_of(made_up), ("192.168.1.9", 7), 0.0) is not None
    assert (opened > 50) is not defended


@both
def test_known_members_are_heard_during_such_a_flood(defended: bool) -> None:
    target = bob(new_senders_private_s=50)
    assert target._open(packet_of(ALICE), ("192.168.1.1", 7), 0.0) is not None
    if not defended:  # one budget for old and new
        target._mesh_sealer.knows = lambda _: False  # type: ignore[union-attr, method-assign]
    for number in range(100):
        made_up = Identity.from_seed(number.to_bytes(32, "big"))
        target._open(packet_of(made_up), ("192.168.1.9", 7), 0.0)
    heard = target._open(packet_of(ALICE), ("192.168.1.1", 7), 0.0) is not None
    assert heard is defended


@both
def test_one_site_cannot_fill_the_socket_for_all(defended: bool) -> None:
    target = bob(datagrams_per_prefix_s=20 if defended else UNLIMITED)
    assert target._open(packet_of(ALICE), ("8.8.8.8", 7), 0.0) is not None
    sealer = Sealer(ALICE, mesh_key=MESH_KEY, network=NETWORK)
    data, opened = encode_datagram(Envelope(message=Ping(sequence=1))), 0
    for _ in range(100):
        packet = sealer.seal(BOB.public_key, data)
        opened += target._open(packet, ("8.8.8.9", 7), 0.0) is not None
    assert (opened > 20) is not defended
    assert target._open(packet_of(CAROL), ("9.9.9.9", 7), 0.0) is not None


@both
def test_members_are_heard_while_others_of_their_site_use_up_its_budget(defended: bool) -> None:
    """One public /24, as behind a company's NAT; Alice was met on a connection, the others not."""
    target = bob(datagrams_per_prefix_s=20)
    if defended:
        target.vouched.note("8.8.8.8", ALICE.public_key, 0.0)
    for number in range(100):
        made_up = Identity.from_seed(number.to_bytes(32, "big"))
        target._open(packet_of(made_up), ("8.8.8.9", 7), 0.0)
    heard = target._open(packet_of(ALICE), ("8.8.8.8", 7), 0.0) is not None
    assert heard is defended


@both
def test_a_site_of_hundreds_shakes_hands_as_fast_as_its_members_prove_themselves(
    defended: bool,
) -> None:
    vouched = Vouched()
    entrance = Entrance(NetSettings(), vouched if defended else None)
    answered, second = 0, 0
    while answered < 300 and second < 60:
        for number in range(300 - answered):
            entry = entrance.enter("8.8.8.8", lambda: None)
            assert entry is not None
            first = (1000 * second + number).to_bytes(32, "big")
            if entrance.knocked(entry, first, float(second)):
                answered += 1
                vouched.note("8.8.8.8", PublicKey(first), float(second))
            entrance.leave(entry)
        second += 1
    assert answered == 300
    assert (second <= 6) is defended


# ------------------------------------------------------------------ 18: bad networks


@both
async def test_a_peer_whose_nat_moves_it_proves_its_new_address_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, defended: bool
) -> None:
    if not defended:
        give_each_key_one_address(monkeypatch)
    async with node(BOB) as b:
        async with node(ALICE) as a:
            a.say(b, Ping(sequence=1))
            b.say((await b.next()).sender, Ack(sequence=1))
            await a.next()
            a.say(b, Ping(sequence=2))
            assert (await b.next()).proved
        async with node(ALICE) as moved:
            moved.say(b, ASK)
            received = await b.next()
            assert received.sender == moved.contact
            assert not received.proved, "what the old address proved is not the new one's"
            b.say(received.sender, FoundNodes(rpc=7, contacts=CONTACTS))
            assert isinstance((await moved.next()).message, FoundNodes)
            moved.say(b, Ping(sequence=3))
            assert (await b.next()).proved is defended


def give_each_key_one_address(patch: pytest.MonkeyPatch) -> None:
    """A key's first address is the only one that may ever prove itself."""
    first: dict[PublicKey, Address] = {}
    issue = Routability.issue

    def once(self: Routability, recipient: Contact, now: float) -> bytes:
        known = first.setdefault(recipient.public_key, recipient.address)
        return issue(self, recipient, now) if known == recipient.address else b""

    patch.setattr(Routability, "issue", once)


IN_A_NETWORK_OF_1280 = """
import ctypes, fcntl, os, socket, struct, sys, trio
CLONE_NEWNET, CLONE_NEWUSER = 0x40000000, 0x10000000
libc = ctypes.CDLL(None, use_errno=True)
if libc.unshare(CLONE_NEWNET) and libc.unshare(CLONE_NEWNET | CLONE_NEWUSER):
    sys.exit("no network namespace here: " + os.strerror(ctypes.get_errno()))
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    fcntl.ioctl(sock, 0x8922, struct.pack("16sI", b"lo", 1280))         # SIOCSIFMTU
    fcntl.ioctl(sock, 0x8914, struct.pack("16sh", b"lo", 0x1 | 0x40))   # SIOCSIFFLAGS: up
from meshnode.wire.messages import Ping, Send
from tests.integration.listening import node as stream_node
from tests.integration.test_datagrams import node
from tests.unit.net.test_connection import echo, predict
from tests.unit.net.mesh import ALICE, BOB
from meshnode.net import datagrams, trimming
trimming.RECORDS_ANSWER_BYTES = trimming.MESSAGE_BYTES_MAX  # a question as long as any answer
if "larger" in sys.argv:
    from meshnode.identity import sealing
    from meshnode.wire import codec
    trimming.RECORDS_ANSWER_BYTES = trimming.MESSAGE_BYTES_MAX = 1400
    codec.MESSAGE_BYTES_MAX = sealing.PLAINTEXT_BYTES_MAX = datagrams.PLAINTEXT_BYTES_MAX = 1400
    datagrams.PADDED_BYTES = 1399

def fragments():
    lines = [l.split() for l in open("/proc/net/snmp") if l.startswith("Ip:")]
    return int(dict(zip(*lines))["FragCreates"])

async def main():
    with trio.fail_after(30):
        async with node(ALICE) as a, node(BOB) as b:
            for number in range(20):
                a.socket.send_by_udp(Send(b.contact, Ping(sequence=number)), full=True)
            if "larger" not in sys.argv:
                for _ in range(20):
                    await b.next()
        print(fragments())
        async with stream_node(ALICE) as a, stream_node(BOB, echo) as b:
            reply = await a.pool.call(b.contact, predict(bytes(2_000_000)), timeout_s=20)
            assert len(reply.body[0]) == 2_000_000
trio.run(main)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")
@both
def test_full_datagrams_and_large_calls_pass_where_packets_have_1280_bytes(defended: bool) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", IN_A_NETWORK_OF_1280, *([] if defended else ["larger"])],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
        check=False,
    )
    if "no network namespace" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    assert (int(done.stdout) > 0) is not defended
