"""IP addresses as sockets have them and as contacts have them; prefixes, and errors in words."""

import errno
import ipaddress
import socket
from functools import lru_cache

from meshnode.ids import Address

Sockaddr = tuple[str, int] | tuple[str, int, int, int]

_WORDS = {
    errno.ECONNREFUSED: "connection refused: nothing listens there",
    errno.ETIMEDOUT: "timed out",
    errno.EHOSTUNREACH: "no route to host",
    errno.ENETUNREACH: "no route: network is unreachable",
    errno.ECONNRESET: "connection reset",
}


@lru_cache(maxsize=4096)
def is_literal(host: str) -> bool:
    """Return whether `host` is an IP address and no name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=4096)
def is_private(host: str) -> bool:
    """Return whether an IP literal is loopback, link-local or of a private range."""
    ip = ipaddress.ip_address(host)
    return ip.is_private or ip.is_loopback or ip.is_link_local


@lru_cache(maxsize=4096)
def is_loopback(host: str) -> bool:
    """Return whether an IP literal is this host."""
    return ipaddress.ip_address(host).is_loopback


@lru_cache(maxsize=4096)
def prefix_of(host: str) -> bytes:
    """Return the /24 of an IPv4 literal or the /48 of an IPv6 literal: roughly one site."""
    packed = ipaddress.ip_address(host).packed
    return packed[:3] if len(packed) == 4 else packed[:6]


@lru_cache(maxsize=4096)
def from_sockaddr(sockaddr: Sockaddr) -> Address:
    """Return the address a socket reports; an IPv4 address seen through IPv6 is IPv4 again."""
    host = sockaddr[0]
    return Address(host.removeprefix("::ffff:") if "." in host else host, sockaddr[1])


def to_sockaddr(address: Address, family: int) -> Sockaddr:
    """Return what a socket of this family takes for an address whose host is a literal."""
    if family == socket.AF_INET6:
        host = address.host if ":" in address.host else f"::ffff:{address.host}"
        return (host, address.port, 0, 0)
    return (address.host, address.port)


def family_of(host: str) -> int:
    """Return the socket family that binds `host`; a name binds where it first resolves to IPv4."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def why(error: BaseException) -> str:
    """Return why a connection failed, in a few words; groups and causes are looked into."""
    if isinstance(error, BaseExceptionGroup):
        reasons = dict.fromkeys(why(inner) for inner in error.exceptions)
        return "; ".join(reasons)
    if isinstance(error, socket.gaierror):
        return "the host name is not known"
    if isinstance(error, OSError) and error.errno is not None:
        return _WORDS.get(error.errno) or (error.strerror or str(error)).lower()
    if error.__cause__ is not None:
        return why(error.__cause__)
    return str(error) or type(error).__name__


def primary_address() -> str:
    """Return the address of the interface that leads outward, or loopback. Sends nothing.

    Connecting a UDP socket only chooses a route; the address is from TEST-NET-1 (RFC 5737).
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"
