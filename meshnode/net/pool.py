"""At most one connection to each peer, opened when first needed, usable from both ends.

Callers of one peer share one attempt to connect, and one connection. A call is made again by
itself only when it surely was not carried out; anything else is the caller's decision. Which ways
to a peer there are, and in which order, is told by `Detours`; without them there is its address.
"""

from collections.abc import Awaitable, Callable, Container, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import trio

from meshnode.errors import (
    DeadlineExceeded,
    NotAMember,
    NotTakenHere,
    PeerUnreachable,
    RemoteProtocolError,
)
from meshnode.ids import Contact, NodeId, PublicKey, node_id_of, short
from meshnode.net.channel import ChannelKeys
from meshnode.net.connection import Connection, Handler, NotCarriedOut, Peer
from meshnode.net.dialing import race
from meshnode.net.failures import error_of
from meshnode.net.handshaking import initiate
from meshnode.net.settings import NetSettings
from meshnode.net.transport import SocketTransport, Transport
from meshnode.net.watch import Watch
from meshnode.reach.steps import Step, Way
from meshnode.wire.messages import Failure, Reply, Request

TRIES_MAX = 3
"""Connections that were retired under a call; more than one in a row is a broken peer."""
SIMULTANEOUS_S = 1.0
"""Two connections of one pair that are this close were opened by both sides at once."""


class Detours(Protocol):
    """The ways to a node beyond the address it is known by."""

    def steps(self, contact: Contact) -> Sequence[Step]:
        """Return the ways to try."""
        ...

    async def call_back(self, contact: Contact) -> None:
        """Have it asked to connect to us; returns when it was asked. Raises PeerUnreachable."""
        ...

    async def circuit(self, contact: Contact) -> Transport:
        """Return a pipe to it through a relay, or raise PeerUnreachable."""
        ...

    async def half_way(self, contact: Contact) -> Transport:
        """Return a stream that it opened while we opened it, or raise PeerUnreachable."""
        ...

    def worked(self, contact: Contact, step: Step) -> None:
        """This way led to a connection."""
        ...


@dataclass(slots=True, eq=False)
class _Attempt:
    """One connect that any number of callers wait for."""

    done: trio.Event = field(default_factory=trio.Event)
    connection: Connection | None = None
    message: str = ""
    because: tuple[str, ...] = ()


class ConnectionPool:
    """The connections of one node. Connections it opens live in the nursery it is given."""

    def __init__(self, channel: ChannelKeys, settings: NetSettings, nursery: trio.Nursery) -> None:
        self._channel = channel
        self._settings = settings
        self._nursery = nursery
        self._handler: Handler = _takes_no_calls
        self._detours: Detours | None = None
        self._connections: dict[NodeId, Connection] = {}
        self._watch = Watch()
        nursery.start_soon(self._watch.run)
        self._running: set[Connection] = set()
        self._revoked: Container[PublicKey] = frozenset()
        self._attempts: dict[tuple[Contact, bool], _Attempt] = {}
        self._wanted: dict[NodeId, trio.Event] = {}
        """Set when a peer that was asked to connect to us has done so."""
        self.on_change: Callable[[Peer, bool], None] = _no_one_listens
        """Called with True when a connection is entered, False when a peer's last one is gone."""

    def __len__(self) -> int:
        return len(self._connections)

    def answer_with(self, handler: Handler) -> None:
        """Set who answers calls that peers make on connections this pool opened."""
        self._handler = handler

    def reach_by(self, detours: Detours) -> None:
        """Set who knows more ways to a node than its address."""
        self._detours = detours

    def connection_with(self, node_id: NodeId) -> Connection | None:
        """Return the connection to a node if there is one that takes calls; opens none."""
        connection = self._connections.get(node_id)
        return connection if connection is not None and connection.usable else None

    def peers(self) -> list[Peer]:
        """Return whom there is a usable connection with."""
        return [c.peer for c in self._connections.values() if c.usable]

    async def connect(self, contact: Contact, *, timeout_s: float | None = None) -> Connection:
        """Return the connection to a peer, opening one if need be; raises as `call` does."""
        allowed = self._settings.call_timeout_s if timeout_s is None else timeout_s
        return self.connection_with(contact.node_id) or await self._connect(
            contact, trio.current_time() + allowed
        )

    async def connect_anew(self, contact: Contact) -> Connection:
        """Connect to this very address, though there is a connection: the peer has none."""
        deadline = trio.current_time() + self._settings.call_timeout_s
        return await self._connect(contact, deadline, anew=True)

    async def call_over(self, node_id: NodeId, request: Request, *, timeout_s: float) -> Reply:
        """Call a peer over the connection there is; raises PeerUnreachable if there is none."""
        connection = self.connection_with(node_id)
        if connection is None:
            raise PeerUnreachable(f"{short(node_id)} is not connected")
        reply = await connection.call(request, deadline=trio.current_time() + timeout_s)
        if isinstance(reply, Failure):
            raise error_of(reply)
        return reply

    async def call(
        self,
        contact: Contact,
        request: Request,
        *,
        timeout_s: float | None = None,
        direct: bool = False,
    ) -> Reply:
        """Call a peer, connecting first if need be, and return its reply.

        A Failure is raised as the error it reports, its load attached. Raises PeerUnreachable if
        the peer cannot be reached or the connection is lost, DeadlineExceeded after `timeout_s`,
        Overloaded if too many calls to this peer are in flight. If it is cancelled, the peer is
        told to stop; a connect under way goes on for others. With `direct` nothing is sent over a
        relay, though it sees ciphertext only: raises NotTakenHere.
        """
        allowed = self._settings.call_timeout_s if timeout_s is None else timeout_s
        deadline = trio.current_time() + allowed
        node_id = node_id_of(contact.public_key)
        for tried in range(TRIES_MAX):
            connection = self._connections.get(node_id)
            if connection is None or not connection.usable:
                connection = await self._connect(contact, deadline)
            if direct and connection.peer.relayed:
                raise NotTakenHere("a relay leads to this node, and the data may not pass one")
            try:
                reply = await connection.call(request, deadline=deadline)
            except NotCarriedOut:
                if tried == TRIES_MAX - 1:
                    raise
                continue
            if isinstance(reply, Failure):
                raise error_of(reply)
            return reply
        raise AssertionError("the last try returns or raises")

    def drop(self, node_id: NodeId) -> None:
        """Close the connection to a node that is known to be gone."""
        connection = self._connections.get(node_id)
        if connection is not None:
            connection.close("the node is gone")

    def expel(self, revoked: Container[PublicKey]) -> list[PublicKey]:
        """Close every connection to a peer whose membership comes from a revoked key.

        Returns whom it closed to. Those that are retired and only finish their calls end too.
        """
        self._revoked = revoked
        return self.close_where(lambda peer: any(key in revoked for key in peer.line))

    def close_where(self, fallen: Callable[[Peer], bool]) -> list[PublicKey]:
        """Close every connection to a peer that is expelled; return whom it closed to."""
        chosen = [c for c in self._running if fallen(c.peer)]
        for connection in chosen:
            connection.close("the peer is revoked")
        return [connection.peer.public_key for connection in chosen]

    def _is_fallen(self, connection: Connection) -> bool:
        return any(key in self._revoked for key in connection.peer.line)

    async def carry(self, connection: Connection, handler: Handler) -> None:
        """Run a connection that a peer opened, and use it for own calls meanwhile."""
        if not self._keep(connection):
            connection.retire()
        await self._run(connection, handler)

    # ------------------------------------------------------------------ connecting

    async def _connect(
        self, contact: Contact, deadline: float, *, anew: bool = False
    ) -> Connection:
        attempt = self._attempts.get((contact, anew))
        if attempt is None:
            attempt = self._attempts[contact, anew] = _Attempt()
            self._nursery.start_soon(self._open, contact, anew, attempt)
        with trio.CancelScope(deadline=deadline) as scope:
            await attempt.done.wait()
        if scope.cancelled_caught:
            raise DeadlineExceeded(f"no connection to {_name(contact)} in time")
        if attempt.connection is None:
            raise PeerUnreachable(attempt.message, because=attempt.because)
        return attempt.connection

    async def _open(self, contact: Contact, anew: bool, attempt: _Attempt) -> None:
        """Connect, tell those who wait, then carry the connection until it ends."""
        connection: Connection | None = None
        attempt.message = f"cannot reach {_name(contact)}"
        attempt.because = ("this node is stopping",)
        own = True
        try:
            connection, step = await race(
                self._steps(contact, anew=anew),
                lambda step: self._try(contact, step),
                each_s=self._settings.connect_timeout_s,
            )
            own = step.way is not Way.CALL_BACK
            if self._detours is not None and not anew:
                self._detours.worked(contact, step)
        except PeerUnreachable as error:
            attempt.message = error.message or attempt.message
            attempt.because = error.because
        finally:
            del self._attempts[contact, anew]
            if connection is not None:
                kept = not own or self._keep(connection)
                attempt.connection = connection if kept else self._connections[contact.node_id]
            attempt.done.set()
        if connection is not None and own:
            if attempt.connection is not connection:
                connection.retire()
            await self._run(connection, self._handler)

    def _steps(self, contact: Contact, *, anew: bool) -> Sequence[Step]:
        if self._detours is None or anew:
            return (Step(Way.DIRECT, contact.address, 0.0),)
        return self._detours.steps(contact)

    async def _try(self, contact: Contact, step: Step) -> Connection:
        """Open a connection one way."""
        if step.way is Way.DIRECT:
            where = Contact(contact.public_key, step.address or contact.address)
            return await connect(where, self._channel, self._settings)
        assert self._detours is not None, "a detour comes from them"
        if step.way is Way.CIRCUIT:
            return await self._at_the_end_of(self._detours.circuit, contact)
        if step.way is Way.HALF_WAY:
            return await self._at_the_end_of(self._detours.half_way, contact)
        node_id = contact.node_id
        arrived = self._wanted.setdefault(node_id, trio.Event())
        try:
            await self._detours.call_back(contact)
            await arrived.wait()
            return self._connections[node_id]
        finally:
            if self._wanted.get(node_id) is arrived:
                del self._wanted[node_id]

    async def _at_the_end_of(
        self, detour: Callable[[Contact], Awaitable[Transport]], contact: Contact
    ) -> Connection:
        """Shake hands at the end of a detour; a detour for each key, as in `connect`."""
        *first, last = self._channel.offers()
        for psk in first:
            try:
                pipe = await detour(contact)
                return await secure(pipe, contact, self._channel, self._settings, psk=psk)
            except (RemoteProtocolError, trio.BrokenResourceError):
                continue
        pipe = await detour(contact)
        return await secure(pipe, contact, self._channel, self._settings, psk=last)

    async def _run(self, connection: Connection, handler: Handler) -> None:
        self._running.add(connection)
        if self._is_fallen(connection):  # revoked during the last step of the handshake
            connection.close("the peer is revoked")
        try:
            await connection.run(handler, self._watch)
        finally:
            self._running.discard(connection)
            if self._connections.get(connection.peer.node_id) is connection:
                del self._connections[connection.peer.node_id]
                self.on_change(connection.peer, False)

    def _keep(self, new: Connection) -> bool:
        """Enter a connection; if there is one already, decide which of the two stays.

        When both sides opened one at the same moment, both must come to the same answer: the one
        whose initiator has the smaller id. Otherwise the newer one stays, because the older may
        lead to a process that is no more. Return whether the new one stays.
        """
        old = self._connections.get(new.peer.node_id)
        if old is not None and old.usable:
            together = new.opened_at - old.opened_at < SIMULTANEOUS_S
            if together and old.initiator != new.initiator:
                own_is_smaller = self._channel.identity.node_id < new.peer.node_id
                if old.initiator == own_is_smaller:
                    return False
            old.retire()
        self._connections[new.peer.node_id] = new
        if new.peer.node_id in self._wanted and not new.initiator:
            self._wanted.pop(new.peer.node_id).set()
        self.on_change(new.peer, True)
        return True


async def connect(contact: Contact, channel: ChannelKeys, settings: NetSettings) -> Connection:
    """Open a secured connection to a contact; `run` it next.

    A peer that closes without a word may know only another of the keys that this node accepts, so
    they are tried one after the other. Raises OSError or trio.BrokenResourceError, and what
    `handshaking.initiate` raises. If it is cancelled, nothing stays open.
    """
    *first, last = channel.offers()
    for psk in first:
        try:
            return await connect_under(psk, contact, channel, settings)
        except (RemoteProtocolError, trio.BrokenResourceError):
            continue
    return await connect_under(last, contact, channel, settings)


async def connect_under(
    psk: bytes, contact: Contact, channel: ChannelKeys, settings: NetSettings
) -> Connection:
    """Open a secured connection under one psk, as `connect`."""
    transport = await SocketTransport.to(
        contact.address, unacknowledged_ms=settings.unacknowledged_ms
    )
    return await secure(transport, contact, channel, settings, psk=psk)


async def secure(
    transport: Transport,
    contact: Contact,
    channel: ChannelKeys,
    settings: NetSettings,
    *,
    psk: bytes | None = None,
) -> Connection:
    """Shake hands with a contact over a stream that leads to it; raises as `connect` does.

    Without a psk, under the channel's first offer.
    """
    try:
        secured = await initiate(transport, channel, expect=contact.public_key, psk=psk)
        return Connection(transport, secured, settings)
    except BaseException:
        transport.close()
        raise


async def _takes_no_calls(peer: Peer, request: Request) -> Reply:
    raise NotAMember("this node takes no calls")


def _no_one_listens(peer: Peer, here: bool, /) -> None:
    return


def _name(contact: Contact) -> str:
    return f"{short(contact.node_id)} at {contact.address}"
