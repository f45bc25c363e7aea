"""Standing: finds out whether this node can be connected to, and keeps its places if it cannot.

Seeds and members are asked to connect to us where they see us. A node that some of them cannot
connect to keeps a connection to each seed and to the members nearest to its id, says so again and
again, and is a client of the DHT: it asks, and answers only seeds, so that it enters no table.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import trio

from meshnode.errors import MeshnodeError, PeerUnreachable
from meshnode.ids import Contact, PublicKey
from meshnode.machine import Random
from meshnode.net.pool import ConnectionPool
from meshnode.net.tokens import Tokens
from meshnode.net.transport import Transport
from meshnode.node.links import Link, Links
from meshnode.reach.verdicts import Standing, Verdicts
from meshnode.wire.messages import FindNode, GetRecords, PutRecord, Received
from meshnode.wire.reach import Examine, Examined, Reserve, Reserved

_log = logging.getLogger(__name__)
RENEW_S = 20.0
"""Less than an idle connection lasts, and than a NAT remembers one (RFC 5382 asks for more)."""
EXAMINE_AGAIN_S = 300.0
EXAMINE_SOON_S = 3.0
"""Until there is a verdict."""
EXAMINERS = 4
PLACES_WITH_MEMBERS = 2
MEMBERS_TRIED = 4
"""The nearest may be ones that cannot be connected to either."""
STRANGERS_MAX = 4
"""Those met at a rendezvous are connected to so many at once."""
MEET_S = 15.0


@dataclass(slots=True, kw_only=True)
class Reachability:
    """What this node knows of its own reachability, and what it does about it."""

    own: Contact
    links: Links
    pool: ConnectionPool
    tokens: Tokens
    rng: Random
    seeds: set[PublicKey]
    alive: Callable[[], Sequence[Contact]]
    met: Callable[[Contact], None]
    """A member that has a place where we have one is connected now."""
    relays: dict[PublicKey, bool] = field(default_factory=dict)
    """The rendezvous where we have a place, and whether each carries circuits."""
    observed: dict[PublicKey, str] = field(default_factory=dict)
    """The host that each examiner saw us at."""
    _verdicts: Verdicts = field(default_factory=Verdicts)
    _moved: trio.Event = field(default_factory=trio.Event)
    _standing: Standing = Standing.UNKNOWN
    _meeting: set[PublicKey] = field(default_factory=set)

    @property
    def standing(self) -> Standing:
        """Whether this node can be connected to, as far as it knows."""
        return self._standing

    def reasons(self) -> tuple[str, ...]:
        """Return why others could not connect."""
        return self._verdicts.reasons(trio.current_time())

    def lets_in(self, received: Received) -> bool:
        """Return whether the DHT gets a datagram: who cannot be reached is in no table."""
        if self._standing is not Standing.UNREACHABLE:
            return True
        question = isinstance(received.message, FindNode | GetRecords | PutRecord)
        return not question or received.sender.public_key in self.seeds

    async def run(self) -> None:
        """Keep finding out, and keep places, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_examined)
            for link in self.links.seeds:
                nursery.start_soon(self._keep_place, link, nursery)
            nursery.start_soon(self._keep_places_with_members, nursery)

    # ------------------------------------------------------------------ can we be reached?

    async def _keep_examined(self) -> None:
        while True:
            examiners = self._examiners()
            async with trio.open_nursery() as nursery:
                for link in examiners:
                    nursery.start_soon(self._be_examined, link)
            self._conclude(len(examiners))
            decided = self._standing is not Standing.UNKNOWN
            await trio.sleep(EXAMINE_AGAIN_S if decided else EXAMINE_SOON_S)

    def _examiners(self) -> list[Link]:
        """Return every seed and a few members, others each time."""
        members = [link for c in self.alive() if (link := self.links.member(c.node_id)) is not None]
        free = EXAMINERS - len(self.links.seeds)
        chosen = self.rng.sample(members, max(1, free)) if len(members) > max(1, free) else members
        return [*self.links.seeds, *chosen]

    async def _be_examined(self, link: Link) -> None:
        try:
            found = await self.examine_through(link)
        except MeshnodeError as error:
            _log.debug("%s did not examine us: %s", link.contact.address, error)
            return
        if not found.host:
            return  # a relay is in between: nothing was tried
        self._verdicts.note(
            link.contact.public_key,
            reached=found.reached,
            because=found.because,
            now=trio.current_time(),
        )

    async def examine_through(self, link: Link) -> Examined:
        """Have a peer connect to us, and return what it saw; raises what `Link.ask` raises."""
        key = link.contact.public_key
        token = self.tokens.make(key, _let_go)
        try:
            request = Examine(port=self.own.address.port, token=token)
            with self.links.asking(link):
                reply = await link.ask(request)
        finally:
            self.tokens.drop(token)
        if not isinstance(reply, Examined):
            raise PeerUnreachable(f"it answered with {type(reply).__name__}")
        self.observed[key] = reply.host
        return reply

    def _conclude(self, askable: int) -> None:
        before = self._standing
        self._standing = self._verdicts.standing(trio.current_time(), askable=askable)
        if before is not self._standing:
            reasons = "; ".join(self.reasons())
            if self._standing is Standing.UNREACHABLE:
                _log.warning("others cannot connect to this node: %s", reasons)
            elif self._standing is Standing.REACHABLE:
                _log.info("others can connect to this node")
        self._moved.set()
        self._moved = trio.Event()

    @property
    def needs_places(self) -> bool:
        """Whether somebody may want us and not reach us."""
        return self._standing is not Standing.REACHABLE or bool(self.reasons())

    # ------------------------------------------------------------------ places

    async def _keep_place(self, link: Link, nursery: trio.Nursery) -> None:
        while True:
            if self.needs_places:
                await self._renew(link, nursery)
            with trio.move_on_after(RENEW_S):
                moved = self._moved
                await moved.wait()

    async def _keep_places_with_members(self, nursery: trio.Nursery) -> None:
        while True:
            if self._standing is Standing.UNREACHABLE:
                kept = 0
                for link in self.links.of_ours(MEMBERS_TRIED):
                    kept += await self._renew(link, nursery)
                    if kept == PLACES_WITH_MEMBERS:
                        break
            with trio.move_on_after(RENEW_S):
                moved = self._moved
                await moved.wait()

    async def _renew(self, link: Link, nursery: trio.Nursery) -> bool:
        """Take or keep a place; return whether we have it."""
        key = link.contact.public_key
        try:
            with self.links.asking(link):
                reply = await link.ask(Reserve(contact=self.own))
        except MeshnodeError as error:
            self.relays.pop(key, None)
            _log.debug("no place at %s: %s", link.contact.address, error)
            return False
        if not isinstance(reply, Reserved):
            return False
        self.relays[key] = reply.relay
        known = {contact.public_key for contact in self.alive()} | {self.own.public_key}
        for contact in reply.present:
            new = contact.public_key not in known | self._meeting
            if new and len(self._meeting) < STRANGERS_MAX:
                self._meeting.add(contact.public_key)
                nursery.start_soon(self._meet, contact)
        return True

    async def _meet(self, contact: Contact) -> None:
        """Connect to a member we did not know; what follows goes over that connection."""
        try:
            await self.pool.connect(contact, timeout_s=MEET_S)
            self.met(contact)
        except MeshnodeError as error:
            _log.debug("could not meet %s: %s", contact.address, error)
        finally:
            self._meeting.discard(contact.public_key)


async def _let_go(transport: Transport) -> None:
    """Whoever came has shown that we can be reached; there is nothing to talk about."""
