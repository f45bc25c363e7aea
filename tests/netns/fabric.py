"""The fate of every packet between the hosts: where it arrives and when, or that it does not.

Pure: packets and `now` in, deliveries out; all chance comes from one seeded generator. Links are
directed. A packet between sites passes both gateways.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from random import Random

from tests.netns.gateway import Gateway, Kind
from tests.netns.packets import Flow, flow_of, readdressed

BROADCAST = IPv4Address("255.255.255.255")
INTERNET = "internet"
"""The site of hosts that stand alone: between them are wide links, and no broadcast."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """How packets fare in one direction. Seconds, chances from 0 to 1, bits a second (0: any)."""

    delay_s: float = 0.0
    jitter_s: float = 0.0
    """Added delay, uniform up to this; the order of packets is kept."""
    loss: float = 0.0
    burst_loss: float = 0.0
    """Mean loss by bursts: the two-state channel of Gilbert (1960), which loses all while bad."""
    burst_packets: float = 8.0
    """Mean length of a burst."""
    rate_bps: float = 0.0
    queue_s: float = 0.3
    """A packet that would wait longer than this for the line is dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A LAN: its hosts reach each other directly, the rest through its gateway."""

    name: str
    kind: Kind = Kind.OPEN
    outside: str = "0.0.0.0"
    """The gateway's address, where it translates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One host and the site it stands in."""

    address: str
    site: str = INTERNET


@dataclass(frozen=True, slots=True)
class Delivery:
    """A packet that will arrive."""

    when: float
    host: int
    packet: bytes


@dataclass(slots=True)
class _Line:
    """What a directed link remembers."""

    free_at: float = 0.0
    last_at: float = 0.0
    bad: bool = False


@dataclass(slots=True)
class Fabric:
    """All hosts, sites and links."""

    hosts: list[Host]
    rng: Random
    sites: Iterable[Site] = ()
    wan: Link = field(default_factory=Link)
    lan: Link = field(default_factory=Link)
    counts: Counter[str] = field(default_factory=Counter)
    _special: dict[tuple[int, int], Link] = field(default_factory=dict)
    _cut: set[tuple[int, int]] = field(default_factory=set)
    _lines: dict[tuple[int, int], _Line] = field(default_factory=dict)
    _gateways: dict[str, Gateway] = field(default_factory=dict)
    _at: dict[tuple[str, IPv4Address], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Give each site its gateway and each host its place."""
        for site in self.sites:
            self._gateways[site.name] = Gateway(site.kind, IPv4Address(site.outside))
        for index, host in enumerate(self.hosts):
            self._gateways.setdefault(host.site, Gateway(Kind.OPEN, IPv4Address(0)))
            self._at[host.site, IPv4Address(host.address)] = index

    # ------------------------------------------------------------------ what a test changes

    def cut(self, some: Iterable[int], others: Iterable[int], *, one_way: bool = False) -> None:
        """Let nothing pass from `some` to `others`, nor back unless `one_way`."""
        others = list(others)
        pairs = {(a, b) for a in some for b in others}
        self._cut |= pairs if one_way else pairs | {(b, a) for a, b in pairs}

    def heal(self) -> None:
        """Undo every cut."""
        self._cut.clear()

    def link(self, a: int, b: int, terms: Link) -> None:
        """Set both directions between two hosts."""
        self._special[a, b] = self._special[b, a] = terms

    def everywhere(self, **changes: float) -> None:
        """Change these terms of every link."""
        self.wan = replace(self.wan, **changes)
        self.lan = replace(self.lan, **changes)
        self._special = {pair: replace(link, **changes) for pair, link in self._special.items()}

    def rebind(self, site: str) -> None:
        """Restart a site's gateway."""
        self._gateways[site].forget()

    # ------------------------------------------------------------------ one packet

    def carry(self, sender: int, packet: bytes, now: float) -> list[Delivery]:
        """Return where and when a packet of a host arrives."""
        flow = flow_of(packet)
        if flow is None:
            self.counts["not carried"] += 1
            return []
        if flow.target.host.is_multicast or flow.target.host == BROADCAST:
            near = [i for i in range(len(self.hosts)) if i != sender and self._are_near(sender, i)]
            return [d for i in near for d in self._send(sender, i, packet, now)]
        routed = self._route(sender, flow, packet, now)
        if routed is None:
            self.counts["no way"] += 1
            return []
        return self._send(sender, *routed, now)

    def _route(
        self, sender: int, flow: Flow, packet: bytes, now: float
    ) -> tuple[int, bytes] | None:
        """Return the receiving host and the packet as it will see it."""
        site = self.hosts[sender].site
        near = self._at.get((site, flow.target.host))
        if near is not None:
            return near, packet
        if self._gateways[site].kind.translates and not _has_ports(flow):
            return None
        shown = self._gateways[site].leave(flow, now)
        if shown != flow.source:
            packet = readdressed(packet, source=shown)
            flow = replace(flow, source=shown)
        for name, gateway in self._gateways.items():
            if gateway.kind.translates:
                if gateway.outside != flow.target.host:
                    continue
            elif (name, flow.target.host) not in self._at:
                continue
            return self._enter(name, gateway, flow, packet, now)
        return None

    def _enter(
        self, site: str, gateway: Gateway, flow: Flow, packet: bytes, now: float
    ) -> tuple[int, bytes] | None:
        inside = gateway.enter(flow, now)
        if inside is None:
            return None
        if inside != flow.target:
            packet = readdressed(packet, target=inside)
        return self._at[site, inside.host], packet

    def _send(self, a: int, b: int, packet: bytes, now: float) -> list[Delivery]:
        if (a, b) in self._cut:
            self.counts["cut"] += 1
            return []
        link = self._special.get((a, b), self.lan if self._are_near(a, b) else self.wan)
        line = self._lines.setdefault((a, b), _Line())
        if self._is_lost(link, line):
            self.counts["lost"] += 1
            return []
        when = now
        if link.rate_bps:
            when = max(now, line.free_at) + len(packet) * 8 / link.rate_bps
            if when - now > link.queue_s:
                self.counts["queue full"] += 1
                return []
            line.free_at = when
        when += link.delay_s + self.rng.random() * link.jitter_s
        line.last_at = when = max(when, line.last_at)
        self.counts["carried"] += 1
        return [Delivery(when, b, packet)]

    def _are_near(self, a: int, b: int) -> bool:
        return self.hosts[a].site == self.hosts[b].site != INTERNET

    def _is_lost(self, link: Link, line: _Line) -> bool:
        if link.burst_loss:
            leave = 1 / link.burst_packets
            enter = leave * link.burst_loss / (1 - link.burst_loss)
            line.bad = self.rng.random() >= leave if line.bad else self.rng.random() < enter
            if line.bad:
                return True
        return self.rng.random() < link.loss


def _has_ports(flow: Flow) -> bool:
    return bool(flow.source.port and flow.target.port)
