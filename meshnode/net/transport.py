"""A byte stream as a connection needs it: wait, receive into a given buffer, send all.

`SocketTransport` is a TCP socket. `StreamTransport` is any trio stream, for tests in memory.
"""

import socket
import sys
from contextlib import suppress
from typing import Protocol

import trio

from meshnode.errors import RemoteProtocolError
from meshnode.ids import Address
from meshnode.net.addresses import Sockaddr, from_sockaddr, is_literal, is_private
from meshnode.wire.limits import KIB
from meshnode.wire.tensor import Buffer

NOTSENT_LOWAT_BYTES = 16 * KIB
"""What waits unsent in the kernel cannot be overtaken by a small call (stack.md decision 5)."""
KEEPALIVE_S = 15
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, PMTUDISC_DONT = 10, 23, 0
"""From linux/in.h and linux/in6.h."""


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
    """A connected TCP socket, drained without a system call in vain."""

    relayed = False

    def __init__(self, sock: trio.socket.SocketType, *, unacknowledged_ms: int) -> None:
        peer: Sockaddr = sock.getpeername()  # first: it fails if the peer is gone
        self._stream = trio.SocketStream(sock)
        self._socket = sock
        self._raw = socket.socket(fileno=sock.fileno())
        self._raw.setblocking(False)
        self.address = from_sockaddr(peer)
        _tune(self._raw, self.address, unacknowledged_ms)

    async def send_all(self, data: Buffer) -> None:
        """See `Transport.send_all`."""
        await self._stream.send_all(data)

    def send_now(self, data: Buffer) -> int:
        """See `Transport.send_now`."""
        try:
            return self._raw.send(data)
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
        return self._raw.recv_into(buffer)

    def close(self) -> None:
        """See `Transport.close`. The trio socket owns the descriptor and tells the waiters."""
        if self._raw.fileno() != -1:
            self._raw.detach()
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


async def receive_exactly(transport: Transport, count: int) -> bytes:
    """Return exactly `count` bytes and take no more, or raise RemoteProtocolError at the end.

    Raises trio.BrokenResourceError if the connection breaks. Only handshakes read this way.
    """
    buffer = memoryview(bytearray(count))
    filled = 0
    while filled < count:
        await transport.wait()
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


def _tune(sock: socket.socket, peer: Address, unacknowledged_ms: int) -> None:
    """Set what the kernel has; nothing here is needed for the protocol to work."""
    if is_literal(peer.host) and not is_private(peer.host):
        _set(sock, socket.IPPROTO_TCP, "TCP_CONGESTION", b"bbr")
        allow_fragments(sock)
    _set(sock, socket.IPPROTO_TCP, "TCP_NODELAY", 1)
    _set(sock, socket.IPPROTO_TCP, "TCP_NOTSENT_LOWAT", NOTSENT_LOWAT_BYTES)
    _set(sock, socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", unacknowledged_ms)
    _set(sock, socket.SOL_SOCKET, "SO_KEEPALIVE", 1)
    _set(sock, socket.IPPROTO_TCP, "TCP_KEEPIDLE", KEEPALIVE_S)
    _set(sock, socket.IPPROTO_TCP, "TCP_KEEPINTVL", KEEPALIVE_S // 3)


def allow_fragments(sock: socket.socket) -> None:
    """Let routers cut what does not fit their link, instead of dropping it in silence.

    By default Linux forbids it and waits for an ICMP message that many firewalls eat: small calls
    then pass and large ones hang. Python names these options on some systems only.
    """
    if sys.platform == "linux":
        for level, option in (
            (socket.IPPROTO_IP, IP_MTU_DISCOVER),
            (socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER),
        ):
            with suppress(OSError):
                sock.setsockopt(level, option, PMTUDISC_DONT)


def _set(sock: socket.socket, level: int, name: str, value: int | bytes) -> None:
    option = getattr(socket, name, None)
    if option is not None:
        with suppress(OSError):
            sock.setsockopt(level, option, value)
