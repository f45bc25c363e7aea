"""Binding one port for UDP and TCP, and saying in words why it cannot be done."""

import errno
import socket
from typing import Protocol

import trio

from meshnode.errors import ConfigError, MeshnodeError, PortTaken
from meshnode.net.addresses import family_of

EPHEMERAL_TRIES = 20
"""A port that the kernel chose for TCP may be taken for UDP."""


class Bindable(Protocol):
    """A DatagramSocket or a Listener."""

    async def bind(self, host: str, port: int) -> int:
        """Bind and return the port, or raise PortTaken or ConfigError."""
        ...

    def close(self) -> None:
        """Let go of the port."""
        ...


async def bind_socket(host: str, port: int, kind: int) -> socket.socket:
    """Return a bound, non-blocking socket, or raise PortTaken or ConfigError."""
    sock = socket.socket(family_of(host), kind)
    try:
        sock.setblocking(False)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
        found = await trio.socket.getaddrinfo(
            host or None, port, sock.family, kind, 0, socket.AI_PASSIVE
        )
        sock.bind(found[0][4])
    except OSError as error:
        sock.close()
        raise cannot_bind(error, host, port) from error
    except BaseException:
        sock.close()
        raise
    return sock


async def bind_both(
    datagrams: Bindable, listener: Bindable, host: str, port: int, *, tries: int = 1
) -> int:
    """Bind UDP and TCP on one port and return it.

    Port 0 lets the kernel choose. Otherwise `port` and the `tries - 1` ports above it are tried;
    raises PortTaken naming the range if none is free for both, ConfigError as `bind_socket`.
    """
    for step in range(EPHEMERAL_TRIES if port == 0 else tries):
        wanted = 0 if port == 0 else port + step
        if wanted > 65535:
            break
        try:
            bound = await listener.bind(host, wanted)
        except PortTaken:
            continue
        try:
            return await datagrams.bind(host, bound)
        except PortTaken:
            listener.close()
        except BaseException:
            listener.close()
            raise
    where = (
        f"port {port} is" if tries == 1 or port == 0 else f"ports {port} to {port + tries - 1} are"
    )
    raise PortTaken(
        f"{where} in use by another program on {host}",
        because=["a node needs the same port for TCP and UDP"],
        try_="choose another with --listen HOST:PORT",
    )


def cannot_bind(error: OSError, host: str, port: int) -> MeshnodeError:
    """Return the error for a failed bind: PortTaken or ConfigError."""
    if error.errno == errno.EADDRINUSE:
        return PortTaken(
            f"port {port} is in use by another program on {host}",
            try_="choose another with --listen HOST:PORT",
        )
    if isinstance(error, socket.gaierror):
        reason = "the host name is not known"
    elif error.errno == errno.EADDRNOTAVAIL:
        reason = "this host has no such address"
    elif error.errno == errno.EACCES:
        reason = "ports below 1024 need root"
    else:
        reason = error.strerror or str(error)
    return ConfigError(f"mesh.listen: cannot listen on {host}:{port}", because=[reason])
