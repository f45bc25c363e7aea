"""From what was measured between two nodes to what is wrong, why, and what to do about it.

Each finding that is not good has a code of `errors/`, so that `meshnode explain` and a script know
it. One guess at most, and marked as one.
"""

from dataclasses import dataclass, field
from enum import Enum

from meshnode.errors import (
    ClockApart,
    MeshnodeError,
    NotReachable,
    OneWay,
    PeerUnreachable,
    SmallPackets,
    UdpBlocked,
    VersionsApart,
)
from meshnode.ids import Address

CLOCK_APART_MS = 2000
"""Certificates allow for more; a clock that is off by so much is wrong all the same."""


class Level(Enum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of a diagnosis."""

    area: str
    text: str
    level: Level = Level.OK
    error: type[MeshnodeError] | None = None
    """None for what is good."""
    because: tuple[str, ...] = ()
    likely: str = ""
    try_: str = ""

    @property
    def code(self) -> str:
        """Its stable code, or an empty text."""
        return self.error.code if self.error is not None else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairFacts:
    """What was measured between this node and another."""

    name: str
    address: Address
    own_port: int
    own_version: str
    path: str
    """How the connection between the two came about; empty if there is none."""
    connect_ms: float | None = None
    connect_errors: tuple[str, ...] = ()
    there: str = ""
    """Why the peer's TCP port cannot be connected to from here; empty if it can."""
    back_known: bool = False
    """Whether the peer tried to connect to us."""
    back: str = ""
    """Why it could not; empty if it could, or did not try."""
    seen_at: str = ""
    """The host at which it sees us."""
    udp_ms: float | None = None
    """There and back with a small datagram; None if no answer came."""
    udp_full_ms: float | None = None
    """The same with one of 1,216 bytes."""
    udp_heard: bool = False
    """The peer has heard our datagrams of just now."""
    clock_ms: float | None = None
    """How far its clock is ahead of ours."""
    version: str = ""


def diagnose(facts: PairFacts) -> list[Finding]:
    """Return what to tell about a peer, in the order of the things that depend on each other."""
    findings = [_connection(facts)]
    if not facts.path:
        findings += [_there(facts)] if facts.there else []
        return [*findings, *_udp(facts)]
    return [*findings, _there(facts), _back(facts), *_udp(facts), *_beside(facts)]


def _connection(facts: PairFacts) -> Finding:
    if not facts.path:
        return Finding(
            area="handshake",
            text=f"there is no way to {facts.name}",
            level=Level.FAILURE,
            error=PeerUnreachable,
            because=facts.connect_errors,
            likely=f"{facts.name} is off, or on a network of which no seed and no member is part",
            try_=f"on {facts.name}: meshnode doctor",
        )
    took = "" if facts.connect_ms is None else f" in {facts.connect_ms:.1f} ms"
    return Finding(area="handshake", text=f"{facts.name} answers, {facts.path}{took}")


def _there(facts: PairFacts) -> Finding:
    where = f"tcp {facts.address}"
    if not facts.there:
        return Finding(area="tcp there", text=f"we can connect to {facts.name} ({where})")
    if facts.back_known and not facts.back:
        return Finding(
            area="tcp there",
            text=f"{facts.name} can reach us, we cannot reach {facts.name} ({where})",
            level=Level.FAILURE,
            error=OneWay,
            because=(facts.there, f"meanwhile: {facts.path}"),
            likely=f"a firewall on {facts.name}, or a NAT before it, lets nobody in",
            try_=f"on {facts.name}: ufw allow {facts.address.port}",
        )
    return Finding(
        area="tcp there",
        text=f"we cannot connect to {facts.name} ({where})",
        level=Level.FAILURE,
        error=NotReachable,
        because=(facts.there, *((f"meanwhile: {facts.path}",) if facts.path else ())),
        likely=f"a firewall or a NAT between us and {facts.name}",
        try_=f"on {facts.name}: ufw allow {facts.address.port}",
    )


def _back(facts: PairFacts) -> Finding:
    if not facts.back_known:
        return Finding(
            area="tcp back",
            text=f"{facts.name} could not try to connect to us",
            level=Level.WARNING,
            error=NotReachable,
            because=(facts.back or "a relay is in between, so it does not see where we are",),
        )
    if not facts.back:
        return Finding(
            area="tcp back",
            text=f"{facts.name} can connect to us (it sees us at {facts.seen_at})",
        )
    return Finding(
        area="tcp back",
        text=f"we can reach {facts.name}, {facts.name} cannot connect to us"
        if not facts.there
        else f"{facts.name} cannot connect to us",
        level=Level.FAILURE,
        error=NotReachable if facts.there else OneWay,
        because=(f"it tried {facts.seen_at}", facts.back),
        likely="a firewall here, or a NAT before this node, lets nobody in",
        try_=f"here: ufw allow {facts.own_port}",
    )


def _udp(facts: PairFacts) -> list[Finding]:
    where = f"udp {facts.address}"
    if facts.udp_ms is None:
        heard = f"{facts.name} hears our datagrams, its answers are lost"
        return [
            Finding(
                area="udp",
                text=heard if facts.udp_heard else f"no datagram of ours is answered ({where})",
                level=Level.FAILURE if not facts.path else Level.WARNING,
                error=UdpBlocked,
                because=("they travel over the connection instead",) if facts.path else (),
                likely="a firewall here drops UDP"
                if facts.udp_heard
                else f"a firewall or a NAT on the way drops UDP to {facts.name}",
                try_=f"here: ufw allow {facts.own_port}/udp"
                if facts.udp_heard
                else f"on {facts.name}: ufw allow {facts.address.port}/udp",
            )
        ]
    found = [Finding(area="udp", text=f"there and back in {facts.udp_ms:.1f} ms ({where})")]
    if facts.udp_full_ms is None:
        return [
            *found,
            Finding(
                area="mtu",
                text="datagrams of 1,216 bytes are lost, small ones are not",
                level=Level.WARNING,
                error=SmallPackets,
                likely="a tunnel or VPN on the way has a small MTU and drops fragments",
                try_="set the MTU of the tunnel to 1,280 or more",
            ),
        ]
    return [*found, Finding(area="mtu", text="datagrams of 1,216 bytes get through")]


def _beside(facts: PairFacts) -> list[Finding]:
    found: list[Finding] = []
    if facts.clock_ms is not None:
        apart = abs(facts.clock_ms)
        text = f"the clocks are {apart / 1000:.1f} s apart"
        found.append(
            Finding(area="clock", text=text)
            if apart <= CLOCK_APART_MS
            else Finding(
                area="clock",
                text=text,
                level=Level.WARNING,
                error=ClockApart,
                likely="no time service on one of the two",
                try_="timedatectl set-ntp true",
            )
        )
    if facts.version:
        same = facts.version == facts.own_version
        found.append(
            Finding(
                area="version",
                text=f"both run {facts.version}"
                if same
                else f"{facts.name} runs {facts.version}, we run {facts.own_version}",
                level=Level.OK if same else Level.WARNING,
                error=None if same else VersionsApart,
                try_="" if same else "pip install --upgrade meshnode, on the older one",
            )
        )
    return found


@dataclass(slots=True)
class Diagnosis:
    """Findings, and how bad they are together."""

    findings: list[Finding] = field(default_factory=list)

    @property
    def failures(self) -> int:
        """How many failures there are."""
        return sum(f.level is Level.FAILURE for f in self.findings)

    @property
    def warnings(self) -> int:
        """How many warnings there are."""
        return sum(f.level is Level.WARNING for f in self.findings)
