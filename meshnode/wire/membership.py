"""The messages of section 3 of `docs/protocol.md`: membership and load, over UDP.

A member speaks for itself in a signed `MemberUpdate`, against another in a signed `Accusation`;
nobody else can say either. `messages` hands these on, so that readers need one import.
"""

from dataclasses import dataclass

from meshnode.caps import Caps
from meshnode.ids import Contact, NodeTag
from meshnode.labels import NO_TRAITS, Traits

SIGNATURE_BYTES = 64
UNNAMED = NodeTag(bytes(8))
"""In a call a load record has no name: it is that of who speaks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleLoad:
    """One module at one node, as placement needs it. Times in units of 0.1 ms."""

    module: NodeTag
    """First 8 bytes of the module's hash."""
    warm: bool
    """A lane is ready; else the module is only held on disk."""
    first: int
    """s1: time to complete one row on an empty lane; 0 if never measured."""
    unit: int
    """c: additional waiting that one more queued row causes (s(B)/B)."""
    each: int = 0
    """b: what one more row of a request adds to its run: 0 nothing, else 2^((each - 1) / 8) us."""
    waits: bool = False
    """Requests of it wait there: what an idle node may ask for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """What an excerpt of a load record says of all modules of its node, those not told too.

    A node keeps them in a list, in which each has its place; see `excerpts`.
    """

    listed: int
    """Checksum of the list's tags: in another list the places are those of other modules."""
    at: int
    """Place of the first module that is told; the others that are told follow it."""
    warm: int
    """Bit i: the module at place i is warm."""
    waits: int
    """Bit i: requests of the module at place i wait there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRecord:
    """How busy a node says it is (placement.md section 2). Times in units of 0.1 ms."""

    node: NodeTag
    """`UNNAMED` as it comes in a call."""
    sequence: int
    """Rises with every record of one node; with the start time in its high bits."""
    age_ms: int
    """Accumulated since the node wrote it; every relay adds its own holding time."""
    wait: int
    """w: time until a request arriving now would start."""
    wait_mean: int
    wait_sigma: int
    in_flight: int
    draining: bool
    speed: int
    """Nominal time of the fixed calibration run: how fast this machine is. Smaller is faster."""
    modules: tuple[ModuleLoad, ...] = ()
    rest: Rest | None = None
    """None: `modules` are all of them. Else this is an excerpt, and `modules` are those told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberUpdate:
    """A member's own word: that it lives, or leaves, at an incarnation. Signed by itself."""

    contact: Contact
    state: int
    """`gossip.member.MemberState`: alive or left; the other two are nobody's to say."""
    incarnation: int
    name: str
    caps: Caps
    traits: Traits = NO_TRAITS
    signature: bytes = bytes(SIGNATURE_BYTES)
    """Ed25519 by the contact's key over all of this and the network id (`gossip.words`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accusation:
    """One member's word that another, at this incarnation, did not answer. Signed by the first."""

    suspect: NodeTag
    incarnation: int
    accuser: NodeTag
    signature: bytes = bytes(SIGNATURE_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """SWIM direct probe. Words and loads ride along (piggyback)."""

    sequence: int
    updates: tuple[MemberUpdate, ...] = ()
    accusations: tuple[Accusation, ...] = ()
    loads: tuple[LoadRecord, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """Answer to a Ping, to a PingRequest whose target answered, or to a Subscribe."""

    sequence: int
    updates: tuple[MemberUpdate, ...] = ()
    accusations: tuple[Accusation, ...] = ()
    loads: tuple[LoadRecord, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PingRequest:
    """SWIM indirect probe: please ping `target` for me."""

    sequence: int
    target: Contact


@dataclass(frozen=True, slots=True, kw_only=True)
class Gossip:
    """One-way: words about members, and loads."""

    updates: tuple[MemberUpdate, ...] = ()
    accusations: tuple[Accusation, ...] = ()
    loads: tuple[LoadRecord, ...] = ()


class MembershipWord:
    """What the smaller messages have in common: they are gossip's, whatever they say."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Nack(MembershipWord):
    """Answer to a PingRequest: I pinged, and nothing came yet. So it is not your own network."""

    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest(MembershipWord):
    """Push-pull: one hash for each part of whom I believe present."""

    parts: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary(MembershipWord):
    """Answer to Digest: whom I believe present in some of the parts that differ.

    An entry is a tag and a u64, the incarnation, without anything between.
    """

    parts: bytes
    """The numbers of the parts that are listed whole, a byte each."""
    entries: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Want(MembershipWord):
    """Please send me the words of these members; their tags, without anything between."""

    tags: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Glimpses(MembershipWord):
    """The wide view of a large mesh: entries of 30 bytes about members (`gossip.glimpses`)."""

    entries: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribe(MembershipWord):
    """Send me your load for the next half minute; or no more, if not `wanted`."""

    sequence: int
    wanted: bool
