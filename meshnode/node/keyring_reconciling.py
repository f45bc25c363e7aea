"""Reconciling: members compare keys and revocations, and whoever lacks some gets them.

News is told at once to some members, who tell others (as a rumour); and now and again each node
compares digests with a random member, which finds whoever was away when the rumour went round. A
node whose keys were all retired while it was away asks on the one channel that still opens.
"""

import logging
from collections.abc import Callable, Iterable

import trio

from meshnode.errors import MeshnodeError, NotAMember, RemoteProtocolError, Revoked
from meshnode.ids import Contact, NodeId
from meshnode.machine import Random
from meshnode.net.catching_up import LateChannel, catch_up
from meshnode.net.channel import MeshChannel
from meshnode.net.connection import NOT_ACCEPTED, Peer
from meshnode.net.pool import ConnectionPool
from meshnode.net.settings import NetSettings
from meshnode.node.keyring_book import MeshBook
from meshnode.node.membership import Membership
from meshnode.wire.messages import Body, Buffer, Reconcile, Reconciled

_log = logging.getLogger(__name__)
COMPARE_EVERY_S = 10.0
"""With one random member: 0.1 calls of 100 B a second, and a missed word is heard within some
tens of seconds."""
COMPARE_PAUSE_S = 2.0
"""Of the members that are met within this one is compared with: where thousands start at once, or
halves of a mesh meet again, each node opens few connections; the rumour does the rest."""
LATE_EVERY_S = 3.0
"""The same with one known node that does not answer gossip: it, or we, may know old keys only."""
RUMOUR_FANOUT = 4
TELL_AT_ONCE = 16
CALL_TIMEOUT_S = 5.0


class Reconciling:
    """One node's part in keeping every member's book the same."""

    def __init__(
        self,
        book: MeshBook,
        *,
        pool: ConnectionPool,
        channel: MeshChannel,
        membership: Membership,
        known: Callable[[], list[Contact]],
        rng: Random,
    ) -> None:
        """`known` are contacts that other sources remember: the DHT's and the peer cache's."""
        self._book = book
        self._pool = pool
        self._channel = channel
        self._membership = membership
        self._known = known
        self._rng = rng
        self._news = trio.Event()
        self._refused = False
        self._met: list[Contact] = []
        self._meeting = trio.Event()

    async def run(self) -> None:
        """Compare, spread news and look for the lost, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_comparing)
            nursery.start_soon(self._keep_spreading)
            nursery.start_soon(self._keep_seeking)

    def news(self) -> None:
        """Something changed here: tell some members soon."""
        self._news.set()

    def met(self, contact: Contact) -> None:
        """A member is alive that was not before: compare soon with it, or with a later one."""
        self._met = [contact]
        self._meeting.set()

    # ------------------------------------------------------------------ one exchange

    def answer(self, peer: Peer, ask: Reconcile) -> Reconciled:
        """Answer a member; one that knows retired keys only may ask this and nothing else."""
        if peer.certificate is None and peer.lagging is None:
            raise NotAMember("only a member may ask this")
        if any(key in self._book.revocations.keys for key in peer.line):
            # Its channel is older than its expulsion: the new key must not go through it.
            raise Revoked("this device's membership comes from one that is revoked")
        if any(len(part) for part in ask.body):
            self._merge(ask.body)
        keys, revocations = self._book.digests
        same = (keys, revocations) == (ask.keys, ask.revocations)
        return Reconciled(keys=keys, revocations=revocations, body=self._all(unless=same))

    async def tell(self, contact: Contact) -> bool:
        """Send a member everything; return whether it now has what we have."""
        keys, revocations = self._book.digests
        ask = Reconcile(keys=keys, revocations=revocations, body=self._all())
        return await self._exchange(contact, ask)

    async def compare(self, contact: Contact) -> bool:
        """Take what a member has and we lack, then tell it what it lacks."""
        keys, revocations = self._book.digests
        same = await self._exchange(contact, Reconcile(keys=keys, revocations=revocations))
        return same or await self.tell(contact)

    async def tell_all(self, contacts: Iterable[Contact]) -> dict[NodeId, bool]:
        """Tell many members, some at once; return who has it now. Unreachable ones have not."""
        found: dict[NodeId, bool] = {}
        limiter = trio.CapacityLimiter(TELL_AT_ONCE)

        async def tell(contact: Contact) -> None:
            async with limiter:
                try:
                    found[contact.node_id] = await self.tell(contact)
                except MeshnodeError as error:
                    found[contact.node_id] = False
                    _log.debug("%s has not heard of it: %s", contact.address, error)

        async with trio.open_nursery() as nursery:
            for contact in contacts:
                nursery.start_soon(tell, contact)
        return found

    async def _exchange(self, contact: Contact, ask: Reconcile) -> bool:
        reply = await self._pool.call(contact, ask, timeout_s=CALL_TIMEOUT_S)
        if not isinstance(reply, Reconciled):
            raise RemoteProtocolError(f"{type(reply).__name__} is no answer to Reconcile")
        return self._took(reply)

    def _took(self, reply: Reconciled) -> bool:
        """Take what came; return whether the other's digests were ours after that."""
        if any(len(part) for part in reply.body):
            self._merge(reply.body)
        return (reply.keys, reply.revocations) == self._book.digests

    def _merge(self, body: Body) -> None:
        if self._book.merge(_joined(body)):
            self.news()

    def _all(self, *, unless: bool = False) -> Body:
        return () if unless else (self._book.to_bytes(),)

    # ------------------------------------------------------------------ the tasks

    async def _keep_comparing(self) -> None:
        while True:
            with trio.move_on_after(COMPARE_EVERY_S * (0.5 + self._rng.random())):
                await self._meeting.wait()
            self._meeting = trio.Event()
            contacts, self._met = self._met or self._some(1), []
            await self._try(self._seek, contacts)
            await trio.sleep(COMPARE_PAUSE_S)

    async def _keep_spreading(self) -> None:
        while True:
            await self._news.wait()
            self._news = trio.Event()
            await self._try(self.tell, self._some(RUMOUR_FANOUT))

    async def _keep_seeking(self) -> None:
        """Ask known nodes that gossip does not reach: after a long sleep that is all of them."""
        while True:
            await trio.sleep(LATE_EVERY_S * (0.5 + self._rng.random()))
            alive = {m.contact.public_key for m in self._membership.alive()}
            lost = [c for c in self._known() if c.public_key not in alive | self._book.expelled]
            if lost:
                await self._seek(self._rng.choice(lost))

    async def _seek(self, contact: Contact) -> None:
        """Compare with a node under the keys we have, else ask it under what they became."""
        before = self._book.digests
        try:
            await self.compare(contact)
        except MeshnodeError:
            channel = LateChannel(self._channel, self._book.ring.late_keys())
            keys, revocations = before
            ask = Reconcile(keys=keys, revocations=revocations)
            try:
                reply = await catch_up(
                    contact, channel, ask, NetSettings(), timeout_s=CALL_TIMEOUT_S
                )
                self._took(reply)
            except MeshnodeError as error:
                self._say_why(contact, error)
                return
        self._membership.join((contact,))

    def _say_why(self, contact: Contact, error: MeshnodeError) -> None:
        """Log a failure; if it is that we are not accepted, so that an operator sees it, once."""
        refusals = [line for line in error.because if line.startswith(NOT_ACCEPTED)]
        if refusals and not self._refused:
            self._refused = True
            _log.warning("%s: %s", contact.address, refusals[0])
        else:
            _log.debug("nothing is heard from %s: %s", contact.address, error)

    async def _try(self, what: Callable[[Contact], object], contacts: list[Contact]) -> None:
        for contact in contacts:
            try:
                await what(contact)  # type: ignore[misc]  # both are coroutine functions
            except MeshnodeError as error:
                _log.debug("no comparison with %s: %s", contact.address, error)

    def _some(self, count: int) -> list[Contact]:
        expelled = self._book.expelled
        alive = [m.contact for m in self._membership.alive()]
        there = [c for c in alive if c.public_key not in expelled]
        return self._rng.sample(there, min(count, len(there)))


def _joined(body: Body) -> Buffer:
    return body[0] if len(body) == 1 else b"".join(bytes(part) for part in body)
