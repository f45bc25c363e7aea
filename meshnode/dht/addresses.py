"""What an address says about its owner: usable at all, and which network block it sits in.

An attacker has many keys but few address blocks, so a table and a shelf of records accept only so
many from one block (discv5's limits). Private addresses say nothing of the sort: behind them whole
meshes live in one /24.
"""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from meshnode.ids import Address

V4_GROUP_BITS = 24
V6_GROUP_BITS = 48
"""What one customer is usually given: an IPv6 /64 costs nothing."""


@lru_cache(maxsize=4096)
def group_of(host: str) -> str | None:
    """Return the /24 or /48 of a public address; None for private ones and for host names."""
    ip = _parse(host)
    if ip is None or not ip.is_global:
        return None
    bits = V4_GROUP_BITS if ip.version == 4 else V6_GROUP_BITS
    return f"{ip.version}:{int(ip) >> (ip.max_prefixlen - bits):x}"


@lru_cache(maxsize=4096)
def is_usable(address: Address) -> bool:
    """Return whether a contact that somebody tells us of may be written to.

    Only IP literals: resolving a stranger's host names would send queries where he likes.
    """
    ip = _parse(address.host)
    return (
        ip is not None
        and 0 < address.port <= 65535
        and not ip.is_multicast
        and not ip.is_unspecified
        and not (ip.version == 4 and ip.packed == b"\xff\xff\xff\xff")
    )


def _parse(host: str) -> IPv4Address | IPv6Address | None:
    try:
        ip = ip_address(host)
    except ValueError:
        return None
    # ::ffff:1.2.3.4 is 1.2.3.4, as a dual-stack socket sees it.
    return (ip.ipv4_mapped or ip) if isinstance(ip, IPv6Address) else ip
