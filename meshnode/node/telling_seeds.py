"""Telling seeds who is expelled, so that they lead and carry nobody who is no member any more.

A seed and a member compare digests, and whoever lacks something gets it: when they connect, and at
once when somebody is expelled while they are connected. Nobody connects for it but the admin that
expels: so a large mesh does not come all together to say the same, and each node connects to its
seeds every few minutes anyway, to be examined.
"""

import logging

import trio

from meshnode.errors import MeshnodeError, RemoteProtocolError
from meshnode.machine import Random
from meshnode.net.connection import Peer
from meshnode.node.keyring_book import MeshBook
from meshnode.node.links import Link, Links
from meshnode.wire.reach import CompareExpelled, ExpelledCompared
from meshnode.wire.tensor import Body

_log = logging.getLogger(__name__)
COMPARE_EVERY_S = 300.0
"""Over a connection that lasts: a seed may have dropped a list that was too long."""
SOON_S = 2.0


class TellingSeeds:
    """One node's part in keeping the seeds informed."""

    def __init__(self, links: Links, book: MeshBook, rng: Random) -> None:
        self._links = links
        self._book = book
        self._rng = rng
        self._news = {link.contact.public_key: trio.Event() for link in links.seeds}
        for link in links.seeds:
            link.pool.on_change = self._connected

    def news(self) -> None:
        """Somebody more is expelled."""
        for event in self._news.values():
            event.set()

    async def run(self) -> None:
        """Keep every seed told, until cancelled."""
        async with trio.open_nursery() as nursery:
            for link in self._links.seeds:
                nursery.start_soon(self._keep_told, link)

    async def tell_now(self) -> int:
        """Tell every seed; return how many know it now."""
        told = 0
        for link in self._links.seeds:
            told += await self._try(link)
        return told

    async def compare(self, link: Link) -> bool:
        """Take what a seed knows and we do not, tell it what it lacks; return whether it knows all.

        Raises what `Link.ask` raises.
        """
        return await self._exchange(link, ()) or await self._exchange(
            link, (self._book.revocations_plain(),)
        )

    async def _exchange(self, link: Link, body: Body) -> bool:
        ask = CompareExpelled(revocations=self._book.revocations.digest(), body=body)
        with self._links.asking(link):
            reply = await link.ask(ask)
        if not isinstance(reply, ExpelledCompared):
            raise RemoteProtocolError(f"{type(reply).__name__} is no answer to CompareExpelled")
        if any(len(part) for part in reply.body):
            self._book.merge_revocations(b"".join(bytes(part) for part in reply.body))
        return reply.revocations == self._book.revocations.digest()

    async def _keep_told(self, link: Link) -> None:
        key = link.contact.public_key
        while True:
            with trio.move_on_after(COMPARE_EVERY_S * (0.5 + self._rng.random())):
                await self._news[key].wait()
                await trio.sleep(SOON_S * self._rng.random())
            self._news[key] = trio.Event()
            if link.pool.connection_with(link.contact.node_id) is not None:
                await self._try(link)

    async def _try(self, link: Link) -> bool:
        try:
            return await self.compare(link)
        except MeshnodeError as error:
            _log.debug("%s is not told who is expelled: %s", link.contact.address, error)
            return False

    def _connected(self, peer: Peer, here: bool) -> None:
        if here:
            self._news[peer.public_key].set()
