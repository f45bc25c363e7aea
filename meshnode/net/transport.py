"""A byte stream as a connection needs it: wait, receive into a given buffer, send all.

`SocketTransport` is a TCP socket. `StreamTransport` is any trio stream, for tests in memory.
"""

import socket
from typing import Protocol, Self

import trio

from meshnode.errors import RemoteProtocolError
from meshnode.ids import Address
from meshnode.net.addresses import Sockaddr, from_sockaddr
from meshnode.net.tcp import dial, tune, tune_for_distance
from meshnode.wire.tensor import Buffer


class Transport(Protocol):
    """One end of a byte stream. One task sends, one receives."""

    address: Address
    """Of the other end."""
    relayed: bool
    """The other end is a relay, which passes the bytes on."""

    async def send_all(self, data: Buffer) -> None:
        """Send every byte. If it is cancelled, part may have been sent: close."""
        ...

    def send_now(self, data: Buffer) -> int:
        """Send what goes without waiting, and return how many bytes that was. Raises OSError."""
        ...

    async def wait_for_room(self) -> None:
        """Wait until what is sent now would leave soon."""
        ...

    async def wait(self) -> None:
        """Wait until `receive_into` has something; no buffer is held meanwhile."""
        ...

    def receive_into(self, buffer: memoryview) -> int:
        """Receive what is there; 0 at the end. Raises BlockingIOError if there is nothing yet."""
        ...

    def close(self) -> None:
        """Close at once. Whoever waits gets ClosedResourceError."""
        ...


class SocketTransport:
    """A connected TCP socket, used without a system call in vain. It owns the socket."""

    relayed = False

    def __init__(
        self,
        sock: socket.socket | trio.socket.SocketType,
        *,
        unacknowledged_ms: int,
        tuned: bool = False,
    ) -> None:
        """Raises OSError if the peer is gone, and then leaves the socket to the caller.

        `tuned`: the socket came with the options of its listener.
        """
        peer: Sockaddr = sock.getpeername()
        if not isinstance(sock, socket.socket):  # trio's own
            sock = socket.socket(fileno=sock.detach())
            sock.setblocking(False)
        self._socket = sock
        self.address = from_sockaddr(peer)
        if not tuned:
            tune(sock, unacknowledged_ms)
        tune_for_distance(sock, self.address)

    @classmethod
    async def to(cls, address: Address, *, unacknowledged_ms: int) -> Self:
        """Connect to an address; raises as `dial`. If it is cancelled, nothing stays open."""
        sock = await dial(address)
        try:
            return cls(sock, unacknowledged_ms=unacknowledged_ms)
        except OSError:  # it was gone before we looked
            sock.close()
            raise

    async def send_all(self, data: Buffer) -> None:
        """See `Transport.send_all`."""
        rest = memoryview(data)
        waited = False
        try:
            while rest := rest[self.send_now(rest) :]:
                await trio.lowlevel.wait_writable(self._socket)
                waited = True
        except OSError as error:
            raise trio.BrokenResourceError(str(error)) from error
        if not waited:  # a long body must not keep the other tasks from their turn
            await trio.lowlevel.checkpoint()

    def send_now(self, data: Buffer) -> int:
        """See `Transport.send_now`."""
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0

    async def wait_for_room(self) -> None:
        """See `Transport.wait_for_room`."""
        await trio.lowlevel.wait_writable(self._socket)

    async def wait(self) -> None:
        """See `Transport.wait`."""
        await trio.lowlevel.wait_readable(self._socket)

    def receive_into(self, buffer: memoryview) -> int:
        """See `Transport.receive_into`."""
        return self._socket.recv_into(buffer)

    def close(self) -> None:
        """See `Transport.close`."""
        if self._socket.fileno() != -1:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()


class StreamTransport:
    """Any trio stream, e.g. one of `trio.testing.memory_stream_pair`."""

    relayed = False

    def __init__(self, stream: trio.abc.Stream, address: Address) -> None:
        self._stream = stream
        self._waiting = b""
        self._ended = False
        self.address = address

    async def send_all(self, data: Buffer) -> None:
        """See `Transport.send_all`."""
        await self._stream.send_all(bytes(data))

    def send_now(self, data: Buffer) -> int:
        """See `Transport.send_now`: an abstract stream can only be waited for."""
        return 0

    async def wait_for_room(self) -> None:
        """See `Transport.wait_for_room`."""
        await trio.lowlevel.checkpoint()

    async def wait(self) -> None:
        """See `Transport.wait`."""
        if self._waiting or self._ended:
            await trio.lowlevel.checkpoint()
            return
        self._waiting = bytes(await self._stream.receive_some())
        self._ended = not self._waiting

    def receive_into(self, buffer: memoryview) -> int:
        """See `Transport.receive_into`."""
        if not self._waiting and not self._ended:
            raise BlockingIOError
        count = min(len(buffer), len(self._waiting))
        buffer[:count] = self._waiting[:count]
        self._waiting = self._waiting[count:]
        return count

    def close(self) -> None:
        """See `Transport.close`."""
        if isinstance(self._stream, trio.StapledStream):
            for half in (self._stream.send_stream, self._stream.receive_stream):
                half.close()


async def receive_exactly(transport: Transport, count: int, *, waited: bool = False) -> bytes:
    """Return exactly `count` bytes and take no more, or raise RemoteProtocolError at the end.

    Raises trio.BrokenResourceError if the connection breaks. Only handshakes read this way. With
    `waited` the bytes are probably there already: the first look is without waiting.
    """
    buffer = memoryview(bytearray(count))
    filled = 0
    while filled < count:
        if not waited:
            await transport.wait()
        waited = False
        try:
            got = transport.receive_into(buffer[filled:])
        except BlockingIOError:
            continue
        except OSError as error:
            raise trio.BrokenResourceError(str(error)) from error
        if got == 0:
            raise RemoteProtocolError("the connection was closed")
        filled += got
    return bytes(buffer)
