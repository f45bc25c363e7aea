"""What stands between a site and the rest: nothing, a firewall, or one of the four kinds of NAT.

The kinds are those of RFC 3489 section 5 (RFC 4787 calls them by mapping and filtering). Pure:
time is an argument, ports are given out in order.
"""

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address

from tests.netns.packets import Endpoint, Flow

FIRST_PORT = 40_000


class Kind(Enum):
    """What a gateway does to a packet from outside that nobody inside asked for."""

    OPEN = "open"
    FIREWALL = "firewall"
    """Addresses stay; inward only what answers something sent outward."""
    FULL_CONE = "full-cone"
    RESTRICTED = "restricted"
    PORT_RESTRICTED = "port-restricted"
    SYMMETRIC = "symmetric"

    @property
    def translates(self) -> bool:
        """Whether inside addresses are hidden behind the gateway's own."""
        return self not in (Kind.OPEN, Kind.FIREWALL)


@dataclass(slots=True)
class _Mapping:
    inside: Endpoint
    used_at: float


class Gateway:
    """One site's gateway with what it remembers of the packets that left."""

    def __init__(self, kind: Kind, outside: IPv4Address, *, forgets_after_s: float = 120.0) -> None:
        self.kind = kind
        self.outside = outside
        self.forgets_after_s = forgets_after_s
        self._mappings: dict[tuple[int, int], _Mapping] = {}
        """(protocol, outside port) -> who inside."""
        self._ports: dict[tuple[int, Endpoint, Endpoint | None], int] = {}
        self._asked: dict[tuple[int, Endpoint, Endpoint], float] = {}
        """(protocol, inside, remote) -> when last sent."""
        self._next_port = FIRST_PORT

    def forget(self) -> None:
        """Lose every mapping, as a router that restarts: whoever returns has another port."""
        self._mappings.clear()
        self._ports.clear()
        self._asked.clear()

    def leave(self, flow: Flow, now: float) -> Endpoint:
        """Return the source that a packet on its way out shows to the world."""
        if self.kind is Kind.OPEN:
            return flow.source
        self._asked[flow.protocol, flow.source, flow.target] = now
        if not self.kind.translates:
            return flow.source
        remote = flow.target if self.kind is Kind.SYMMETRIC else None
        key = (flow.protocol, flow.source, remote)
        port = self._ports.get(key)
        if port is None or now - self._mappings[flow.protocol, port].used_at > self.forgets_after_s:
            port = self._ports[key] = self._next_port
            self._next_port += 1
        self._mappings[flow.protocol, port] = _Mapping(flow.source, now)
        return Endpoint(self.outside, port)

    def enter(self, flow: Flow, now: float) -> Endpoint | None:
        """Return who inside gets a packet from outside; None refuses it."""
        if self.kind is Kind.OPEN:
            return flow.target
        inside = flow.target
        if self.kind.translates:
            mapping = self._mappings.get((flow.protocol, flow.target.port))
            if mapping is None or now - mapping.used_at > self.forgets_after_s:
                return None
            inside = mapping.inside
        return inside if self._welcome(flow, inside, now) else None

    def _welcome(self, flow: Flow, inside: Endpoint, now: float) -> bool:
        if self.kind is Kind.FULL_CONE:
            return True
        asked = (
            (remote, at)
            for (protocol, who, remote), at in self._asked.items()
            if protocol == flow.protocol and who == inside
        )
        whole = self.kind is not Kind.RESTRICTED
        return any(
            now - at <= self.forgets_after_s
            and remote.host == flow.source.host
            and (not whole or remote.port == flow.source.port)
            for remote, at in asked
        )
