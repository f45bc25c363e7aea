"""Attacks on channels and on what they carry, each with its defence and without it.

As in `test_attacks_on_datagrams`: an attack fails against the node as it is, and succeeds once the
part that defends is replaced or its limit lifted.
"""

import functools
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import cbor2
import pytest
import trio

from meshnode.errors import MeshnodeError, PeerUnreachable, RemoteProtocolError
from meshnode.identity import handshake as handshake_module
from meshnode.identity.aead import make_cipher
from meshnode.identity.handshake import Handshake
from meshnode.identity.noise import NoiseXX
from meshnode.ids import PublicKey
from meshnode.net import entrance as entrance_module
from meshnode.net.connection import Connection
from meshnode.net.entrance import Entrance
from meshnode.net.handshaking import initiate
from meshnode.net.settings import NetSettings
from meshnode.net.transport import SocketTransport
from meshnode.wire import cbor, frames
from meshnode.wire.frames import Cipher, FrameReader, Kind, RecordKey
from meshnode.wire.limits import HEADER_BYTES_MAX
from meshnode.wire.messages import AskHeld, Held, Reply, Request
from tests.integration.listening import QUICK, Node, node
from tests.unit.net.mesh import ALICE, BLOB, BOB, EVE, Peer, channel_of
from tests.unit.wire.test_frames import KEY, Taken, feed, frame, sealed

pytestmark = pytest.mark.integration
both = pytest.mark.parametrize("defended", [True, False])
ASK, YES = AskHeld(blobs=(BLOB,)), Held(held=(True,))


async def heard(stream: trio.SocketStream) -> bytes:
    """The first that a node says; nothing if it closes."""
    with trio.fail_after(30):
        try:
            return await stream.receive_some()
        except trio.BrokenResourceError:
            return b""


async def open_to(node: Node) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", node.contact.address.port)


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + message


# ------------------------------------------------------------------ 12: the handshake


@both
@pytest.mark.parametrize("psk", [None, b"o" * 32], ids=["none", "the one of before"])
async def test_who_lacks_the_mesh_key_hears_not_a_byte(
    monkeypatch: pytest.MonkeyPatch, defended: bool, psk: bytes | None
) -> None:
    """Without a psk in front, message 2 would show anybody that a node is here."""
    if not defended:
        monkeypatch.setattr(handshake_module, "NoiseXX", _without_psk)
    prologue = channel_of(EVE).prologue()
    stranger = NoiseXX(psk=psk if defended else None, prologue=prologue)
    first = stranger.write_1(b"" if defended and psk else bytes(16))
    async with node(BOB) as b, await open_to(b) as stream:
        await stream.send_all(framed(first))
        assert bool(await heard(stream)) is not defended


def _without_psk(*, psk: bytes, prologue: bytes, static: bytes, ephemeral: bytes) -> NoiseXX:
    return NoiseXX(psk=None, prologue=prologue, static=static, ephemeral=ephemeral)


@both
async def test_a_first_message_that_was_overheard_is_not_answered(
    monkeypatch: pytest.MonkeyPatch, defended: bool
) -> None:
    """Its copy would cost a millisecond of public-key work and show that a node is here."""
    if not defended:
        monkeypatch.setattr(entrance_module, "FIRST_MESSAGES_MAX", 0)
    alice = Handshake(
        ALICE,
        initiator=True,
        psks=channel_of(ALICE).psks(),
        prologue=channel_of(ALICE).prologue(),
        payload=b"",
    )
    overheard = framed(alice.start())
    async with node(BOB, settings=replace(QUICK, handshake_timeout_s=1)) as b:
        async with await open_to(b) as stream:
            await stream.send_all(overheard)
            assert await heard(stream) != b""
        async with await open_to(b) as stream:
            await stream.send_all(overheard)
            assert bool(await heard(stream)) is not defended


@both
def test_a_handshake_reflected_to_its_sender_ends(
    monkeypatch: pytest.MonkeyPatch, defended: bool
) -> None:
    """Somebody in between leads a node to itself, as if it were the peer it looks for."""
    if not defended:
        monkeypatch.setattr(Handshake, "_check_proof", _takes_any_proof)
    make = functools.partial(Handshake, ALICE, psks=[KEY], prologue=b"", payload=b"")
    calling, called = make(initiator=True), make(initiator=False)
    try:
        called.receive(calling.receive(called.receive(calling.start())))
    except RemoteProtocolError:
        assert defended
    assert calling.established is not defended


def _takes_any_proof(self: Handshake, proof: bytes) -> None:
    self.peer_key = PublicKey(proof[:32])


@both
async def test_an_impostor_does_not_learn_who_called(defended: bool) -> None:
    """Bob is a member, but not the one Alice means to reach at this address."""
    async with node(BOB) as b:
        stream = await open_to(b)
        transport = SocketTransport(stream.socket, unacknowledged_ms=1000)
        expect = EVE.public_key if defended else None
        try:
            await initiate(transport, channel_of(ALICE), expect=expect)
        except PeerUnreachable:
            assert defended
        transport.close()
        with trio.fail_after(20):
            while not b.listener.stats.silent + b.listener.stats.secured:
                await trio.lowlevel.checkpoint()
        assert (b.listener.stats.secured == 1) is not defended


@both
async def test_silent_strangers_do_not_keep_members_out(
    monkeypatch: pytest.MonkeyPatch, defended: bool
) -> None:
    if not defended:
        monkeypatch.setattr(Entrance, "_most_dispensable", lambda _: None)
    settings = replace(QUICK, half_open_max=4, handshake_timeout_s=60)
    async with node(BOB, settings=settings) as b, node(ALICE) as a:
        silent = [await open_to(b) for _ in range(8)]
        with trio.fail_after(20):
            while b.listener.stats.accepted < 8:
                await trio.lowlevel.checkpoint()
        try:
            assert await a.pool.call(b.contact, ASK, timeout_s=20) == YES
        except PeerUnreachable:
            assert not defended
        else:
            assert defended
        for stream in silent:
            await stream.aclose()


@both
async def test_a_stranger_who_drips_bytes_does_not_hold_his_place(defended: bool) -> None:
    settings = replace(QUICK, handshake_timeout_s=0.2 if defended else 3600)
    async with node(BOB, settings=settings) as b, await open_to(b) as stream:
        await stream.send_all(b"\0\x30")
        closed = False
        with trio.move_on_after(30 if defended else 0.6):
            while not closed:
                try:
                    await stream.send_all(b"x")
                    closed = b.listener.stats.silent > 0
                except trio.BrokenResourceError:
                    closed = True
                await trio.sleep(0.05)
        assert closed is defended


@both
def test_handshakes_of_one_site_are_bounded_in_their_cost(defended: bool) -> None:
    """Whoever has the key could begin one after another: each a millisecond (attack 20)."""
    settings = NetSettings() if defended else NetSettings(handshakes_private_s=1e9)
    entrance, answered = Entrance(settings), 0
    for number in range(1000):
        entry = entrance.enter("192.168.1.7", lambda: None)
        assert entry is not None
        answered += entrance.knocked(entry, number.to_bytes(32, "big"), 0.0)
        entrance.leave(entry)
    assert (answered > settings.handshakes_private_s or answered == 1000) is not defended


# ------------------------------------------------------------------ 12: records


class NoTag:
    """A cipher without authentication: what records would be without their tags."""

    def __init__(self, key: bytes) -> None: ...

    def seal_into(self, nonce: bytes, plaintext: bytes, out: memoryview) -> None:
        out[: len(plaintext)] = plaintext

    def open_into(self, nonce: bytes, sealed: memoryview, out: memoryview) -> None:
        out[:] = sealed[: len(out)]


def records(make: Callable[[bytes], Cipher]) -> list[bytes]:
    key = RecordKey(KEY, make)
    return [sealed(frame(n, Kind.HEADER, bytes([n]) * 5), key=key) for n in (1, 3, 5)]


TAMPERED: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "reordered": lambda r: [r[1], r[0], r[2]],
    "repeated": lambda r: [r[0], r[0], r[1]],
    "left out": lambda r: [r[1], r[2]],
    "damaged": lambda r: [r[0][:-17] + b"\xff" + r[0][-16:], r[1]],
}


@both
@pytest.mark.parametrize("how", TAMPERED)
def test_tampered_records_end_the_connection(defended: bool, how: str) -> None:
    make = make_cipher if defended else NoTag
    honest, taken = Taken(), Taken()
    feed(FrameReader(RecordKey(KEY, make), honest), b"".join(records(make)), 1000)
    tampered = b"".join(TAMPERED[how](records(make)))
    try:
        feed(FrameReader(RecordKey(KEY, make), taken), tampered, 1000)
    except RemoteProtocolError:
        assert defended
    fooled = taken.frames != honest.frames[: len(taken.frames)]
    assert fooled is not defended


def test_a_record_that_was_cut_short_gives_nothing() -> None:
    whole = records(make_cipher)[0]
    for count in range(len(whole)):
        taken = Taken()
        feed(FrameReader(RecordKey(KEY, make_cipher), taken), whole[:count], 1000)
        assert taken.frames == []


@both
def test_no_nonce_is_used_again_at_the_end(monkeypatch: pytest.MonkeyPatch, defended: bool) -> None:
    """Nonce 2^64-1 is REKEY's: a record under it would share its key stream."""
    if not defended:
        monkeypatch.setattr(frames, "RECORDS_MAX", 2**64)
    key = RecordKey(KEY, make_cipher, first=2**64 - 1, rekey_records=2**70)
    try:
        sealed(b"one too many", key=key)
    except MeshnodeError:
        assert defended
    else:
        assert not defended


# ------------------------------------------------------------------ 11: CBOR


def colliding(count: int) -> bytes:
    """A map whose keys are different bignums with one hash: quadratic work for a dictionary."""
    keys = [2**64 + n * (2**61 - 1) for n in range(count)]
    return cbor2.dumps(dict.fromkeys(keys, 0))


HOSTILE = {
    "a tag": cbor2.dumps(cbor2.CBORTag(4000, 1)),
    "a regular expression": b"\xd8\x23\x63a+b",
    "a list that holds itself": b"\xd8\x1c\x81\xd8\x1d\x00",
    "a bignum": b"\xc2\x49" + b"\x01" + bytes(8),
    "duplicate keys": b"\xa2\x61a\x01\x61a\x02",
    "keys of one hash": colliding(50),
    "bytes after the end": b"\x01\x02",
    "an indefinite length": b"\x9f\x01\xff",
    "a longer form than needed": b"\x18\x01",
    "unsorted keys": b"\xa2\x61b\x01\x61a\x02",
    "nesting": b"\x81" * 60 + b"\x01",
    "not a number": b"\xf9\x7e\x00",
    "infinity": b"\xf9\x7c\x00",
    "integer keys": b"\xa1\x01\x02",
}


@both
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_cbor_is_refused(defended: bool, name: str) -> None:
    try:
        if defended:
            cbor.loads(HOSTILE[name], bytes_max=HEADER_BYTES_MAX)
        else:
            cbor2.loads(HOSTILE[name])
    except RemoteProtocolError:
        assert defended
    else:
        assert not defended


@both
def test_a_length_is_judged_before_memory_is_taken(
    monkeypatch: pytest.MonkeyPatch, defended: bool
) -> None:
    """A record's four bytes of length promise 4 GiB; nothing of it ever comes."""
    if not defended:
        monkeypatch.setattr(frames, "RECORD_BYTES_MAX", 2**32)
    reader = FrameReader(RecordKey(KEY, make_cipher), Taken())
    try:
        feed(reader, (2**31).to_bytes(4, "big"), 4)
    except RemoteProtocolError:
        assert defended
    else:
        assert not defended
        assert reader._needed > 2**31


@both
async def test_calls_without_end_are_refused_not_queued(
    monkeypatch: pytest.MonkeyPatch, defended: bool
) -> None:
    async def never(peer: Peer, request: Request) -> Reply:
        await trio.sleep_forever()
        raise AssertionError

    async with node(ALICE) as a, node(BOB, never) as b, trio.open_nursery() as nursery:
        with trio.move_on_after(0.2):
            await a.pool.call(b.contact, ASK)
        connection = b.pool._connections[ALICE.node_id]
        caller = a.pool._connections[BOB.node_id]
        caller._mux._calls_max = 10_000  # a peer that keeps no rule of its own
        if not defended:
            connection._mux._calls_max = 10_000
        for _ in range(400):
            nursery.start_soon(_ignored, caller)
        with trio.fail_after(30):
            while connection.calls < 256 or (not defended and connection.calls < 400):
                await trio.lowlevel.checkpoint()
        assert (connection.calls > 256) is not defended
        nursery.cancel_scope.cancel()


async def _ignored(connection: Connection) -> None:
    with suppress(MeshnodeError):
        await connection.call(ASK)
