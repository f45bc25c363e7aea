"""A whole channel to an independent Noise implementation, over TCP and in both roles.

The other end has nothing of meshnode but the messages' bytes: it speaks the handshake's framing,
shows a membership, and seals and opens records with its own transport keys.
"""

from dataclasses import dataclass

import nacl.bindings
import pytest
import trio

from meshnode.identity.handshake import STATIC_DOMAIN
from meshnode.ids import Address, Contact
from meshnode.net.channel import prologue_of
from meshnode.wire.codec import decode_call, encode_call
from meshnode.wire.frames import FRAME_HEAD, Kind, frame_head
from meshnode.wire.messages import AskHeld, Held
from tests.integration.listening import node
from tests.integration.oracles import ORACLES, STATIC, Oracle
from tests.unit.net.mesh import ALICE, BLOB, BOB, NETWORK, channel_of

pytestmark = pytest.mark.integration
PSK = b"m" * 32
ASK, YES = AskHeld(blobs=(BLOB,)), Held(held=(True,))


@dataclass
class Other:
    """BOB, as the other implementation plays him."""

    noise: Oracle
    stream: trio.SocketStream

    async def exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            got = await self.stream.receive_some(count - len(data))
            assert got, "the node closed the connection"
            data += got
        return data

    async def message(self) -> bytes:
        return self.noise.read(await self.exactly(int.from_bytes(await self.exactly(2), "big")))

    async def say(self, payload: bytes) -> None:
        message = self.noise.write(payload)
        await self.stream.send_all(len(message).to_bytes(2, "big") + message)

    async def record(self) -> bytes:
        return self.noise.decrypt(await self.exactly(int.from_bytes(await self.exactly(4), "big")))

    async def send_record(self, plaintext: bytes) -> None:
        sealed = self.noise.encrypt(plaintext)
        await self.stream.send_all(len(sealed).to_bytes(4, "big") + sealed)


def proof() -> bytes:
    public = nacl.bindings.crypto_scalarmult_base(STATIC)
    signature = BOB.sign(public, domain=STATIC_DOMAIN)
    return BOB.public_key + signature + channel_of(BOB).payload()


def other(kind: type[Oracle], stream: trio.SocketStream, *, initiator: bool) -> Other:
    return Other(kind(initiator=initiator, psk=PSK, prologue=prologue_of(NETWORK)), stream)


def header_of(message: AskHeld | Held, call_id: int) -> bytes:
    header, body = encode_call(message)
    assert not body
    return frame_head(call_id, Kind.HEADER, len(header)) + header


@pytest.mark.parametrize("kind", ORACLES)
async def test_another_implementation_connects_and_calls(kind: type[Oracle]) -> None:
    async with node(ALICE) as a:
        stream = await trio.open_tcp_stream("127.0.0.1", a.contact.address.port)
        bob = other(kind, stream, initiator=True)
        async with stream:
            await bob.say(b"")
            assert (await bob.message())[:32] == ALICE.public_key
            await bob.say(proof())
            await bob.send_record(header_of(ASK, 1))
            assert await bob.record() == header_of(YES, 1)
            assert a.listener.stats.secured == 1


@pytest.mark.parametrize("kind", ORACLES)
async def test_we_connect_to_another_implementation_and_call(kind: type[Oracle]) -> None:
    kind(initiator=False, psk=PSK, prologue=b"")  # skips here if it is not installed

    async def serve(stream: trio.SocketStream) -> None:
        bob = other(kind, stream, initiator=False)
        await bob.message()
        await bob.say(proof())
        assert (await bob.message())[:32] == ALICE.public_key
        record = await bob.record()
        call_id, code, size = FRAME_HEAD.unpack_from(record)
        assert (call_id, code) == (1, Kind.HEADER)
        assert decode_call(record[FRAME_HEAD.size :][:size], None) == ASK
        await bob.send_record(header_of(YES, call_id))

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    async with node(ALICE) as a, trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        there = Contact(BOB.public_key, Address("127.0.0.1", port))
        assert await a.pool.call(there, ASK, timeout_s=20) == YES
        nursery.cancel_scope.cancel()
