"""Reach: how this node gets to others, and lets itself be got to. Pairs with `reach/`.

The pool asks it for the ways to a node (`Detours`). What others ask of this node, so that they can
reach it or somebody else, is answered here; each such connect is bounded in number, in rate and in
where it may lead.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import trio

from meshnode.errors import (
    MeshnodeError,
    NotAMember,
    Overloaded,
    PeerUnreachable,
)
from meshnode.identity.keys import Identity
from meshnode.ids import Address, Contact, NodeId, PublicKey, node_id_of, short
from meshnode.net.connection import Peer
from meshnode.net.listener import Listener
from meshnode.net.meeting import meet
from meshnode.net.pool import ConnectionPool
from meshnode.net.relay import arrange
from meshnode.net.settings import NetSettings
from meshnode.net.transport import Transport
from meshnode.node.links import Link, Links
from meshnode.node.probing import UdpProbes
from meshnode.node.rendezvous import Rendezvous
from meshnode.node.standing import Reachability
from meshnode.node.tunnel import Tunnel
from meshnode.node.upgrading import Upgrading
from meshnode.reach.dialable import may_dial
from meshnode.reach.rate import AskRate
from meshnode.reach.steps import Step, Way, WayMemory, Worked, plan
from meshnode.reach.verdicts import Standing
from meshnode.wire.messages import Reply, Request
from meshnode.wire.reach import (
    CallBack,
    Carry,
    Circuit,
    CompareExpelled,
    DialBack,
    Examine,
    Meet,
    OfferCircuit,
    OfferMeeting,
    OpenCircuit,
    Passed,
    ReachRequest,
    Reserve,
    Seen,
    WhereIs,
)

_log = logging.getLogger(__name__)
DIALS_MAX = 8
"""Connections that others asked us to open, under way at once."""
CIRCUITS_MAX = 16
"""Circuits that lead to us."""
DIAL_EVERY_S = 1.0
DIAL_BURST = 8
"""Dials for one caller: a node that connects and is answered needs one."""


@dataclass(slots=True, kw_only=True)
class Reach:
    """The ways to others, and to us."""

    identity: Identity
    own: Contact
    pool: ConnectionPool
    listener: Listener
    links: Links
    rendezvous: Rendezvous
    tunnel: Tunnel
    standing: Reachability
    probes: UdpProbes
    nursery: trio.Nursery
    other_addresses: Callable[[NodeId], Sequence[Address]]
    """Where else a node may be than where it is known to be."""
    net: NetSettings = field(default_factory=NetSettings)
    _memory: WayMemory = field(default_factory=WayMemory)
    _dial_rate: AskRate = field(
        default_factory=lambda: AskRate(every_s=DIAL_EVERY_S, burst=DIAL_BURST)
    )
    _met: set[NodeId] = field(default_factory=set)
    """Those whose connection was opened half-way by them, while it lasts."""
    _dialling: set[NodeId] = field(default_factory=set)
    _circuits: int = 0

    @property
    def near(self) -> tuple[str, ...]:
        """This node's own hosts."""
        return (self.own.address.host,)

    @property
    def udp_blocked(self) -> bool:
        """Datagrams seem not to get through, so they travel over connections, if at all."""
        return self.probes.datagrams.silence.blocked or self.tunnel.stands_in

    def upgrading(self) -> Upgrading:
        """Return what looks for direct ways to those who are connected through a relay."""
        return Upgrading(
            pool=self.pool, contact_of=self._contact_of, steps=self.steps, worked=self.worked
        )

    def _contact_of(self, node_id: NodeId) -> Contact | None:
        link = self.links.member(node_id)
        return None if link is None else link.contact

    # ------------------------------------------------------------------ to others (pool.Detours)

    def steps(self, contact: Contact) -> Sequence[Step]:
        """See `Detours.steps`."""
        node_id = contact.node_id
        return plan(
            (contact.address, *self.other_addresses(node_id)),
            near=self.near,
            detours=not self.links.is_asked(node_id),
            call_back=self.standing.standing is not Standing.UNREACHABLE,
            worked=self.way_of(node_id),
        )

    def way_of(self, node_id: NodeId) -> Worked | None:
        """Return the way by which a node was reached last, if it was lately."""
        return self._memory.of(node_id, trio.current_time())

    def was_met_half_way(self, node_id: NodeId) -> bool:
        """Return whether both sides opened the connection with a node at the same moment."""
        worked = self.way_of(node_id)
        return node_id in self._met or (worked is not None and worked.way is Way.HALF_WAY)

    def worked(self, contact: Contact, step: Step) -> None:
        """See `Detours.worked`. Whoever was to call back may have been met half-way first."""
        if step.way is Way.CALL_BACK and contact.node_id in self._met:
            step = replace(step, way=Way.HALF_WAY)
        self._memory.note(contact.node_id, step, trio.current_time())

    async def call_back(self, contact: Contact) -> None:
        """See `Detours.call_back`."""
        request = CallBack(target=contact.node_id, port=self.own.address.port)
        await self._ask(contact, request, Passed)

    async def circuit(self, contact: Contact) -> Transport:
        """See `Detours.circuit`."""
        link, reply = await self._ask(contact, OpenCircuit(target=contact.node_id), Circuit)
        assert isinstance(reply, Circuit), "checked where it was asked for"
        return await arrange(link.contact, reply.token, self.identity, link.network, self.net)

    async def half_way(self, contact: Contact) -> Transport:
        """See `Detours.half_way`."""
        link, reply = await self._ask(contact, Meet(target=contact.node_id), Circuit)
        assert isinstance(reply, Circuit), "checked where it was asked for"
        return await self._meet(link, reply.token, contact.public_key)

    async def _meet(self, link: Link, token: bytes, expected: PublicKey) -> Transport:
        async def where() -> Address:
            seen = await link.ask(WhereIs(token=token))
            if not isinstance(seen, Seen) or seen.contact.public_key != expected:
                raise PeerUnreachable(f"{_name_of(link)} does not say where the other one is")
            address = seen.contact.address
            near = (*self.near, link.contact.address.host)
            if not may_dial(address.host, address.port, near=near):
                raise PeerUnreachable("this node does not connect to such an address")
            return address

        return await meet(link.contact, token, self.identity, link.network, self.net, where=where)

    async def _ask(
        self, wanted: Contact, request: Request, expected: type[Reply]
    ) -> tuple[Link, Reply]:
        """Return the first rendezvous that takes a request, and its answer; they are asked in turn.

        Raises PeerUnreachable with the reason of each.
        """
        reasons: list[str] = []
        for link in self.links.towards(wanted.node_id):
            try:
                with self.links.asking(link):
                    reply = await link.ask(request)
            except MeshnodeError as error:
                reasons.append(f"{_name_of(link)}: {error.message}")
                continue
            if isinstance(reply, expected):
                return link, reply
            reasons.append(f"{_name_of(link)}: it answered with {type(reply).__name__}")
        raise PeerUnreachable("", because=reasons or [self.links.nobody().message])

    # ------------------------------------------------------------------ what others ask

    async def answer(self, peer: Peer, request: ReachRequest) -> Reply:
        """Answer a member's call about reaching somebody, or raise MeshnodeError."""
        if peer.certificate is None:
            raise NotAMember("only a member may ask this")
        match request:
            case Reserve() | CallBack() | OpenCircuit() | Examine() | Meet() | WhereIs():
                return await self.rendezvous.answer(peer, request)
            case DialBack():
                return self._dial_back(request.contact, near=peer.address.host, asker=peer)
            case OfferCircuit():
                return self._take_circuit(self._member_link(peer), request)
            case OfferMeeting():
                return self._take_meeting(self._member_link(peer), request)
            case CompareExpelled():
                raise NotAMember("members compare this by Reconcile; only a seed is told so")
            case Carry():
                self.tunnel.arrived(peer, request)
                return Passed()

    async def answer_seed(self, link: Link, peer: Peer, request: Request) -> Reply:
        """Answer a seed's call: it may only lead others to us."""
        if isinstance(request, DialBack):
            return self._dial_back(request.contact, near=peer.address.host, asker=peer)
        if isinstance(request, OfferCircuit):
            return self._take_circuit(link, request)
        if isinstance(request, OfferMeeting):
            return self._take_meeting(link, request)
        raise NotAMember("a seed may not ask this")

    def _member_link(self, peer: Peer) -> Link:
        link = self.links.member(peer.node_id)
        if link is None:
            raise PeerUnreachable("it is not known where this relay listens")
        return link

    def _dial_back(self, contact: Contact, *, near: str, asker: Peer) -> Passed:
        """Connect to a member that cannot connect to us, if it is where we may connect to.

        The answer says nothing of how it goes: it would tell the asker what is open where.
        """
        address = contact.address
        if not may_dial(address.host, address.port, near=(*self.near, near)):
            _log.info("%s had us dial %s: refused", short(asker.node_id), address)
            raise PeerUnreachable("this node does not connect to such an address")
        now = trio.current_time()
        if not self._dial_rate.allows(contact.public_key, now):
            raise Overloaded("asked too often to connect to the same node")
        if len(self._dialling) >= DIALS_MAX:
            raise Overloaded("too many nodes are to be connected to")
        if contact.node_id not in self._dialling:
            self._dialling.add(contact.node_id)
            self.nursery.start_soon(self._dial, contact)
        return Passed()

    async def _dial(self, contact: Contact) -> None:
        """Connect, and to nothing but the address that was named.

        A connection there is already does not help the other side, or it would not ask.
        """
        try:
            await self.pool.connect_anew(contact)
        except MeshnodeError as error:
            _log.debug("could not connect to %s: %s", contact.address, error)
        finally:
            self._dialling.discard(contact.node_id)

    def _take_circuit(self, link: Link, offer: OfferCircuit) -> Passed:
        if self._circuits >= CIRCUITS_MAX:
            raise Overloaded("as many circuits lead to this node as it takes")
        self._circuits += 1
        self.nursery.start_soon(self._serve_circuit, link, offer)
        return Passed()

    def _take_meeting(self, link: Link, offer: OfferMeeting) -> Passed:
        now = trio.current_time()
        if not self._dial_rate.allows(offer.caller, now):
            raise Overloaded("asked too often to connect to the same node")
        if len(self._dialling) >= DIALS_MAX:
            raise Overloaded("too many nodes are to be connected to")
        caller = node_id_of(offer.caller)
        if caller not in self._dialling:
            self._dialling.add(caller)
            self.nursery.start_soon(self._serve_meeting, link, offer)
        return Passed()

    async def _serve_meeting(self, link: Link, offer: OfferMeeting) -> None:
        """Meet somebody half-way, and let it shake hands as at our own door."""
        try:
            with trio.fail_after(2 * self.net.connect_timeout_s):
                transport = await self._meet(link, offer.token, offer.caller)
        except (MeshnodeError, OSError, trio.BrokenResourceError, trio.TooSlowError) as error:
            _log.info("nobody was met half-way by %s: %s", _name_of(link), error)
            return
        finally:
            self._dialling.discard(node_id_of(offer.caller))
        caller = node_id_of(offer.caller)
        self._met.add(caller)
        try:
            await self.listener.serve(transport)
        finally:
            self._met.discard(caller)

    async def _serve_circuit(self, link: Link, offer: OfferCircuit) -> None:
        """Go to the relay, and let whoever is at the other end shake hands as at our own door."""
        try:
            with trio.fail_after(self.net.connect_timeout_s):
                transport = await arrange(
                    link.contact, offer.token, self.identity, link.network, self.net
                )
            await self.listener.serve(transport)
        except (MeshnodeError, OSError, trio.BrokenResourceError, trio.TooSlowError) as error:
            _log.info("a circuit through %s did not come about: %s", _name_of(link), error)
        finally:
            self._circuits -= 1


def _name_of(link: Link) -> str:
    kind = "seed" if link.is_seed else "member"
    return f"{kind} {short(link.contact.node_id)}"
