"""Signed records: whatever the bytes, a verified record or RemoteProtocolError."""

from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.caps import Caps
from meshnode.dht.records import (
    NameRecord,
    NodeRecord,
    ProviderRecord,
    VersionEntry,
    open_record,
    sign,
)
from meshnode.errors import LocalProtocolError, RemoteProtocolError
from meshnode.identity.cose import sign1
from meshnode.identity.keys import Identity
from meshnode.ids import Address, ContentHash, NetworkId
from meshnode.wire import cbor

NETWORK = NetworkId(b"n" * 16)
ALICE = Identity.from_seed(b"a" * 32)
KINDS = [b"meshnode/record/node/1", b"meshnode/record/provider/1", b"meshnode/record/name/1"]

shown = st.text(st.characters(codec="ascii", exclude_categories=["C"]), min_size=1, max_size=20)
hashes = st.binary(min_size=32, max_size=32)
addresses = st.lists(st.builds(Address, shown, st.integers(1, 65535)), max_size=4).map(tuple)
caps = st.integers(0, 2**32 - 1).map(Caps)
sizes = st.integers(0, 2048 << 20)
common = {
    "network": st.just(NETWORK),
    "seq": st.integers(0, 2**63),
    "ttl_s": st.integers(1, 2**32),
}
nodes = st.builds(
    NodeRecord,
    public_key=st.just(ALICE.public_key),
    addresses=addresses,
    name=shown,
    caps=caps,
    **common,
)
providers = st.builds(
    ProviderRecord,
    blob=hashes.map(ContentHash),
    provider=st.just(ALICE.public_key),
    addresses=addresses,
    size=sizes,
    root=hashes,
    withdrawn=st.booleans(),
    **common,
)
entries = st.builds(
    VersionEntry,
    module=hashes.map(ContentHash),
    size=sizes,
    root=hashes,
    caps=caps,
    yanked=st.booleans(),
)
names = st.builds(
    NameRecord,
    publisher=st.just(ALICE.public_key),
    name=shown,
    versions=st.dictionaries(shown, entries, max_size=6),
    **common,
)
records = st.one_of(nodes, providers, names)
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=12,
)


def survives(data: bytes) -> None:
    with suppress(RemoteProtocolError):
        open_record(data, network=NETWORK)


@given(records)
@settings(max_examples=120, deadline=None)
def test_every_record_round_trips(record: NodeRecord | ProviderRecord | NameRecord) -> None:
    assert open_record(sign(ALICE, record), network=NETWORK) == record


@given(st.binary(max_size=1200))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_survived(data: bytes) -> None:
    survives(data)


@given(plain, st.sampled_from(KINDS))
@settings(max_examples=150, deadline=None)
def test_any_well_signed_payload_is_survived(payload: object, aad: bytes) -> None:
    survives(sign1(ALICE, cbor.dumps(payload)[:900], aad=aad))


@given(st.integers(1, 3), st.lists(plain, max_size=8), st.sampled_from(KINDS))
@settings(max_examples=150, deadline=None)
def test_any_fields_behind_a_good_head_are_survived(
    kind: int, fields: list[object], aad: bytes
) -> None:
    try:
        payload = cbor.dumps([kind, NETWORK, 1, 60, *fields])
    except LocalProtocolError:
        return
    survives(sign1(ALICE, payload[:900], aad=aad))


@given(records, st.data())
@settings(max_examples=150, deadline=None)
def test_a_record_with_one_changed_byte_is_never_accepted(
    record: NodeRecord | ProviderRecord | NameRecord, data: st.DataObject
) -> None:
    signed = bytearray(sign(ALICE, record))
    place = data.draw(st.integers(0, len(signed) - 1))
    signed[place] ^= data.draw(st.integers(1, 255))
    try:
        open_record(bytes(signed), network=NETWORK)
    except RemoteProtocolError:
        return
    raise AssertionError("a changed record was accepted")
