"""Meeting half-way: both ends of a pair open a TCP connection to each other at the same moment.

Two nodes behind NATs cannot be connected to, but a NAT lets in what answers something that was
sent out. Each opens a connection to a rendezvous from a port of its own choice; the rendezvous
tells each where it saw the other; then both connect from that same port to that place (RFC 5128
section 3.4; TCP's simultaneous open, RFC 9293 section 3.5). It works where a NAT gives one inside
port one outside port, whomever it speaks to (RFC 4787: endpoint-independent mapping).
"""

import errno
import socket
from collections.abc import Awaitable, Callable

import trio

from meshnode.errors import PeerUnreachable
from meshnode.identity.keys import Identity
from meshnode.ids import Address, Contact, NetworkId
from meshnode.net.addresses import Sockaddr, to_sockaddr, why
from meshnode.net.handshaking import initiate
from meshnode.net.settings import NetSettings
from meshnode.net.tokens import ArrangedChannel
from meshnode.net.transport import SocketTransport

TRIES = 3
TRY_S = 1.3
"""One SYN, and its repetition after a second: the first may come before the other side's NAT
expects it."""
REFUSED_PAUSE_S = 0.2
"""A NAT that answers with a reset does so until the other side has sent something."""


async def meet(
    rendezvous: Contact,
    token: bytes,
    identity: Identity,
    network: NetworkId,
    settings: NetSettings,
    *,
    where: Callable[[], Awaitable[Address]],
) -> SocketTransport:
    """Return a connection to whoever was given the other token of a meeting.

    `where` asks the rendezvous for the other's address once we were seen there. Raises
    PeerUnreachable, OSError, or what `handshaking.initiate` raises. If it is cancelled, nothing
    stays open.
    """
    family, there = await _resolved(rendezvous.address)
    first = await _connect(family, None, there)
    own: Sockaddr = first.getsockname()
    shown = _transport(first, settings)
    try:
        await initiate(
            shown, ArrangedChannel(identity, network, token), expect=rendezvous.public_key
        )
        other = await where()
        return _transport(await _open_together(family, own, other), settings)
    finally:
        shown.close()


def _transport(sock: socket.socket, settings: NetSettings) -> SocketTransport:
    try:
        return SocketTransport(sock, unacknowledged_ms=settings.unacknowledged_ms)
    except OSError:  # it was gone before we looked
        sock.close()
        raise


async def _open_together(family: int, own: Sockaddr, other: Address) -> socket.socket:
    reasons: list[str] = []
    for _ in range(TRIES):
        try:
            with trio.fail_after(TRY_S):
                return await _connect(family, own, to_sockaddr(other, family))
        except trio.TooSlowError:
            reasons.append(f"no answer within {TRY_S:g} s")
        except OSError as error:
            reasons.append(why(error))
            await trio.sleep(REFUSED_PAUSE_S)
    raise PeerUnreachable("", because=[f"{other}: {', '.join(reasons)}"])


async def _resolved(address: Address) -> tuple[int, Sockaddr]:
    """Return the first address of a host that may be a name. Raises OSError."""
    found = await trio.socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
    )
    family, _, _, _, sockaddr = found[0]
    return family, sockaddr  # type: ignore[return-value]  # of the internet families


async def _connect(family: int, own: Sockaddr | None, there: Sockaddr) -> socket.socket:
    """Connect from a port that other connections use too. Cancelled, it leaves nothing open."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        for name in ("SO_REUSEADDR", "SO_REUSEPORT"):
            if hasattr(socket, name):  # Windows has one of them, with another meaning
                sock.setsockopt(socket.SOL_SOCKET, getattr(socket, name), 1)
        sock.bind(own if own is not None else ("", 0))
        code = sock.connect_ex(there)
        if code == errno.EINPROGRESS:
            await trio.lowlevel.wait_writable(sock)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, errno.errorcode.get(code, "connect failed"))
    except BaseException:
        sock.close()
        raise
    return sock
