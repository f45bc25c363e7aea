"""Tunnel: datagrams over a connection, where UDP does not get through.

Gossip and DHT speak UDP. Between two nodes of which one cannot be reached, or on a net that lets
only TCP pass, their sealed packets travel as calls on the connection there is, a relayed one too.
Directly is preferred: a contact that has been heard from where it is written to gets nothing here.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from meshnode.errors import MeshnodeError, RemoteProtocolError
from meshnode.ids import Contact, NodeId, PublicKey
from meshnode.net.addresses import is_literal
from meshnode.net.connection import Peer
from meshnode.net.pool import ConnectionPool
from meshnode.wire.messages import Received
from meshnode.wire.reach import Carry

HEARD_S = 15.0
"""A contact that was heard directly within this is written to directly: some probes of gossip."""
IN_FLIGHT_MAX = 64
"""Packets on their way through connections; more are dropped, as UDP would."""
CARRY_S = 5.0
CONTACTS_MAX = 2048
TRY_DIRECTLY_EVERY_S = 10.0
WAKE_AFTER_S = 1.0
"""So long a contact may be silent before a connection to it is looked for."""
WAKE_EVERY_S = 30.0
"""Doubles each time in vain: most of those who are silent are gone."""
WAKE_EVERY_S_MAX = 600.0


@dataclass(slots=True)
class _Known:
    heard_at: float | None = None
    """Directly, from the address it is known by."""
    carried_at: float | None = None
    tried_at: float = 0.0
    """When something was last sent directly to one that is only known by its word."""
    written_at: float | None = None
    """Since when it is written to without being heard."""
    wake_at: float = 0.0
    wake_every_s: float = WAKE_EVERY_S


@dataclass(slots=True, kw_only=True)
class Tunnel:
    """Decides for each datagram whether it goes by UDP or over a connection."""

    own: Contact
    pool: ConnectionPool
    nursery: trio.Nursery
    open_packet: Callable[[bytes, Contact], Received | None]
    """Opens a sealed packet as if it had come by UDP from this contact."""
    deliver: Callable[[Received], None]
    wake: Callable[[Contact], None]
    """Looks for a connection to a contact, in the background."""
    carried: int = 0
    dropped: int = 0
    _in_flight: int = 0
    _known: "OrderedDict[Contact, _Known]" = field(default_factory=OrderedDict)
    _carries: "OrderedDict[PublicKey, float]" = field(default_factory=OrderedDict)
    """When a node last sent us a packet over its connection."""
    _last_heard: "OrderedDict[PublicKey, float]" = field(default_factory=OrderedDict)

    def heard(self, received: Received) -> None:
        """A datagram came by UDP."""
        now, sender = trio.current_time(), received.sender
        known = self._entry(sender)
        known.heard_at, known.written_at, known.wake_every_s = now, None, WAKE_EVERY_S
        self._last_heard[sender.public_key] = now
        if len(self._last_heard) > CONTACTS_MAX:
            self._last_heard.popitem(last=False)

    def heard_s(self, key: PublicKey) -> float | None:
        """Return how long ago a datagram came from a node by UDP, or None."""
        at = self._last_heard.get(key)
        return None if at is None else trio.current_time() - at

    @property
    def stands_in(self) -> bool:
        """Whether members are heard of late, and none of them by UDP."""
        since = trio.current_time() - HEARD_S
        carried = any(at > since for at in self._carries.values())
        return carried and not any(at > since for at in self._last_heard.values())

    def takes(self, recipient: Contact, packet: bytes) -> bool:
        """Take a sealed packet if it should not (also) be sent by UDP.

        A contact that was heard is at that address, but need not hear us: one that carries its
        packets to us does so because it hears nothing.
        """
        now = trio.current_time()
        known = self._entry(recipient)
        heard = known.heard_at is not None and now - known.heard_at < HEARD_S
        if heard and now - self._carries.get(recipient.public_key, -HEARD_S) >= HEARD_S:
            return False
        known.written_at = now if known.written_at is None else known.written_at
        connection = self.pool.connection_with(recipient.node_id)
        if connection is None:
            self._look_for(recipient, known, now)
            return known.carried_at is not None and not heard
        self._send(recipient.node_id, packet)
        if heard or (not connection.peer.relayed and known.carried_at is None):
            return False
        # Where it says it is was never proved, and may be a third party: once in a while will do.
        if now - known.tried_at < TRY_DIRECTLY_EVERY_S:
            return True
        known.tried_at = now
        return False

    def doubt(self, contact: Contact) -> None:
        """Gossip has no answer from a contact: a connection may show that only UDP has failed."""
        if self.pool.connection_with(contact.node_id) is None:
            now, known = trio.current_time(), self._entry(contact)
            known.heard_at = None
            self._wake(contact, known, now)

    def arrived(self, peer: Peer, carry: Carry) -> None:
        """Take in what a peer sent over its connection; a forgery is a RemoteProtocolError."""
        contact = carry.contact
        if contact.public_key != peer.public_key or not is_literal(contact.address.host):
            raise RemoteProtocolError("a datagram carried for somebody else")
        now = trio.current_time()
        self._carries[peer.public_key] = now
        if len(self._carries) > CONTACTS_MAX:
            self._carries.popitem(last=False)
        received = self.open_packet(b"".join(bytes(part) for part in carry.body), contact)
        if received is None:
            return  # a copy of one that came by UDP, or nothing of ours
        if received.sender.public_key != peer.public_key:
            raise RemoteProtocolError("a carried datagram of another node")
        self._entry(contact).carried_at = now
        self.carried += 1
        self.deliver(received)

    def _look_for(self, contact: Contact, known: _Known, now: float) -> None:
        if known.written_at is not None and now - known.written_at >= WAKE_AFTER_S:
            self._wake(contact, known, now)

    def _wake(self, contact: Contact, known: _Known, now: float) -> None:
        if now >= known.wake_at:
            known.wake_at = now + known.wake_every_s
            known.wake_every_s = min(2 * known.wake_every_s, WAKE_EVERY_S_MAX)
            self.wake(contact)

    def _send(self, node_id: NodeId, packet: bytes) -> None:
        if self._in_flight >= IN_FLIGHT_MAX:
            self.dropped += 1
            return
        self._in_flight += 1
        self.nursery.start_soon(self._carry, node_id, packet)

    async def _carry(self, node_id: NodeId, packet: bytes) -> None:
        try:
            carry = Carry(contact=self.own, body=(packet,))
            await self.pool.call_over(node_id, carry, timeout_s=CARRY_S)
        except MeshnodeError:
            self.dropped += 1
        finally:
            self._in_flight -= 1

    def _entry(self, contact: Contact) -> _Known:
        known = self._known.get(contact)
        if known is None:
            known = self._known[contact] = _Known()
            if len(self._known) > CONTACTS_MAX:
                self._known.popitem(last=False)
        return known
