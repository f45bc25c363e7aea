"""One frozen dataclass for each message, and the unions that hold them.

The order here is the order of `docs/protocol.md`. A message knows nothing of bytes; a field
named `body` holds bulk that travels beside the CBOR header and never inside it.
"""

from dataclasses import dataclass
from typing import TypeAlias

from meshnode.constraints import UNCONSTRAINED, Constraints
from meshnode.ids import Contact, ContentHash, NodeId, NodeTag, PublicKey, RequestId
from meshnode.wire.dht_messages import FindNode as FindNode
from meshnode.wire.dht_messages import FoundNodes as FoundNodes
from meshnode.wire.dht_messages import FoundRecords as FoundRecords
from meshnode.wire.dht_messages import GetRecords as GetRecords
from meshnode.wire.dht_messages import PutRecord as PutRecord
from meshnode.wire.dht_messages import PutReply as PutReply
from meshnode.wire.idle import IdleCall as IdleCall
from meshnode.wire.idle import IdleReply as IdleReply
from meshnode.wire.intent import Granted as Granted
from meshnode.wire.intent import Intent as Intent
from meshnode.wire.membership import UNNAMED as UNNAMED
from meshnode.wire.membership import Accusation as Accusation
from meshnode.wire.membership import Ack as Ack
from meshnode.wire.membership import Digest as Digest
from meshnode.wire.membership import Glimpses as Glimpses
from meshnode.wire.membership import Gossip as Gossip
from meshnode.wire.membership import LoadRecord as LoadRecord
from meshnode.wire.membership import MembershipWord as MembershipWord
from meshnode.wire.membership import MemberUpdate as MemberUpdate
from meshnode.wire.membership import ModuleLoad as ModuleLoad
from meshnode.wire.membership import Nack as Nack
from meshnode.wire.membership import Ping as Ping
from meshnode.wire.membership import PingRequest as PingRequest
from meshnode.wire.membership import Rest as Rest
from meshnode.wire.membership import Subscribe as Subscribe
from meshnode.wire.membership import Summary as Summary
from meshnode.wire.membership import Want as Want
from meshnode.wire.overdue import LoadPing as LoadPing
from meshnode.wire.overdue import LoadPong as LoadPong
from meshnode.wire.reach import ReachReply, ReachRequest
from meshnode.wire.reconciling import Reconcile as Reconcile
from meshnode.wire.reconciling import Reconciled as Reconciled
from meshnode.wire.tensor import Body as Body
from meshnode.wire.tensor import Buffer as Buffer
from meshnode.wire.tensor import TensorHeader as TensorHeader
from meshnode.wire.terms import NO_TERMS, Terms
from meshnode.wire.urgency import USUAL, Urgency

NOBODY = NodeTag(bytes(8))
"""Where a tag must stand and there is no node to name."""


# ---------------------------------------------------------------- calls (TCP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Predict:
    """Run `module` on the tensors. `budget_ms` bounds time, `hops_left` bounds forwarding."""

    request_id: RequestId
    module: ContentHash
    source: str
    """Who produced the input (a camera id); placement may keep a source on one node."""
    budget_ms: int
    hops_left: int
    terms: Terms = NO_TERMS
    urgency: Urgency = USUAL
    constraints: Constraints = UNCONSTRAINED
    """What its sender asks; the module's own are in its manifest."""
    load: LoadRecord | None = None
    """Of its sender, if that is a node."""
    tensors: tuple[TensorHeader, ...]
    body: Body = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Where a request's time went at the node that ran it, in microseconds."""

    queue_us: int = 0
    """From arrival until its batch started."""
    cold_us: int = 0
    """Fetching, compiling and starting the module, if this request caused that."""
    run_us: int = 0
    """The batch in the worker thread, guest and model together."""
    model_us: int = 0
    """The part of `run_us` that onnxruntime took; 0 for a pure Wasm module."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The answer, who computed it, and how long each stage took."""

    request_id: RequestId
    served_by: NodeId
    module: ContentHash
    tensors: tuple[TensorHeader, ...]
    timing: Timing
    batch: int
    """How many requests ran together."""
    load: LoadRecord | None = None
    body: Body = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The answer when there is none: an `errors` code and its words."""

    code: str
    message: str
    because: tuple[str, ...] = ()
    try_: str = ""
    load: LoadRecord | None = None
    instead: NodeTag | None = None
    """The idle node that asked for this work: send it there."""
    retry_after_ms: int | None = None
    """When there will be a place for this request here, as far as that can be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Describe:
    """Send me what I need to know of this module to place or fetch it."""

    module: ContentHash


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """Answer to Describe. The head is signed; size and root are checked by the fetch."""

    module: ContentHash
    size: int
    root: bytes
    publisher_chain: tuple[bytes, ...]
    """Certificates from the mesh root to the publisher's key, or empty."""
    body: Body = ()
    """The module's head: everything up to and with its first signature delimiter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskHeld:
    """Which of these blobs do you hold whole?"""

    blobs: tuple[ContentHash, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Answer to AskHeld, in its order."""

    held: tuple[bool, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GetPieceHashes:
    """Send me the piece layer of this blob's verification tree."""

    blob: ContentHash


@dataclass(frozen=True, slots=True, kw_only=True)
class PieceHashes:
    """Answer to GetPieceHashes: 32 bytes for each piece, in the body."""

    blob: ContentHash
    size: int
    root: bytes
    body: Body = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GetPiece:
    """Send me piece `index` of this blob."""

    blob: ContentHash
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Answer to GetPiece."""

    blob: ContentHash
    index: int
    body: Body = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Please fetch and keep this module (replication on publish)."""

    module: ContentHash


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """Answer to Hold: it is here, verified. `sources` says from whom how many bytes came."""

    module: ContentHash
    sources: tuple[tuple[NodeId, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListModules:
    """Which modules do you hold?"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogEntry:
    """One module held at a node."""

    module: ContentHash
    name: str
    version: str
    publisher: PublicKey
    size: int
    warm: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Answer to ListModules."""

    entries: tuple[CatalogEntry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """A joiner's only call, on a channel keyed by an invite's secret: admit my key."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Answer to Join: everything a member needs."""

    mesh_name: str
    root_key: PublicKey
    mesh_key: bytes
    """32 bytes: the secret mixed into every datagram and channel of this mesh."""
    chain: tuple[bytes, ...]
    """The joiner's certificate chain, the root's first."""
    members: tuple[Contact, ...]
    seeds: tuple[Contact, ...]


Datagram: TypeAlias = (
    Ping
    | Ack
    | PingRequest
    | Gossip
    | FindNode
    | FoundNodes
    | GetRecords
    | FoundRecords
    | PutRecord
    | PutReply
    | Nack
    | Digest
    | Summary
    | Want
    | Glimpses
    | Subscribe
)
"""What travels over UDP: each fits `limits.DATAGRAM_BYTES_MAX`."""

ModuleRequest: TypeAlias = (
    Predict
    | Describe
    | AskHeld
    | GetPieceHashes
    | GetPiece
    | Hold
    | ListModules
    | IdleCall
    | LoadPing
    | Intent
)
ModuleReply: TypeAlias = (
    Prediction
    | Failure
    | Description
    | Held
    | PieceHashes
    | Piece
    | Holding
    | Catalog
    | IdleReply
    | LoadPong
    | Granted
)
Request: TypeAlias = ModuleRequest | Join | Reconcile | ReachRequest
Reply: TypeAlias = ModuleReply | Admission | Reconciled | ReachReply
StreamMessage: TypeAlias = Request | Reply
"""What travels over a connection."""


@dataclass(frozen=True, slots=True)
class Received:
    """Input to a machine: a datagram, and the verified contact that sent it."""

    sender: Contact
    message: Datagram
    proved: bool = True
    """The sender's address has answered us before (return routability)."""


@dataclass(frozen=True, slots=True)
class Send:
    """Effect of a machine: please send this datagram."""

    recipient: Contact
    message: Datagram
