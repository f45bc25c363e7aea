"""What a node does about those who are expelled from its mesh.

No datagram of theirs is opened or sent to them, no channel with them or with what they admitted
is kept or opened, gossip's and the DHT's word about them is not listened to, and what they
published or certified is discarded and refused.
"""

import logging
from dataclasses import replace

import trio

from meshnode.net.datagrams import DatagramSocket
from meshnode.net.pool import ConnectionPool
from meshnode.node.directory import Directory
from meshnode.node.keyring_book import MeshBook
from meshnode.node.lanes import Lanes
from meshnode.node.library import Library
from meshnode.node.membership import Membership
from meshnode.node.revoking_words import without
from meshnode.wire.messages import Received

_log = logging.getLogger(__name__)


class Expelled:
    """Acts on every revocation that is learnt."""

    def __init__(
        self,
        *,
        book: MeshBook,
        membership: Membership,
        directory: Directory,
        datagrams: DatagramSocket,
        pool: ConnectionPool,
        library: Library,
        lanes: Lanes,
    ) -> None:
        self._book = book
        self._membership = membership
        self._directory = directory
        self._datagrams = datagrams
        self._pool = pool
        self._library = library
        self._lanes = lanes
        self._changed = trio.Event()

    def enforce(self) -> None:
        """Act on the revocations that are known; called when they change, and at the start."""
        for key in self._pool.expel(self._book.revocations.keys):
            self._book.judged(key, True)
        expelled = self._book.expelled
        self._datagrams.expelled = expelled
        self._datagrams.vouched.forget(expelled)
        for member in self._membership.members():
            if member.contact.public_key in expelled:
                self._directory.heard_of(member.contact, alive=False)
                self._membership.expel(member.contact.public_key)
        self._changed.set()

    async def run(self) -> None:
        """Discard what expelled publishers signed, whenever there is another, until cancelled."""
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            for info in await self._library.discard_untrusted():
                self._lanes.close(info.module)
                _log.warning("%s is discarded: its publisher is revoked", info.label)

    def without_expelled(self, received: Received) -> Received | None:
        """Return a datagram without what it says of expelled nodes, or None if nothing is left."""
        expelled = self._book.expelled
        if not expelled:
            return received
        message = without(received.message, expelled)
        if message is received.message:
            return received
        return None if message is None else replace(received, message=message)
