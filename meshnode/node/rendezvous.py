"""Rendezvous: leads members to nodes that cannot be connected to. Seeds do it, and every member.

It passes on who wants whom, over the connection that the wanted node keeps to it; carries circuits
if it is a relay; and tries to connect to a node that wants to know whether it can be reached. It
leads nobody to a node of another network, connects to no address but that of the asker's own end,
and carries nothing but between two members that both came with its token.
"""

from collections.abc import Callable, Container
from dataclasses import dataclass, field

import trio

from meshnode import __version__
from meshnode.errors import MeshnodeError, NotAMember, Overloaded, PeerUnreachable, Revoked
from meshnode.identity.keys import Identity
from meshnode.ids import Address, Contact, NetworkId, NodeId, PublicKey
from meshnode.machine import Random
from meshnode.net.addresses import why
from meshnode.net.connection import Peer
from meshnode.net.pool import ConnectionPool
from meshnode.net.relay import CircuitLimits, Splice, arrange
from meshnode.net.settings import NetSettings
from meshnode.net.tokens import Tokens
from meshnode.node.meetings import Meetings
from meshnode.reach.places import Booking, Places, PlaceSettings
from meshnode.reach.rate import AskRate, ByteRate
from meshnode.wire.limits import REASON_CHARS_MAX
from meshnode.wire.messages import Reply
from meshnode.wire.reach import (
    CallBack,
    Circuit,
    DialBack,
    Examine,
    Examined,
    Meet,
    OfferCircuit,
    OfferMeeting,
    OpenCircuit,
    Passed,
    Reserve,
    Reserved,
    Seen,
    WhereIs,
)

PASS_ON_S = 3.0
EXAMINE_S = 3.0
ASK_EVERY_S = 0.5
ASK_BURST = 20
"""Of one caller, all kinds together: forty nodes of a LAN find each other at a start."""
EXAMINATIONS_MAX = 16
"""Connects to askers under way at once."""

RendezvousRequest = Reserve | CallBack | OpenCircuit | Examine | Meet | WhereIs


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaySettings:
    """What a relay gives."""

    bytes_per_s: int
    """All circuits together."""
    circuit_bytes_max: int


@dataclass(slots=True)
class Counters:
    """What was asked of this rendezvous, as plain counters."""

    passed: int = 0
    circuits: int = 0
    met: int = 0
    """Brought together half-way; whether they met is not seen here."""
    refused: int = 0
    examined: int = 0
    carried_bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Open:
    """One circuit, and the keys that the memberships of its two ends come from."""

    network: NetworkId
    lines: tuple[PublicKey, ...]
    splice: Splice


@dataclass(slots=True, kw_only=True)
class Rendezvous:
    """Answers those who want to reach others."""

    identity: Identity
    pool: ConnectionPool
    tokens: Tokens
    rng: Random
    nursery: trio.Nursery
    unix_now: Callable[[], float]
    heard_s: Callable[[PublicKey], float | None]
    """How long ago a datagram came from a node directly, or None."""
    expelled: Callable[[NetworkId], Container[PublicKey]] = lambda network: frozenset()
    """The keys that no membership may come from. A member's channels look at it before."""
    relay: RelaySettings | None = None
    net: NetSettings = field(default_factory=NetSettings)
    places: Places = field(default_factory=lambda: Places(PlaceSettings()))
    counters: Counters = field(default_factory=Counters)
    _asks: AskRate = field(default_factory=lambda: AskRate(every_s=ASK_EVERY_S, burst=ASK_BURST))
    _rate: ByteRate | None = None
    _examining: int = 0
    _circuits: "dict[int, _Open]" = field(default_factory=dict)
    _meetings: Meetings = field(init=False)

    def __post_init__(self) -> None:
        self._meetings = Meetings(self.tokens)

    async def answer(self, peer: Peer, request: RendezvousRequest) -> Reply:
        """Answer one call of a member, or raise MeshnodeError."""
        if peer.certificate is None:
            raise NotAMember("only a member may ask this")
        if any(key in self.expelled(peer.certificate.network) for key in peer.line):
            raise Revoked("this device's membership comes from one that is revoked")
        try:
            if not self._asks.allows(peer.public_key, trio.current_time()):
                raise Overloaded("too many questions about others; ask again in a second")
            return await self._answer(peer, peer.certificate.network, request)
        except MeshnodeError:
            self.counters.refused += 1
            raise

    async def _answer(self, peer: Peer, network: NetworkId, request: RendezvousRequest) -> Reply:
        match request:
            case Reserve():
                return self._reserve(peer, network, request)
            case CallBack():
                return await self._call_back(peer, network, request)
            case OpenCircuit():
                return await self._open_circuit(peer, network, request)
            case Examine():
                return await self._examine(peer, network, request)
            case Meet():
                return await self._meet(peer, network, request)
            case WhereIs():
                found = await self._meetings.other(peer.public_key, request.token)
                return Seen(contact=found)

    def gone(self, node_id: NodeId) -> None:
        """A node's connection has ended."""
        self.places.leave(node_id)

    def expel(self, network: NetworkId) -> None:
        """Somebody was expelled from a mesh: close its connections, and end its circuits."""
        gone = self.expelled(network)

        def fallen(peer: Peer) -> bool:
            member = peer.certificate is not None and peer.certificate.network == network
            return member and any(key in gone for key in peer.line)

        self.pool.close_where(fallen)
        for circuit in list(self._circuits.values()):
            if circuit.network == network and any(key in gone for key in circuit.lines):
                circuit.splice.cut()

    # ------------------------------------------------------------------ places and calls back

    def _reserve(self, peer: Peer, network: NetworkId, request: Reserve) -> Reserved:
        now = trio.current_time()
        if request.contact.public_key != peer.public_key:
            raise NotAMember("a place is only for the one who asks")
        self.places.reserve(network, request.contact, peer.address.host, now)
        return Reserved(
            ttl_s=self.places.settings.place_ttl_s,
            relay=self.relay is not None,
            present=self.places.present(network, peer.public_key, self.rng, now),
        )

    async def _call_back(self, peer: Peer, network: NetworkId, request: CallBack) -> Passed:
        """Tell a node who wants it; where the asker is, is what we see and not what it says."""
        if peer.relayed:
            raise PeerUnreachable("who comes through a relay cannot be called back")
        self._check_connected(network, request.target)
        seen = Contact(peer.public_key, Address(peer.address.host, request.port))
        await self.pool.call_over(request.target, DialBack(contact=seen), timeout_s=PASS_ON_S)
        self.counters.passed += 1
        return Passed()

    def _check_connected(self, network: NetworkId, target: NodeId) -> None:
        """Raise PeerUnreachable unless a node of this network is connected here."""
        connection = self.pool.connection_with(target)
        certificate = connection.peer.certificate if connection is not None else None
        if certificate is None or certificate.network != network:
            raise PeerUnreachable("the node that is wanted is not connected here")

    async def _meet(self, peer: Peer, network: NetworkId, request: Meet) -> Circuit:
        """Tell a node that somebody comes to meet it half-way, and give each a token."""
        self._check_connected(network, request.target)
        target = self.pool.connection_with(request.target)
        assert target is not None, "it is connected"
        if request.target == peer.node_id:
            raise PeerUnreachable("nobody meets itself")
        now = trio.current_time()
        tokens = self._meetings.arrange(peer.public_key, target.peer.public_key, now)
        try:
            offer = OfferMeeting(token=tokens[1], caller=peer.public_key)
            await self.pool.call_over(request.target, offer, timeout_s=PASS_ON_S)
        except BaseException:
            self._meetings.call_off(tokens)
            raise
        self.counters.met += 1
        return Circuit(token=tokens[0])

    # ------------------------------------------------------------------ circuits

    async def _open_circuit(self, peer: Peer, network: NetworkId, request: OpenCircuit) -> Circuit:
        if self.relay is None:
            raise PeerUnreachable("this node is no relay")
        target = self.places.find(network, request.target, trio.current_time())
        self._check_connected(network, request.target)
        booking = self.places.book(peer.public_key, target.public_key)
        splice = Splice(
            limits=CircuitLimits(bytes_max=self.relay.circuit_bytes_max),
            rate=self._shared_rate(self.relay),
            on_end=lambda: self._ended(splice, booking),
        )
        self._circuits[booking.number] = _Open(network, self._lines(peer, target), splice)
        tokens: list[bytes] = []
        try:
            for end in (peer.public_key, target.public_key):
                tokens.append(self.tokens.make(end, splice.meet))
            offer = OfferCircuit(token=tokens[1], caller=peer.public_key)
            await self.pool.call_over(request.target, offer, timeout_s=PASS_ON_S)
        except BaseException:
            for token in tokens:
                self.tokens.drop(token)
            splice.give_up()
            raise
        self.counters.circuits += 1
        self.nursery.start_soon(splice.expire)
        return Circuit(token=tokens[0])

    def _lines(self, caller: Peer, target: Contact) -> tuple[PublicKey, ...]:
        connection = self.pool.connection_with(target.node_id)
        return (*caller.line, *(connection.peer.line if connection is not None else ()))

    def _ended(self, splice: Splice, booking: Booking) -> None:
        self.counters.carried_bytes += splice.carried
        self._circuits.pop(booking.number, None)
        self.places.release(booking)

    def _shared_rate(self, relay: RelaySettings) -> ByteRate:
        if self._rate is None:
            self._rate = ByteRate(relay.bytes_per_s)
        return self._rate

    # ------------------------------------------------------------------ can you be reached?

    async def _examine(self, peer: Peer, network: NetworkId, request: Examine) -> Examined:
        """Connect to where the asker's own connection comes from: no other host ever.

        Through a relay that is not seen, so nothing is tried, and the answer names no host.
        """
        if self._examining >= EXAMINATIONS_MAX:
            raise Overloaded("too many nodes are being examined here")
        self._examining += 1
        try:
            because = (
                "a relay is in between, so it does not see where this node is"
                if peer.relayed
                else await self._try(
                    Contact(peer.public_key, Address(peer.address.host, request.port)),
                    network,
                    request.token,
                )
            )
        finally:
            self._examining -= 1
        self.counters.examined += 1
        heard_s = self.heard_s(peer.public_key)
        return Examined(
            reached=not because,
            because=because[:REASON_CHARS_MAX],
            host="" if peer.relayed else peer.address.host,
            heard_ms=None if heard_s is None else min(2**32 - 1, round(heard_s * 1000)),
            unix_ms=round(self.unix_now() * 1000),
            version=__version__,
        )

    async def _try(self, contact: Contact, network: NetworkId, token: bytes) -> str:
        """Return why a node cannot be connected to; an empty text if it can."""
        try:
            with trio.move_on_after(EXAMINE_S):
                transport = await arrange(contact, token, self.identity, network, self.net)
                transport.close()
                return ""
        except PeerUnreachable as error:
            return "; ".join(error.because) or error.message
        except (MeshnodeError, OSError, trio.BrokenResourceError) as error:
            return f"{contact.address}: {why(error)}"
        return f"{contact.address}: no answer within {EXAMINE_S:g} s"
