"""Sizes are estimated from above: what the packer takes, the codec can send."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.caps import Caps
from meshnode.gossip.sizes import PAYLOAD_BYTES, Packer, load_bytes, update_bytes
from meshnode.ids import Address, Contact, NodeTag
from meshnode.wire.codec import Envelope, encode_datagram
from meshnode.wire.limits import LOADS_PER_GOSSIP_MAX, UPDATES_PER_GOSSIP_MAX
from meshnode.wire.messages import Gossip, LoadRecord, MemberUpdate, ModuleLoad, Ping
from tests.unit.gossip.people import ANN, BOB, DEAD, load, tag, update

HOSTS = ["1.2.3.4", "255.255.255.255", "::1", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "h" * 60]
numbers = st.integers(0, 23) | st.integers(0, 2**8) | st.integers(0, 2**32 - 1)
loads = st.builds(
    LoadRecord,
    node=st.just(tag(ANN)),
    sequence=st.integers(0, 2**64 - 1),
    age_ms=numbers,
    wait=numbers,
    wait_mean=numbers,
    wait_sigma=numbers,
    in_flight=st.integers(0, 65535),
    draining=st.booleans(),
    speed=numbers,
    modules=st.lists(
        st.builds(
            ModuleLoad,
            module=st.just(NodeTag(b"m" * 8)),
            warm=st.booleans(),
            first=numbers,
            unit=numbers,
        ),
        max_size=8,
    ).map(tuple),
)
updates = st.builds(
    MemberUpdate,
    contact=st.builds(
        Contact,
        st.binary(min_size=32, max_size=32),
        st.builds(Address, st.sampled_from(HOSTS), st.integers(1, 65535)),
    ),
    state=st.integers(0, 3),
    incarnation=st.integers(0, 2**63),
    name=st.sampled_from(["", "x" * 64, "ä" * 64]),
    caps=st.just(Caps.CPU | Caps.WASI),
    accuser=st.just(tag(BOB)),
)


def size_of(message: Gossip | Ping) -> int:
    return len(encode_datagram(Envelope(message=message)))


EMPTY = size_of(Gossip())


@settings(max_examples=80, deadline=None)
@given(loads)
def test_a_load_is_never_larger_than_estimated(record: LoadRecord) -> None:
    assert size_of(Gossip(loads=(record,))) - EMPTY <= load_bytes(record) <= 400


@settings(max_examples=80, deadline=None)
@given(updates)
def test_an_update_is_never_larger_than_estimated(claim: MemberUpdate) -> None:
    assert size_of(Gossip(updates=(claim,))) - EMPTY <= update_bytes(claim)


@settings(max_examples=30, deadline=None)
@given(st.lists(updates, max_size=12), st.lists(loads, max_size=12))
def test_a_packed_datagram_fits(claims: list[MemberUpdate], records: list[LoadRecord]) -> None:
    packer = Packer()
    for claim in claims:
        packer.add_update(claim)
    for record in records:
        packer.add_load(record)
    ping = Ping(sequence=2**32 - 1, updates=packer.updates, loads=packer.loads)
    around = Envelope(message=ping, network=bytes(16), issued=bytes(8), returned=bytes(8))
    assert len(encode_datagram(around)) <= PAYLOAD_BYTES


def test_counts_are_bounded_too() -> None:
    packer = Packer(10_000)
    for i in range(20):
        packer.add_update(update(replace(ANN, public_key=bytes([i]) * 32)))
        packer.add_load(load(ANN))
    assert len(packer.updates) == UPDATES_PER_GOSSIP_MAX
    assert len(packer.loads) == LOADS_PER_GOSSIP_MAX


def test_one_claim_about_a_node_is_enough() -> None:
    packer = Packer()
    assert not packer
    assert packer.add_update(update(ANN))
    assert packer.add_update(update(ANN, DEAD))
    assert packer.updates == (update(ANN),)
    assert packer
