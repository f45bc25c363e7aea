"""The beacon's sockets: multicast to every interface, and broadcast where multicast is not taken.

Nothing here may end a node: a LAN without multicast, a container without interfaces or a port that
is taken is said once in the log, and then the node goes on without a beacon.
"""

import logging
import socket
import struct
from collections.abc import Callable

import trio

from meshnode.net.addresses import from_sockaddr
from meshnode.reach.beacon import BEACON_BYTES_MAX, WHO_BYTES, Heard

_log = logging.getLogger(__name__)
PORT = 6175
GROUP_V4 = "239.255.61.74"
GROUP_V6 = "ff12::6174"
BROADCAST = "255.255.255.255"
HOPS = 1
"""Beacons stay on the LAN."""
DRAIN_MAX = 64
LOOK_AGAIN_S = 60.0
"""Interfaces come and go; who joins again a group he is in is told so, and no harm is done."""

BROKEN = (OSError, trio.BrokenResourceError)


class LanSockets:
    """One socket for IPv4 and one for IPv6, or as many of them as this host has."""

    def __init__(
        self, *, port: int = PORT, interfaces: Callable[[], list[tuple[int, str]]]
    ) -> None:
        """`interfaces` gives index and name of those to use: see `outward`."""
        self._port = port
        self._interfaces = interfaces
        self._sockets: list[trio.socket.SocketType] = []
        self._warned: set[str] = set()

    def open(self) -> bool:
        """Open what can be opened; False, after a warning, if nothing can."""
        for family in (socket.AF_INET, socket.AF_INET6):
            try:
                self._sockets.append(_bound(family, self._port))
            except OSError as error:
                _log.debug("no beacon over %s: %s", family.name, error)
        joined = self.join()
        if not joined:
            self._warn("this host takes no multicast; nodes of the LAN are heard by broadcast only")
        if not self._sockets:
            self._warn(f"no beacon on this LAN: udp {self._port} cannot be used")
        return bool(self._sockets)

    def join(self) -> int:
        """Join the group on every interface; return on how many that worked."""
        joined = 0
        for sock in self._sockets:
            for index, _ in self._interfaces():
                joined += _join(sock, index)
        return joined

    def close(self) -> None:
        """Close the sockets."""
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()

    def send(self, data: bytes) -> None:
        """Send to everybody on every interface; what cannot be sent is said once."""
        sent = 0
        for sock in self._sockets:
            for index, _ in self._interfaces():
                sent += self._send(sock, index, data)
            if sock.family == socket.AF_INET:
                sent += _try_send(sock, data, (BROADCAST, self._port))
        if not sent:
            self._warn("no beacon could be sent: is there a network?")

    def _send(self, sock: trio.socket.SocketType, index: int, data: bytes) -> int:
        try:
            if sock.family == socket.AF_INET:
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, _mreqn(index))
                return _try_send(sock, data, (GROUP_V4, self._port))
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
            return _try_send(sock, data, (GROUP_V6, self._port, 0, index))
        except OSError:
            return 0

    async def run(self, deliver: Callable[[Heard], None]) -> None:
        """Receive until cancelled; then the sockets are closed."""
        try:
            async with trio.open_nursery() as nursery:
                for sock in self._sockets:
                    nursery.start_soon(self._receive, sock, deliver)
                nursery.start_soon(self._look_again)
        finally:
            self.close()

    async def _receive(
        self, sock: trio.socket.SocketType, deliver: Callable[[Heard], None]
    ) -> None:
        while True:
            try:
                data, sockaddr = await sock.recvfrom(max(BEACON_BYTES_MAX, WHO_BYTES) + 1)
            except trio.ClosedResourceError:
                return
            except OSError:  # an interface went away
                await trio.sleep(1.0)
                continue
            deliver(Heard(data, from_sockaddr(sockaddr[:2]).host.partition("%")[0]))

    async def _look_again(self) -> None:
        while True:
            await trio.sleep(LOOK_AGAIN_S)
            self.join()

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            _log.warning("%s", text)


def outward() -> list[tuple[int, str]]:
    """Return the interfaces that lead to other hosts."""
    try:
        return [(index, name) for index, name in socket.if_nameindex() if name != "lo"]
    except OSError:
        return []


def _bound(family: socket.AddressFamily, port: int) -> trio.socket.SocketType:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        # Every node of this host hears what is said to all.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, HOPS)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, HOPS)
        sock.bind(("" if family == socket.AF_INET else "::", port))
    except OSError:
        sock.close()
        raise
    return trio.socket.from_stdlib_socket(sock)


def _join(sock: trio.socket.SocketType, index: int) -> bool:
    try:
        if sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, _mreqn(index))
        else:
            group = socket.inet_pton(socket.AF_INET6, GROUP_V6) + struct.pack("@I", index)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
    except OSError:
        return False
    return True


def _mreqn(index: int) -> bytes:
    """Return Linux's `struct ip_mreqn`: the group, no address, the interface."""
    return socket.inet_aton(GROUP_V4) + bytes(4) + struct.pack("@i", index)


def _try_send(sock: trio.socket.SocketType, data: bytes, to: tuple[str | int, ...]) -> int:
    """Send now or not at all; return how many were sent."""
    with socket.socket(fileno=sock.fileno()) as raw:
        try:
            raw.sendto(data, to)
            return 1
        except OSError:
            return 0
        finally:
            raw.detach()
