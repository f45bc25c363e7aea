"""Doctor: measures how this node stands with its mesh, or with one peer in both directions.

What follows from the measurements is decided in `reach/diagnosis.py`. A peer tells what it saw
itself; nothing is measured through a detour that is meant for the direct way.
"""

import platform
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from meshnode import __version__
from meshnode.caps import Caps
from meshnode.errors import (
    ClockApart,
    MeshnodeError,
    MissingPart,
    NotReachable,
    PeerUnknown,
    SeedUnreachable,
    UdpBlocked,
)
from meshnode.gossip.member import Member
from meshnode.identity.certificates import Certificate
from meshnode.ids import Address, short, to_text
from meshnode.net.addresses import why
from meshnode.net.connection import Connection
from meshnode.node.clock import unix_now
from meshnode.node.discovery import Discovery
from meshnode.node.links import Link
from meshnode.node.membership import Membership
from meshnode.node.pinning import Pins
from meshnode.node.reach import Reach
from meshnode.reach.diagnosis import (
    CLOCK_APART_MS,
    Diagnosis,
    Finding,
    Level,
    PairFacts,
    diagnose,
)
from meshnode.reach.steps import Way
from meshnode.reach.verdicts import Standing
from meshnode.wire.reach import Examined, Reserve, Reserved

CONNECT_S = 15.0
"""Through every detour: the last one begins after some seconds."""
TCP_S = 3.0
CLOCKS_MAX = 3
CERTIFICATE_DAYS_MIN = 14
DAY_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Doctor:
    """Examines this node and its peers when it is asked to."""

    reach: Reach
    membership: Membership
    caps: Caps
    mesh_name: str
    certificate: Callable[[], Certificate]
    held: Callable[[], int]
    discovery: Discovery | None
    pins: Pins

    # ------------------------------------------------------------------ this node

    async def examine(self) -> Diagnosis:
        """Return how this node stands with its mesh."""
        diagnosis = Diagnosis()
        diagnosis.findings += self._system()
        diagnosis.findings += self._mesh()
        async with trio.open_nursery() as nursery:
            for part in (self._seeds, self._neighbours, self._clocks):
                nursery.start_soon(_collect, part, diagnosis.findings)
        diagnosis.findings += self._udp()
        diagnosis.findings += self._reachable()
        diagnosis.findings += self._pinned()
        return diagnosis

    def _system(self) -> list[Finding]:
        python = f"Python {platform.python_version()}, meshnode {__version__}"
        found = [Finding(area="system", text=python)]
        if not self.caps & Caps.NN:
            found.append(
                Finding(
                    area="system",
                    text='this node does not run modules that need "nn"',
                    level=Level.WARNING,
                    error=MissingPart,
                    likely="onnxruntime is not installed, or caps leave it out",
                    try_="pip install onnxruntime",
                )
            )
        return found

    def _pinned(self) -> list[Finding]:
        found = [
            Finding(
                area="modules",
                text=f"pinned {pin.ref}: {pin.error.message}",
                level=Level.WARNING,
                error=type(pin.error),
                because=pin.error.because,
                try_=pin.error.try_,
            )
            for pin in self.pins.failed
            if pin.error is not None
        ]
        warm = sum(row["state"] == "warm" for row in self.pins.listed())
        if warm:
            found.insert(0, Finding(area="modules", text=f"{warm} pinned modules are warm"))
        return found

    def _mesh(self) -> list[Finding]:
        days = round((self.certificate().not_after - unix_now()) / DAY_S)
        text = f'member of "{self.mesh_name}", certificate valid {days} days'
        alive = len(self.membership.alive())
        return [
            Finding(area="mesh", text=text)
            if days >= CERTIFICATE_DAYS_MIN
            else Finding(
                area="mesh",
                text=text,
                level=Level.WARNING,
                error=ClockApart,
                try_="ask the node that invited this one for a new invite",
            ),
            Finding(area="mesh", text=f"{alive} other nodes are alive"),
            Finding(area="beacon", text=self._beacon()),
            Finding(area="store", text=f"{self.held()} modules held"),
        ]

    def _beacon(self) -> str:
        if self.discovery is None:
            return "none: switched off, or this node listens on loopback only"
        hosts = self.discovery.machine.hosts(trio.current_time())
        return f"heard from {hosts} other hosts of this mesh on the LAN"

    def _udp(self) -> list[Finding]:
        if not self.reach.udp_blocked:
            return []
        return [
            Finding(
                area="udp",
                text="no datagram comes in; what members send travels over connections",
                level=Level.WARNING,
                error=UdpBlocked,
                likely="a firewall here or at the provider drops UDP",
                try_=f"here: ufw allow {self.reach.own.address.port}/udp",
            )
        ]

    def _reachable(self) -> list[Finding]:
        standing, own = self.reach.standing, self.reach.own.address
        match standing.standing:
            case Standing.REACHABLE:
                return [Finding(area="network", text=f"others can connect to us (tcp {own})")]
            case Standing.UNKNOWN:
                return [Finding(area="network", text="nobody has tried to connect to us yet")]
            case Standing.UNREACHABLE:
                relays = sum(standing.relays.values())
                places = f"{len(standing.relays)} nodes lead others to us, {relays} of them relay"
                return [
                    Finding(
                        area="network",
                        text=f"others cannot connect to us (tcp {own})",
                        level=Level.WARNING if standing.relays else Level.FAILURE,
                        error=NotReachable,
                        because=(*standing.reasons(), places),
                        likely="a firewall here, or a NAT before this node, lets nobody in",
                        try_=f"here: ufw allow {own.port}   or forward it, and set mesh.advertise",
                    )
                ]

    async def _seeds(self) -> list[Finding]:
        found: list[Finding] = []
        for link in self.reach.links.seeds:
            try:
                reply = await link.ask(Reserve(contact=self.reach.own))
                relay = "relays" if isinstance(reply, Reserved) and reply.relay else "no relay"
                found.append(Finding(area="seed", text=f"{link.contact.address} answers ({relay})"))
            except MeshnodeError as error:
                found.append(
                    Finding(
                        area="seed",
                        text=f"{link.contact.address} does not answer",
                        level=Level.WARNING,
                        error=SeedUnreachable,
                        because=error.because or (error.message,),
                        try_="is the seed running? on it: meshnode bootstrap",
                    )
                )
        return found

    async def _neighbours(self) -> list[Finding]:
        found: list[Finding] = []
        for member in self.membership.alive():
            contact = member.contact
            if self.reach.tunnel.heard_s(contact.public_key) is None:
                text = f"no datagram of {member.name} has come in"
                found.append(
                    Finding(
                        area="network",
                        text=text,
                        level=Level.WARNING,
                        error=UdpBlocked,
                        try_=f"meshnode doctor --peer {member.name}",
                    )
                )
        return found

    async def _clocks(self) -> list[Finding]:
        offsets: list[float] = []
        for member in self.membership.alive()[:CLOCKS_MAX]:
            link = self.reach.links.member(member.contact.node_id)
            if link is not None:
                asked = await self._ask(link)
                if asked is not None:
                    offsets.append(asked[1])
        if not offsets:
            return []
        worst = max(abs(offset) for offset in offsets)
        text = f"clock within {worst / 1000:.1f} s of {len(offsets)} neighbours"
        if worst <= CLOCK_APART_MS:
            return [Finding(area="clock", text=text)]
        warning = Level.WARNING
        try_ = "timedatectl set-ntp true"
        return [Finding(area="clock", text=text, level=warning, error=ClockApart, try_=try_)]

    # ------------------------------------------------------------------ one peer

    async def examine_peer(self, name: str) -> Diagnosis:
        """Return how this node stands with one peer; raises PeerUnknown."""
        member = self._find(name)
        contact, reach = member.contact, self.reach
        began = trio.current_time()
        connection: Connection | None = None
        errors: tuple[str, ...] = ()
        had_one = reach.pool.connection_with(contact.node_id) is not None
        try:
            connection = await reach.pool.connect(contact, timeout_s=CONNECT_S)
        except MeshnodeError as error:
            errors = error.because or (error.message,)
        connect_ms = None if had_one else (trio.current_time() - began) * 1000
        there = await _tcp_opens(contact.address)
        udp_ms = await reach.probes.ping(contact, full=False)
        udp_full_ms = await reach.probes.ping(contact, full=True) if udp_ms is not None else None
        link = reach.links.member(contact.node_id)
        asked = await self._ask(link) if connection is not None and link is not None else None
        seen = asked[0] if asked is not None else None
        heard_ms = seen.heard_ms if seen is not None else None
        return Diagnosis(
            diagnose(
                PairFacts(
                    name=member.name or short(contact.node_id),
                    address=contact.address,
                    own_port=reach.own.address.port,
                    own_version=__version__,
                    path="" if connection is None else self._path(connection),
                    connect_ms=connect_ms,
                    connect_errors=errors,
                    there=there,
                    back_known=seen is not None and seen.host != "",
                    back="" if seen is None else seen.because,
                    seen_at="" if seen is None else seen.host,
                    udp_ms=udp_ms,
                    udp_full_ms=udp_full_ms,
                    udp_heard=heard_ms is not None and heard_ms < 5000,
                    clock_ms=None if asked is None else asked[1],
                    version="" if seen is None else seen.version,
                )
            )
        )

    def _find(self, name: str) -> Member:
        members = self.membership.members()
        found = [m for m in members if m.name == name] or [
            m for m in members if name and to_text(m.contact.node_id).startswith(name.upper())
        ]
        if len(found) == 1:
            return found[0]
        known = ", ".join(sorted(m.name for m in members)) or "none but this one"
        what = f"'{name}' means several nodes" if found else f"no node is called '{name}'"
        raise PeerUnknown(what, because=[f"known: {known}"], try_="meshnode peers")

    def _path(self, connection: Connection) -> str:
        if connection.peer.relayed:
            return f"relayed by {connection.peer.address}"
        if self.reach.was_met_half_way(connection.peer.node_id):
            return f"met half-way at {connection.peer.address}"
        worked = self.reach.way_of(connection.peer.node_id)
        if not connection.initiator:
            called = worked is not None and worked.way is Way.CALL_BACK
            return "called back" if called else "it connected to us"
        return f"directly at {connection.peer.address}"

    async def _ask(self, link: Link) -> tuple[Examined, float] | None:
        """Have a peer examine us; return that, and how many ms its clock is ahead of ours."""
        sent_ms = unix_now() * 1000
        began = trio.current_time()
        try:
            seen = await self.reach.standing.examine_through(link)
        except MeshnodeError:
            return None
        took_ms = (trio.current_time() - began) * 1000
        # The clock is read after the examination, just before the answer leaves.
        return seen, seen.unix_ms - sent_ms - took_ms


async def _tcp_opens(address: Address) -> str:
    """Return why a TCP connection cannot be opened; an empty text if it can."""
    try:
        with trio.move_on_after(TCP_S):
            stream = await trio.open_tcp_stream(address.host, address.port)
            await trio.aclose_forcefully(stream)
            return ""
    except OSError as error:
        return why(error)
    return f"no answer within {TCP_S:g} s"


async def _collect(part: Callable[[], Awaitable[list[Finding]]], into: list[Finding]) -> None:
    into += await part()
