"""Which addresses a node connects to because somebody else asks it to.

A node that dials wherever it is told is a port scanner inside its owner's network (network.md,
attack 15). So it dials public addresses, and internal ones only where the asker learns nothing
that it could not find out itself: in the block of one of our own addresses, because a member that
was seen there is on the same LAN, or in the block of the rendezvous, which can connect there too.
"""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

V4_BLOCK_BITS = 24
V6_BLOCK_BITS = 64

INTERNAL = tuple(
    ip_network(block)
    for block in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "224.0.0.0/3",
        "::/127",
        "fc00::/7",
        "fe80::/10",
        "ff00::/8",
    )
)
"""Where only insiders can connect to, and what is no host at all. The blocks for documentation are
not among them: nobody lives there, and laboratories use them as their internet."""


@lru_cache(maxsize=4096)
def parsed(host: str) -> IPv4Address | IPv6Address | None:
    """Return an IP literal, an IPv4 address in IPv6 clothes as IPv4; None for a name."""
    try:
        ip = ip_address(host)
    except ValueError:
        return None
    return (ip.ipv4_mapped or ip) if isinstance(ip, IPv6Address) else ip


@lru_cache(maxsize=4096)
def is_internal(host: str) -> bool:
    """Return whether `host` is an address behind somebody's door, or none at all."""
    ip = parsed(host)
    return ip is None or any(ip.version == block.version and ip in block for block in INTERNAL)


@lru_cache(maxsize=4096)
def block_of(host: str) -> tuple[int, int] | None:
    """Return the /24 or /64 of an address, roughly one LAN; None for a name."""
    ip = parsed(host)
    if ip is None:
        return None
    bits = V4_BLOCK_BITS if ip.version == 4 else V6_BLOCK_BITS
    return ip.version, int(ip) >> (ip.max_prefixlen - bits)


def may_dial(host: str, port: int, *, near: Iterable[str]) -> bool:
    """Return whether to connect to an address somebody names; `near` are hosts we know."""
    ip = parsed(host)
    if ip is None or not 0 < port < 65536 or ip.is_multicast or ip.is_unspecified:
        return False
    return not is_internal(host) or block_of(host) in {block_of(own) for own in near}
