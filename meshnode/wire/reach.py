"""The messages by which nodes reach one another: who may call whom back, circuits, checks.

Calls, as in `messages`. A rendezvous is a seed, or any member that has a connection with the node
that is wanted. Addresses in these messages are claims; what a rendezvous passes on of a caller is
the host it saw itself.
"""

from dataclasses import dataclass
from typing import TypeAlias

from meshnode.ids import Contact, NodeId, PublicKey
from meshnode.wire.tensor import Body


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserve:
    """To a rendezvous: tell me when somebody wants me. Said again before the time is up."""

    contact: Contact
    """The sender, with the address that it gives in gossip: how the others will know it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    """Answer to Reserve."""

    ttl_s: int
    relay: bool
    """This rendezvous carries circuits too."""
    present: tuple[Contact, ...]
    """Others of the mesh that have a place here, a random choice if there are many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallBack:
    """To a rendezvous: ask `target` to connect to me, where you see me, at this port."""

    target: NodeId
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DialBack:
    """From a rendezvous: this member wants a connection and cannot open it. Its host was seen."""

    contact: Contact


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCircuit:
    """To a relay: let me speak to `target`, which has a place with you."""

    target: NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class Circuit:
    """Answer to OpenCircuit: connect to me again with this psk, and you are through.

    To Meet: connect to me again with this psk, then ask WhereIs.
    """

    token: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferCircuit:
    """From a relay: connect to me again with this psk, and `caller` is at the other end."""

    token: bytes
    caller: PublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """Answer to CallBack, DialBack, OfferCircuit and Carry: it was taken; no more is promised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examine:
    """Try to connect to me where you see me, at this port, with this psk, and say what happens."""

    port: int
    token: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """Answer to Examine: what the other side saw."""

    reached: bool
    because: str
    """Why not, in a few words; empty if it did."""
    host: str
    """Where it saw the asker."""
    heard_ms: int | None
    """How long ago a datagram came from the asker directly; None if none did."""
    unix_ms: int
    """Its clock."""
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Carry:
    """A sealed datagram of mine, where UDP does not get through. `contact` is the sender."""

    contact: Contact
    body: Body = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareExpelled:
    """To a seed: which revocations of our mesh I know. A seed serves nobody who is expelled."""

    revocations: bytes
    """16 bytes: their digest, as in Reconcile."""
    body: Body = ()
    """Empty, or all of them: CBOR [[chain, [revocation, ...]], ...]. No secret is in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpelledCompared:
    """Answer to CompareExpelled: the seed's digest after it took what came with it."""

    revocations: bytes
    body: Body = ()
    """Empty if the digests are equal, else what the seed knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meet:
    """To a rendezvous: let `target` and me connect to each other at once. Answered by Circuit."""

    target: NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferMeeting:
    """From a rendezvous: connect to me with this psk, and `caller` and you can meet half-way."""

    token: bytes
    caller: PublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class WhereIs:
    """To a rendezvous, on being connected with this token: where do you see the other one?"""

    token: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Answer to WhereIs: the key of the other one, and where its connection comes from."""

    contact: Contact


ReachRequest: TypeAlias = (
    Reserve
    | CallBack
    | DialBack
    | OpenCircuit
    | OfferCircuit
    | Examine
    | Carry
    | CompareExpelled
    | Meet
    | OfferMeeting
    | WhereIs
)
ReachReply: TypeAlias = Reserved | Circuit | Passed | Examined | ExpelledCompared | Seen
