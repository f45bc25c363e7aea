"""Sizes are estimated from above: what the packer takes, the codec can send."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.caps import Caps
from meshnode.gossip.sizes import (
    PAYLOAD_BYTES,
    Packer,
    accusation_bytes,
    datagram_bytes,
    load_bytes,
    update_bytes,
)
from meshnode.ids import Address, Contact, NodeTag
from meshnode.labels import LABELS_MAX, Traits, labels_of
from meshnode.wire.codec import Envelope, encode_datagram
from meshnode.wire.limits import (
    ACCUSATIONS_PER_GOSSIP_MAX,
    GLIMPSES_MAX,
    LOADS_PER_GOSSIP_MAX,
    MESSAGE_BYTES_MAX,
    SEALING_BYTES,
    SUMMARY_ENTRIES_MAX,
    UPDATES_PER_GOSSIP_MAX,
    WANTED_MAX,
)
from meshnode.wire.messages import (
    Accusation,
    Datagram,
    Digest,
    Glimpses,
    Gossip,
    LoadRecord,
    MemberUpdate,
    ModuleLoad,
    Nack,
    Ping,
    PingRequest,
    Subscribe,
    Summary,
    Want,
)
from tests.unit.gossip.people import ANN, BOB, LEFT, accusation, load, tag, update

HOSTS = ["1.2.3.4", "255.255.255.255", "::1", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "h" * 60]
numbers = st.integers(0, 23) | st.integers(0, 2**8) | st.integers(0, 2**32 - 1)
words = st.text("ab1", min_size=1, max_size=12)
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
    incarnation=st.integers(0, 2**64 - 1),
    name=st.sampled_from(["", "x" * 64, "ä" * 64]),
    caps=st.just(Caps.CPU | Caps.WASI),
    traits=st.builds(
        Traits,
        st.dictionaries(words, words, max_size=LABELS_MAX).map(labels_of),
        st.integers(0, 2**32 - 1),
    ),
    signature=st.just(bytes([255] * 64)),
)
accusations = st.builds(
    Accusation,
    suspect=st.just(tag(ANN)),
    incarnation=st.integers(0, 2**64 - 1),
    accuser=st.just(tag(BOB)),
    signature=st.just(bytes([255] * 64)),
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


@settings(max_examples=40, deadline=None)
@given(accusations)
def test_an_accusation_is_never_larger_than_estimated(said: Accusation) -> None:
    assert size_of(Gossip(accusations=(said,))) - EMPTY <= accusation_bytes(said)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(updates, max_size=9),
    st.lists(accusations, max_size=9),
    st.lists(loads, max_size=12),
)
def test_a_packed_datagram_fits(
    words: list[MemberUpdate], said: list[Accusation], records: list[LoadRecord]
) -> None:
    packer = Packer()
    for news in (*words[:4], *said, *words[4:]):
        packer.add(news)
    for record in records:
        packer.add_load(record)
    ping = Ping(
        sequence=2**32 - 1,
        updates=packer.updates,
        accusations=packer.accusations,
        loads=packer.loads,
    )
    around = Envelope(message=ping, network=bytes(16), issued=bytes(8), returned=bytes(8))
    size = len(encode_datagram(around))
    assert size <= PAYLOAD_BYTES
    inside = Envelope(message=ping, issued=bytes(8), returned=bytes(8))
    assert len(encode_datagram(inside)) + SEALING_BYTES <= datagram_bytes(ping)


@pytest.mark.parametrize(
    "message",
    [
        Digest(parts=bytes(256)),
        Summary(parts=bytes(range(64)), entries=bytes(16 * SUMMARY_ENTRIES_MAX)),
        Want(tags=bytes(8 * WANTED_MAX)),
        Glimpses(entries=bytes(30 * GLIMPSES_MAX)),
        Nack(sequence=2**64 - 1),
        Subscribe(sequence=2**64 - 1, wanted=True),
        PingRequest(sequence=2**64 - 1, target=ANN),
    ],
    ids=lambda message: type(message).__name__,
)
def test_the_smaller_messages_fit_and_are_not_underestimated(message: Datagram) -> None:
    around = Envelope(message=message, issued=bytes(8), returned=bytes(8))
    size = len(encode_datagram(around))
    assert size <= MESSAGE_BYTES_MAX
    assert size + SEALING_BYTES <= datagram_bytes(message)


def test_counts_are_bounded_too() -> None:
    packer = Packer(10_000)
    for i in range(20):
        packer.add_update(update(replace(ANN, public_key=bytes([i]) * 32)))
        packer.add_accusation(replace(accusation(ANN, BOB), incarnation=i))
        packer.add_load(load(ANN))
    assert len(packer.updates) == UPDATES_PER_GOSSIP_MAX
    assert len(packer.accusations) == ACCUSATIONS_PER_GOSSIP_MAX
    assert len(packer.loads) == LOADS_PER_GOSSIP_MAX


def test_one_claim_about_a_node_is_enough() -> None:
    packer = Packer()
    assert not packer
    assert packer.add_update(update(ANN))
    assert packer.add_update(update(ANN, LEFT))
    assert packer.updates == (update(ANN),)
    assert packer
