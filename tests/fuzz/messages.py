"""Hypothesis strategies for every message, made from the same table the codec uses.

A strategy covers all that a field's bounds allow; what fields must agree on (a tensor's size, a
body's length) is filled in afterwards.
"""

import math
from dataclasses import replace
from functools import cache

from hypothesis import strategies as st

from meshnode.caps import Caps
from meshnode.constraints import Scope
from meshnode.ids import Address, Contact
from meshnode.labels import LABELS_MAX, labels_of
from meshnode.wire import (
    constraints,
    limits,
    membership_table,
    messages,
    packed_load,
    reach,
    schema,
    table,
)
from meshnode.wire.arrays import DTYPES, body_bytes
from meshnode.wire.codec import Envelope
from meshnode.wire.excerpts import excerpt
from meshnode.wire.tensor import TensorHeader

UNSHOWABLE = (
    "".join(map(chr, [*range(0x20), *range(0x7F, 0xA0)]))
    + "\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
)
SHOWABLE = st.characters(exclude_categories=["Cs"], exclude_characters=UNSHOWABLE)
ITEMS_MAX = 4
"""Longer lists are the business of the tests of limits; here they would only be slow."""


def hosts() -> st.SearchStrategy[str]:
    v6 = st.ip_addresses(v=6).filter(lambda ip: ip.ipv4_mapped is None)
    names = st.from_regex(r"[a-z][a-z0-9-]{0,20}[a-z](\.[a-z]{2,9}){0,2}", fullmatch=True)
    return st.one_of(st.ip_addresses(v=4).map(str), v6.map(str), names)


def labels() -> st.SearchStrategy[tuple[tuple[str, str], ...]]:
    keys = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,9}", fullmatch=True)
    values = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,9}", fullmatch=True)
    return st.dictionaries(keys, values, max_size=LABELS_MAX).map(labels_of)


def contacts() -> st.SearchStrategy[Contact]:
    keys = st.binary(min_size=32, max_size=32)
    addresses = st.builds(Address, hosts(), st.integers(1, 65535))
    return st.builds(Contact, keys, addresses)


@st.composite
def tensors(draw) -> TensorHeader:
    dtype = draw(st.sampled_from(sorted(DTYPES)))
    shape = tuple(draw(st.lists(st.integers(0, 9), max_size=5)))
    return TensorHeader(
        name=draw(st.text(SHOWABLE, min_size=1, max_size=20)),
        dtype=dtype,
        shape=shape,
        size=math.prod(shape) * DTYPES[dtype][2],
    )


@st.composite
def loads(draw: st.DrawFn) -> messages.LoadRecord:
    """Return a whole record, or an excerpt of one."""
    whole = draw(whole_loads())
    if draw(st.booleans()) or not whole.modules:
        return whole
    return excerpt(whole, draw(st.integers(0, len(whole.modules) - 1)), draw(st.integers(0, 2)))


def whole_loads() -> st.SearchStrategy[messages.LoadRecord]:
    tags, u32 = st.binary(min_size=8, max_size=8), st.integers(0, 2**32 - 1)
    modules = st.builds(
        messages.ModuleLoad,
        module=tags,
        warm=st.booleans(),
        first=u32,
        unit=u32,
        each=st.integers(0, 255),
        waits=st.booleans(),
    )
    return st.builds(
        messages.LoadRecord,
        node=tags,
        sequence=st.integers(0, 2**64 - 1),
        age_ms=u32,
        wait=u32,
        wait_mean=u32,
        wait_sigma=u32,
        in_flight=st.integers(0, 2**16 - 1),
        draining=st.booleans(),
        speed=u32,
        modules=st.lists(modules, max_size=limits.MODULES_PER_LOAD_MAX).map(tuple),
    )


MAKERS = {
    schema.Uint: lambda f: st.integers(0, f.most),
    schema.Flag: lambda f: st.booleans(),
    schema.CapsField: lambda f: st.integers(0, 2**32 - 1).map(Caps),
    schema.Bytes: lambda f: st.binary(min_size=f.least, max_size=min(f.most, f.least + 40)),
    membership_table.Rows: lambda f: st.integers(0, min(f.most, ITEMS_MAX)).flatmap(
        lambda count: st.binary(min_size=count * f.size, max_size=count * f.size)
    ),
    packed_load.LoadField: lambda f: loads(),
    packed_load.SpokenLoadField: lambda f: loads().map(
        lambda load: replace(load, node=messages.UNNAMED)
    ),
    schema.Text: lambda f: st.text(SHOWABLE, min_size=f.least, max_size=f.most),
    schema.Words: lambda f: st.text(SHOWABLE, max_size=f.most),
    schema.Choice: lambda f: st.sampled_from(sorted(f.words)),
    schema.LinesOf: lambda f: st.lists(st.text(SHOWABLE, max_size=40), max_size=3).map(tuple),
    schema.ListOf: lambda f: st.lists(values(f.item), max_size=min(f.most, ITEMS_MAX)).map(tuple),
    schema.OptionalOf: lambda f: st.none() | values(f.item),
    schema.Pair: lambda f: st.tuples(values(f.first), values(f.second)),
    schema.ContactField: lambda f: contacts(),
    membership_table.LabelsField: lambda f: labels(),
    constraints.ScopeField: lambda f: st.sampled_from(Scope),
    schema.Record: lambda f: tensors() if f is table.TENSOR else records(f),
}


def values(field: schema.Field) -> st.SearchStrategy:
    """Return a strategy for all that a field takes."""
    return MAKERS[type(field)](field)


def records(record: schema.Record) -> st.SearchStrategy:
    return st.builds(record.kind, **{n: values(f) for n, f in record.fields.items()})


def _with_body(message):
    """Make the fields and the body of a call agree."""
    match message:
        case messages.Predict() | messages.Prediction():
            heads = {head.name: head for head in message.tensors}
            tensors = tuple(heads.values())
            return replace(message, tensors=tensors, body=_body(body_bytes(tensors)))
        case messages.Intent():
            heads = {head.name: head for head in message.tensors}
            return replace(message, tensors=tuple(heads.values()))
        case messages.PieceHashes():
            size = message.size % (9 * limits.PIECE_BYTES)
            pieces = -(-size // limits.PIECE_BYTES)
            return replace(message, size=size, body=_body(32 * pieces))
        case messages.Description() | messages.Piece() | reach.Carry():
            return replace(message, body=_body(len(repr(message)) % 64))
        case _:
            return message


def _body(size: int) -> tuple[bytes, ...]:
    return (bytes(i % 251 for i in range(size)),) if size else ()


@cache
def datagrams() -> st.SearchStrategy:
    return st.one_of([records(record) for record in table.DATAGRAMS.values()])


@cache
def calls() -> st.SearchStrategy:
    return st.one_of([records(call.record).map(_with_body) for call in table.CALLS.values()])


def envelopes() -> st.SearchStrategy[Envelope]:
    def either(size: int) -> st.SearchStrategy[bytes]:
        return st.just(b"") | st.binary(min_size=size, max_size=size)

    return st.builds(
        Envelope, message=datagrams(), network=either(16), issued=either(8), returned=either(8)
    )
