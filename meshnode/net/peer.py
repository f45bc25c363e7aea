"""The other end of a connection: who it is, and who answers its calls."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from meshnode.errors import PeerUnreachable
from meshnode.identity.certificates import Certificate
from meshnode.ids import Address, NodeId, PublicKey
from meshnode.wire.messages import Reply, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Who is at the other end."""

    public_key: PublicKey
    node_id: NodeId
    certificate: Certificate | None
    """Its membership; None on an invite's channel."""
    invite: bytes | None
    """The psk of the invite it holds; None for a member."""
    address: Address
    """Where its end of the connection is; not where it listens."""
    lagging: Certificate | None = None
    """The membership of a peer whose mesh key is retired: it may only ask for the present ones."""
    line: tuple[PublicKey, ...] = ()
    """The keys that its membership comes from, its own last."""
    relayed: bool = False
    """A relay is in between, and `address` is the relay's."""


Handler = Callable[[Peer, Request], Awaitable[Reply]]
"""Answers one call. A MeshnodeError it raises becomes the Failure the caller gets."""


class NotCarriedOut(PeerUnreachable):
    """The call did not reach the peer's handler, so making it again is safe."""
