"""Links: whom this node asks to lead it to others. Its seeds, and members near the one it wants.

Nobody needs to announce its rendezvous: a node that cannot be connected to keeps a place with the
members whose ids are nearest to its own, so whoever wants it knows whom to ask.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import trio

from meshnode.errors import PeerUnreachable
from meshnode.identity.keys import Identity
from meshnode.identity.mesh import Mesh
from meshnode.identity.sealing import SEED_NETWORK
from meshnode.ids import Contact, NetworkId, NodeId, distance
from meshnode.net.connection import Peer
from meshnode.net.pool import ConnectionPool
from meshnode.net.seed_channel import ToSeedChannel
from meshnode.net.settings import NetSettings
from meshnode.wire.messages import Reply, Request

ASK_S = 4.0
"""One question to a rendezvous, which asks the wanted node in turn; connecting is not counted."""
SEEDS_ASKED_MAX = 4
MEMBERS_ASKED = 4
"""More than keep a place for a node: gossip's views of two nodes may differ."""

AnswerSeed = Callable[["Link", Peer, Request], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Link:
    """One rendezvous, and the connections through which it is asked."""

    contact: Contact
    network: NetworkId
    """Of its channel: the mesh's, or the seeds'."""
    pool: ConnectionPool

    @property
    def is_seed(self) -> bool:
        """Whether it is a seed, and no member."""
        return self.network == SEED_NETWORK

    async def ask(self, request: Request) -> Reply:
        """Ask; raises what `ConnectionPool.call` raises."""
        return await self.pool.call(self.contact, request, timeout_s=ASK_S)


class Links:
    """Every rendezvous of this node."""

    def __init__(
        self,
        identity: Identity,
        mesh: Mesh,
        pool: ConnectionPool,
        nursery: trio.Nursery,
        *,
        members: Callable[[], Sequence[Contact]],
        contact_of: Callable[[NodeId], Contact | None],
        answer_seed: AnswerSeed,
    ) -> None:
        """`members` are those believed alive; `contact_of` knows the others too."""
        self._mesh = mesh
        self._pool = pool
        self._own_id = identity.node_id
        self._members = members
        self._contact_of = contact_of
        self._asking: Counter[NodeId] = Counter()
        self.seeds = [
            Link(
                seed,
                SEED_NETWORK,
                ConnectionPool(
                    ToSeedChannel(identity, mesh, seed.public_key), NetSettings(), nursery
                ),
            )
            for seed in mesh.seeds[:SEEDS_ASKED_MAX]
        ]
        for link in self.seeds:
            link.pool.answer_with(_answering(link, answer_seed))

    def towards(self, wanted: NodeId) -> list[Link]:
        """Return whom to ask for a node: members near to it, and the seeds.

        Those we are connected with come first: asking them cannot take long.
        """
        members = self.near(wanted, MEMBERS_ASKED)
        quick = [m for m in members if self._pool.connection_with(m.contact.node_id) is not None]
        return [*quick, *self.seeds, *(m for m in members if m not in quick)]

    def near(self, wanted: NodeId, count: int) -> list[Link]:
        """Return the members nearest to an id, the nearest first."""
        found = sorted(
            (c for c in self._members() if c.node_id not in (wanted, self._own_id)),
            key=lambda contact: distance(contact.node_id, wanted),
        )
        return [Link(c, self._mesh.network, self._pool) for c in found[:count]]

    def member(self, node_id: NodeId) -> Link | None:
        """Return a member as a rendezvous, or None if it is not known where it listens."""
        contact = self._contact_of(node_id)
        return None if contact is None else Link(contact, self._mesh.network, self._pool)

    def of_ours(self, count: int) -> list[Link]:
        """Return the members with which this node may keep a place, the first ones first."""
        return self.near(self._own_id, count)

    def is_asked(self, node_id: NodeId) -> bool:
        """Return whether a node is being asked for others just now."""
        return self._asking[node_id] > 0

    @contextmanager
    def asking(self, link: Link) -> Iterator[Link]:
        """While this lasts, the rendezvous itself is not looked for through others."""
        node_id = link.contact.node_id
        self._asking[node_id] += 1
        try:
            yield link
        finally:
            self._asking[node_id] -= 1
            if not self._asking[node_id]:
                del self._asking[node_id]

    def nobody(self) -> PeerUnreachable:
        """Return the error for a node without any rendezvous."""
        return PeerUnreachable("there is no seed and no member to ask for it")


def _answering(link: Link, answer: AnswerSeed) -> Callable[[Peer, Request], Awaitable[Reply]]:
    async def handler(peer: Peer, request: Request) -> Reply:
        return await answer(link, peer, request)

    return handler
