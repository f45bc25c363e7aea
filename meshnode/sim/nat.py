"""NAT boxes: addresses rewritten and filtered for each flow, in the four classical ways.

The terms are RFC 3489's, which people still use; RFC 4787 calls the first three endpoint-
independent mapping with three kinds of filtering, the last one address- and port-dependent.
"""

from dataclasses import dataclass, field
from enum import Enum

from meshnode.ids import Address

IDLE_S = 30.0
"""A mapping that nothing left through for so long is forgotten; home routers take 30 to 180 s."""
PORT_FIRST = 40_000


class NatKind(Enum):
    """Who may answer through a mapping, and whether there is one for each remote address."""

    FULL_CONE = "full cone"
    RESTRICTED = "restricted"
    PORT_RESTRICTED = "port restricted"
    SYMMETRIC = "symmetric"


@dataclass(slots=True)
class _Mapping:
    inside: Address
    used_at: float
    remotes: dict[Address, float] = field(default_factory=dict)
    """To whom something left through it, and when last."""


class Nat:
    """One box with one public address. Times are the world's."""

    def __init__(self, kind: NatKind, public_host: str, *, idle_s: float = IDLE_S) -> None:
        self.kind = kind
        self.public_host = public_host
        self.idle_s = idle_s
        self.refused = 0
        """Packets from outside that nobody inside had asked for."""
        self._outward: dict[tuple[Address, Address | None], int] = {}
        self._inward: dict[int, _Mapping] = {}
        self._port = PORT_FIRST

    def outward(self, inside: Address, remote: Address, now: float) -> Address:
        """Return the source address that a packet to `remote` shows outside."""
        key = (inside, remote if self.kind is NatKind.SYMMETRIC else None)
        port = self._outward.get(key)
        mapping = None if port is None else self._inward.get(port)
        if port is None or mapping is None or now - mapping.used_at > self.idle_s:
            port = self._next_port()
            mapping = _Mapping(inside, now)
            self._outward[key], self._inward[port] = port, mapping
        mapping.used_at = now
        mapping.remotes[remote] = now
        return Address(self.public_host, port)

    def inward(self, public: Address, remote: Address, now: float) -> Address | None:
        """Return whom inside a packet from `remote` is for, or None if it is not let through."""
        mapping = self._inward.get(public.port)
        if mapping is None or now - mapping.used_at > self.idle_s:
            self.refused += 1
            return None
        if not self._lets_in(mapping, remote, now):
            self.refused += 1
            return None
        return mapping.inside

    def rebind(self) -> None:
        """Forget every mapping, as a router that restarts: the next packets show other ports."""
        self._outward.clear()
        self._inward.clear()

    def _lets_in(self, mapping: _Mapping, remote: Address, now: float) -> bool:
        if self.kind is NatKind.FULL_CONE:
            return True
        if self.kind is NatKind.RESTRICTED:
            return any(
                other.host == remote.host and now - at <= self.idle_s
                for other, at in mapping.remotes.items()
            )
        at = mapping.remotes.get(remote)
        return at is not None and now - at <= self.idle_s

    def _next_port(self) -> int:
        self._port = PORT_FIRST if self._port >= 65_535 else self._port + 1
        return self._port
