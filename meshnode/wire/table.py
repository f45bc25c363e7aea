"""The layout of every message on the wire: its number, its fields with their bounds, its body.

One entry a message. Numbers and the order of fields are the protocol: append, never change.
`docs/protocol.md` describes the same table in words; `tests/vectors` holds its bytes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from meshnode.wire import limits, messages
from meshnode.wire.arrays import DTYPES, body_bytes
from meshnode.wire.constraints import CONSTRAINTS
from meshnode.wire.membership_table import CONTACT, MEMBERSHIP, NAME, TAG
from meshnode.wire.packed_load import SpokenLoadField
from meshnode.wire.reach_table import BODY_BYTES_MAX, REACH
from meshnode.wire.schema import (
    U16,
    U32,
    U64,
    Bytes,
    Choice,
    Field,
    Flag,
    LinesOf,
    ListOf,
    Misfit,
    OptionalOf,
    Pair,
    Record,
    Text,
    Uint,
    Words,
    exactly,
)
from meshnode.wire.tensor import TensorHeader
from meshnode.wire.terms import REFUSALS_MAX, Terms
from meshnode.wire.urgency import PRIORITIES, Urgency

HASH_BYTES = 32


def _check_tensor(head: TensorHeader) -> None:
    """Refuse a tensor whose size is not that of its shape.

    Python's whole numbers cannot overflow. Of an empty tensor the other dimensions are bounded as
    well: numpy refuses [0, 2**40, 2**40] though it has no element.
    """
    item = DTYPES[head.dtype][2]
    size = math.prod(head.shape) * item
    if head.size != size:
        raise Misfit(f"says {head.size} bytes, its shape {list(head.shape)} takes {size}")
    if not size and math.prod(filter(None, head.shape)) * item > limits.BODY_BYTES_MAX:
        raise Misfit(f"has the impossible shape {list(head.shape)}")


def _check_names(message: messages.Predict | messages.Prediction | messages.Intent) -> None:
    """Refuse two tensors of one name."""
    if len({head.name for head in message.tensors}) != len(message.tensors):
        raise Misfit("has two tensors of one name")


# ---------------------------------------------------------------- fields used more than once

ID = exactly(HASH_BYTES)
DIGEST = exactly(limits.DIGEST_BYTES)
BLOB_SIZE = Uint(limits.BLOB_BYTES_MAX)
CERTIFICATES = ListOf(Bytes(1, limits.CERTIFICATE_BYTES_MAX), limits.CERTIFICATE_CHAIN_MAX)
CONTACTS = ListOf(CONTACT, limits.CONTACTS_PER_REPLY_MAX)
KNOWN = Bytes(0, limits.KNOWN_BYTES_MAX)
SIGNED = Bytes(1, limits.SIGNED_BYTES_MAX)

SPOKEN = SpokenLoadField()
TENSOR = Record(
    TensorHeader,
    _check_tensor,
    name=Text(limits.TENSOR_NAME_CHARS_MAX, 1),
    dtype=Choice(frozenset(DTYPES)),
    shape=ListOf(Uint(limits.BODY_BYTES_MAX), limits.RANK_MAX),
    size=Uint(limits.BODY_BYTES_MAX),
)
TENSORS = ListOf(TENSOR, limits.TENSORS_MAX)
TERMS = Record(
    Terms,
    alternative=U32,
    refusals=Uint(REFUSALS_MAX),
    cold_refusals=Uint(REFUSALS_MAX),
    moved=Flag(),
)
URGENCY = Record(Urgency, priority=Uint(len(PRIORITIES) - 1), age_ms=U32)
TIMING = Record(messages.Timing, queue_us=U64, cold_us=U64, run_us=U64, model_us=U64)
CATALOG_ENTRY = Record(
    messages.CatalogEntry,
    module=ID,
    name=NAME,
    version=NAME,
    publisher=ID,
    size=BLOB_SIZE,
    warm=Flag(),
)


# ---------------------------------------------------------------- datagrams

DATAGRAMS: dict[int, Record] = {
    **MEMBERSHIP,
    5: Record(
        messages.FindNode,
        rpc=U64,
        target=ID,
        count=Uint(limits.CONTACTS_PER_REPLY_MAX),
        known=KNOWN,
    ),
    6: Record(messages.FoundNodes, rpc=U64, contacts=CONTACTS),
    7: Record(messages.GetRecords, rpc=U64, key=ID, known=KNOWN),
    8: Record(
        messages.FoundRecords,
        rpc=U64,
        records=ListOf(SIGNED, limits.RECORDS_PER_REPLY_MAX),
        contacts=CONTACTS,
        more=Flag(),
    ),
    9: Record(messages.PutRecord, rpc=U64, record=SIGNED, cas=OptionalOf(U64)),
    10: Record(messages.PutReply, rpc=U64, kept=Flag(), seq=U64),
}


# ---------------------------------------------------------------- calls


def _tensor_bytes(message: messages.Predict | messages.Prediction) -> int:
    return body_bytes(message.tensors)


def _hash_bytes(message: messages.PieceHashes) -> int:
    return HASH_BYTES * -(-message.size // limits.PIECE_BYTES)


@dataclass(frozen=True, slots=True)
class Call:
    """A stream message's fields, and what its body may be."""

    record: Record
    body_max: int = 0
    """The most bytes of body; 0 if it has none."""
    body_exact: Callable[[Any], int] | None = None
    """How many bytes of body the fields announce; None if they do not say. (Any: each message
    has its own function, applied only to that message.)"""


def _call(kind: type[Any], **fields: Field) -> Call:
    return Call(Record(kind, None, **fields))


CALLS: dict[int, Call] = {
    1: Call(
        Record(
            messages.Predict,
            _check_names,
            request_id=exactly(16),
            module=ID,
            source=Words(limits.NAME_CHARS_MAX),
            budget_ms=U32,
            hops_left=Uint(limits.FORWARD_HOPS_MAX),
            terms=TERMS,
            urgency=URGENCY,
            constraints=CONSTRAINTS,
            load=OptionalOf(SPOKEN),
            tensors=TENSORS,
        ),
        limits.BODY_BYTES_MAX,
        _tensor_bytes,
    ),
    2: Call(
        Record(
            messages.Prediction,
            _check_names,
            request_id=exactly(16),
            served_by=ID,
            module=ID,
            tensors=TENSORS,
            timing=TIMING,
            batch=U16,
            load=OptionalOf(SPOKEN),
        ),
        limits.BODY_BYTES_MAX,
        _tensor_bytes,
    ),
    3: _call(
        messages.Failure,
        code=Text(limits.CODE_CHARS_MAX, 1),
        message=Words(limits.TEXT_CHARS_MAX),
        because=LinesOf(limits.REASONS_MAX, limits.REASON_CHARS_MAX),
        try_=Words(limits.TEXT_CHARS_MAX),
        load=OptionalOf(SPOKEN),
        instead=OptionalOf(TAG),
        retry_after_ms=OptionalOf(U32),
    ),
    4: _call(messages.Describe, module=ID),
    5: Call(
        Record(
            messages.Description, module=ID, size=BLOB_SIZE, root=ID, publisher_chain=CERTIFICATES
        ),
        limits.HEAD_BYTES_MAX,
    ),
    6: _call(messages.AskHeld, blobs=ListOf(ID, limits.BLOBS_PER_ASK_MAX)),
    7: _call(messages.Held, held=ListOf(Flag(), limits.BLOBS_PER_ASK_MAX)),
    8: _call(messages.GetPieceHashes, blob=ID),
    9: Call(
        Record(messages.PieceHashes, blob=ID, size=BLOB_SIZE, root=ID),
        limits.BLOB_BYTES_MAX // limits.PIECE_BYTES * HASH_BYTES,
        _hash_bytes,
    ),
    10: _call(messages.GetPiece, blob=ID, index=Uint(limits.PIECES_MAX - 1)),
    11: Call(
        Record(messages.Piece, blob=ID, index=Uint(limits.PIECES_MAX - 1)), limits.PIECE_BYTES
    ),
    12: _call(messages.Hold, module=ID),
    13: _call(messages.Holding, module=ID, sources=ListOf(Pair(ID, U64), limits.SOURCES_MAX)),
    14: _call(messages.ListModules),
    15: _call(messages.Catalog, entries=ListOf(CATALOG_ENTRY, limits.CATALOG_ENTRIES_MAX)),
    16: _call(messages.Join, name=Words(limits.NAME_CHARS_MAX)),
    17: _call(
        messages.Admission,
        mesh_name=Words(limits.NAME_CHARS_MAX),
        root_key=ID,
        mesh_key=exactly(32),
        chain=CERTIFICATES,
        members=ListOf(CONTACT, limits.ADMISSION_MEMBERS_MAX),
        seeds=ListOf(CONTACT, limits.SEEDS_MAX),
    ),
    24: Call(
        Record(messages.Reconcile, keys=DIGEST, revocations=DIGEST), limits.RECONCILED_BYTES_MAX
    ),
    25: Call(
        Record(messages.Reconciled, keys=DIGEST, revocations=DIGEST), limits.RECONCILED_BYTES_MAX
    ),
    26: _call(messages.IdleCall, load=SPOKEN, room=U16),
    27: _call(messages.IdleReply, given=U16, load=SPOKEN),
    28: _call(messages.LoadPing, silent=OptionalOf(TAG)),
    29: _call(messages.LoadPong, load=SPOKEN),
    30: Call(
        Record(
            messages.Intent,
            _check_names,
            request_id=exactly(16),
            module=ID,
            source=Words(limits.NAME_CHARS_MAX),
            budget_ms=U32,
            terms=TERMS,
            urgency=URGENCY,
            constraints=CONSTRAINTS,
            load=OptionalOf(SPOKEN),
            tensors=TENSORS,
        )
    ),
    31: _call(messages.Granted, load=SPOKEN),
    **{n: Call(record, BODY_BYTES_MAX.get(n, 0)) for n, record in REACH.items()},
}

DATAGRAM_NUMBERS: dict[type, int] = {record.kind: n for n, record in DATAGRAMS.items()}
CALL_NUMBERS: dict[type, int] = {call.record.kind: n for n, call in CALLS.items()}
