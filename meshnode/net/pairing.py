"""Letting a device in over the LAN: the two sides of `meshnode accept` and `meshnode join --lan`.

Neither is part of a running node, whose own door stays silent to strangers: `accept` has a port of
its own for as long as somebody sits there. What it gives is an invite, over a channel of which
people have compared both ends (`identity/pairing.py`).
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio

from meshnode.errors import MeshnodeError, RemoteProtocolError
from meshnode.identity.aead import NONCE_BYTES, TAG_BYTES, make_cipher
from meshnode.identity.handshake import Handshake
from meshnode.identity.keys import Identity
from meshnode.identity.pairing import PROLOGUE, PSK, Asking, Letting
from meshnode.net.lan import LanSockets
from meshnode.net.transport import SocketTransport, Transport, receive_exactly
from meshnode.reach.beacon import Heard
from meshnode.reach.opening import Opening, decode, encode
from meshnode.wire.limits import HANDSHAKE_BYTES_MAX, KIB

MESSAGE_BYTES_MAX = KIB
"""An invite has 512 at most."""
EXCHANGE_S = 5.0
"""All that needs nobody's hands."""
ANSWER_S = 180.0
"""So long a person may take to type six digits."""
SAY_EVERY_S = 1.0
GATHER_S = 1.5
"""After the first opening is heard: there may be another one, and then a person has to choose."""
OPENINGS_MAX = 16
CALLERS_MAX = 8
"""Devices that have a code and wait for the person."""
UNACKNOWLEDGED_MS = 10_000

Decide = Callable[[str, str, str], Awaitable[bytes]]
"""Given a device's name, host and code, return the invite for it, or nothing to refuse it."""


class _Sealed:
    """Short messages over a stream, one key for each direction."""

    def __init__(self, transport: Transport, shake: Handshake) -> None:
        self.transcript = shake.hash
        self._transport = transport
        send_key, receive_key = shake.keys()
        self._sending, self._receiving = make_cipher(send_key), make_cipher(receive_key)
        self._sent = self._received = 0

    async def send(self, message: bytes) -> None:
        sealed = bytearray(len(message) + TAG_BYTES)
        self._sending.seal_into(_nonce(self._sent), message, memoryview(sealed))
        self._sent += 1
        await _send(self._transport, bytes(sealed))

    async def receive(self) -> bytes:
        """Return the next message, or raise RemoteProtocolError."""
        sealed = await _receive(self._transport, MESSAGE_BYTES_MAX + TAG_BYTES)
        if len(sealed) < TAG_BYTES:
            raise RemoteProtocolError("a pairing's message without a tag")
        message = bytearray(len(sealed) - TAG_BYTES)
        self._receiving.open_into(_nonce(self._received), sealed, memoryview(message))
        self._received += 1
        return bytes(message)


@dataclass(slots=True)
class Asked:
    """A device that has its code, and waits to be let in."""

    code: str
    _sealed: _Sealed

    async def answer(self) -> bytes:
        """Return the invite; nothing if it was refused. Raises RemoteProtocolError."""
        return await self._sealed.receive()


async def ask(transport: Transport, name: str) -> Asked:
    """Ask to be let in over a stream; raises RemoteProtocolError or trio.BrokenResourceError."""
    shake = _handshake(initiator=True)
    await _send(transport, shake.start())
    await _send(transport, shake.receive(await _receive(transport, HANDSHAKE_BYTES_MAX)))
    sealed = _Sealed(transport, shake)
    asking = Asking(sealed.transcript, name)
    await sealed.send(asking.commit())
    await sealed.send(asking.reveal(await sealed.receive()))
    return Asked(asking.code, sealed)


async def let_in(transport: Transport, decide: Decide) -> bool:
    """Answer a device that asks, and return whether a person let it in; raises as `ask`."""
    with trio.fail_after(EXCHANGE_S):
        shake = _handshake(initiator=False)
        await _send(transport, shake.receive(await _receive(transport, HANDSHAKE_BYTES_MAX)))
        shake.receive(await _receive(transport, HANDSHAKE_BYTES_MAX))
        sealed = _Sealed(transport, shake)
        letting = Letting(sealed.transcript)
        await sealed.send(letting.answer(await sealed.receive()))
        letting.check(await sealed.receive())
    invite = await decide(letting.name, transport.address.host, letting.code)
    await sealed.send(invite)
    return bool(invite)


@dataclass(slots=True)
class Door:
    """A port at which devices of the LAN ask, and the announcement of it."""

    mesh_name: str
    decide: Decide
    sockets: LanSockets
    host: str = "0.0.0.0"
    let_in: int = 0
    """Devices that have been told so."""
    _waiting: int = 0
    _answered: trio.Event = field(default_factory=trio.Event)
    _deciding: trio.Lock = field(default_factory=trio.Lock)

    async def run(self) -> None:
        """Let devices ask until cancelled. Raises OSError if there is no port to be had."""
        listeners = await trio.open_tcp_listeners(0, host=self.host)
        async with trio.open_nursery() as nursery:
            port = listeners[0].socket.getsockname()[1]
            if self.sockets.open():
                nursery.start_soon(self._announce, encode(Opening(port, self.mesh_name)))
            nursery.start_soon(trio.serve_listeners, self._serve, listeners)

    async def answered(self) -> None:
        """Wait until another device was told what was decided, or went away."""
        await self._answered.wait()

    async def _announce(self, data: bytes) -> None:
        try:
            while True:
                self.sockets.send(data)
                await trio.sleep(SAY_EVERY_S)
        finally:
            self.sockets.close()

    async def _serve(self, stream: trio.SocketStream) -> None:
        if self._waiting >= CALLERS_MAX:
            return
        self._waiting += 1
        try:
            transport = SocketTransport(stream.socket, unacknowledged_ms=UNACKNOWLEDGED_MS)
            try:
                self.let_in += await let_in(transport, self._one_by_one)
            finally:
                transport.close()
        except (MeshnodeError, OSError, trio.BrokenResourceError, trio.TooSlowError):
            return  # whoever it was, it was none of ours
        finally:
            self._waiting -= 1
            self._answered.set()
            self._answered = trio.Event()

    async def _one_by_one(self, name: str, host: str, code: str) -> bytes:
        async with self._deciding:
            return await self.decide(name, host, code)


async def openings(sockets: LanSockets, *, for_s: float) -> list[tuple[str, Opening]]:
    """Return host and port of those that let others in here; empty if none is heard in time."""
    found: dict[tuple[str, int], Opening] = {}
    anybody = trio.Event()

    def keep(heard: Heard) -> None:
        opening = decode(heard.data)
        if opening is not None and ":" not in heard.host and len(found) < OPENINGS_MAX:
            found[heard.host, opening.port] = opening
            anybody.set()

    if not sockets.open():
        return []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sockets.run, keep)
        with trio.move_on_after(for_s):
            await anybody.wait()
            await trio.sleep(GATHER_S)
        nursery.cancel_scope.cancel()
    return [(host, opening) for (host, _), opening in found.items()]


def _handshake(*, initiator: bool) -> Handshake:
    """Make one side under a key of this moment: who a device is, it shows to its mesh only."""
    return Handshake(
        Identity.generate(), initiator=initiator, psks=[PSK], prologue=PROLOGUE, payload=b""
    )


def _nonce(number: int) -> bytes:
    return bytes(NONCE_BYTES - 8) + number.to_bytes(8, "little")


async def _send(transport: Transport, data: bytes) -> None:
    await transport.send_all(len(data).to_bytes(2, "big") + data)


async def _receive(transport: Transport, bytes_max: int) -> bytes:
    length = int.from_bytes(await receive_exactly(transport, 2), "big")
    if not 0 < length <= bytes_max:
        raise RemoteProtocolError("a pairing's message of an impossible length")
    return await receive_exactly(transport, length)
