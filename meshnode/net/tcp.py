"""TCP sockets: connecting to an address, and what is asked of the kernel for a connection."""

import errno
import os
import socket
import sys
from contextlib import suppress

import trio

from meshnode.ids import Address
from meshnode.net.addresses import family_of, is_literal, is_private, to_sockaddr
from meshnode.wire.limits import KIB

NOTSENT_LOWAT_BYTES = 16 * KIB
"""What waits unsent in the kernel cannot be overtaken by a small call (stack.md decision 5)."""
SEGMENT_BYTES_MAX = 1280 - 60
"""Off the LAN over IPv6, whose routers never fragment: what its least MTU leaves beside the headers
of IPv6 and TCP. Where a tunnel on the way takes less than both ends think and tells nobody, larger
segments vanish for ever. IPv4 has `allow_fragments`, so it keeps its larger segments: a fifth more
packets are a fifth more losses on a lossy line."""
KEEPALIVE_S = 15
INHERITED = sys.platform == "linux"
"""A connection that is accepted begins with the options of its listener."""
UNDER_WAY = (errno.EINPROGRESS, errno.EWOULDBLOCK)
"""What `connect` says that goes on."""
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, PMTUDISC_DONT = 10, 23, 0
"""From linux/in.h and linux/in6.h."""
_OPTIONS: list[tuple[int, int, int]] = [
    (level, getattr(socket, name), value)
    for level, name, value in (
        (socket.IPPROTO_TCP, "TCP_NODELAY", 1),
        (socket.IPPROTO_TCP, "TCP_NOTSENT_LOWAT", NOTSENT_LOWAT_BYTES),
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", KEEPALIVE_S),
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", KEEPALIVE_S // 3),
    )
    if hasattr(socket, name)
]
_USER_TIMEOUT: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)


async def dial(address: Address) -> socket.socket:
    """Return a socket connected to an address; raises OSError, or UnicodeError for an odd name.

    A literal address is one `connect` and, if that takes time, one wait: nothing is looked up and
    no attempts are raced. If it is cancelled, nothing stays open.
    """
    if not is_literal(address.host) or "%" in address.host:  # a zone has to be looked up
        stream = await trio.open_tcp_stream(address.host, address.port)
        sock = socket.socket(fileno=stream.socket.detach())
        sock.setblocking(False)
        return sock
    sock = socket.socket(family_of(address.host), socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        keep_to_least_mtu(sock, address)
        code = sock.connect_ex(to_sockaddr(address, sock.family))
        if code in UNDER_WAY and not _is_connected(sock):
            await trio.lowlevel.wait_writable(sock)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code and code not in UNDER_WAY:
            raise OSError(code, os.strerror(code))
    except BaseException:
        sock.close()
        raise
    return sock


def _is_connected(sock: socket.socket) -> bool:
    """Return whether a connect is over; on loopback it is before `connect` returns."""
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def tune(sock: socket.socket, unacknowledged_ms: int) -> None:
    """Set what the kernel has; nothing here is needed for the protocol to work.

    On Linux what a listener has is what its connections begin with (`INHERITED`).
    """
    for level, option, value in _OPTIONS:
        with suppress(OSError):
            sock.setsockopt(level, option, value)
    if _USER_TIMEOUT is not None:
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, _USER_TIMEOUT, unacknowledged_ms)


def tune_for_distance(sock: socket.socket, peer: Address) -> None:
    """Off the LAN: a congestion control that loss does not stop, and fragments."""
    if not is_literal(peer.host) or is_private(peer.host):
        return
    option = getattr(socket, "TCP_CONGESTION", None)
    if option is not None:
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, option, b"bbr")
    allow_fragments(sock)


def keep_to_least_mtu(sock: socket.socket, peer: Address) -> None:
    """Before connecting over IPv6 to off the LAN: segments that fit every path, both ways.

    The peer hears of the bound in the first packet and keeps to it as well.
    """
    option = getattr(socket, "TCP_MAXSEG", None)
    if option is not None and ":" in peer.host and not is_private(peer.host):
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, option, SEGMENT_BYTES_MAX)


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
