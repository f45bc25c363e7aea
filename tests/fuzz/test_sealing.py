"""Any bytes given to a sealer are refused with its own error, and cheaply."""

from hashlib import blake2b

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.errors import RemoteProtocolError
from meshnode.identity.keys import Identity
from meshnode.identity.sealing import OVERHEAD_BYTES, Sealer
from meshnode.ids import NetworkId

ALICE, BOB = Identity.from_seed(bytes(32)), Identity.from_seed(b"b" * 32)
MESH_KEY, NETWORK = b"k" * 32, NetworkId(b"n" * 16)
MAC_KEY = blake2b(
    BOB.public_key + MESH_KEY + NETWORK, digest_size=32, person=b"meshnode-mac1"
).digest()


@given(st.binary(max_size=1300))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_refused(packet: bytes) -> None:
    bob = Sealer(BOB, mesh_key=MESH_KEY, network=NETWORK)
    assert not bob.is_for_me(packet)
    with pytest.raises(RemoteProtocolError):
        bob.open(packet)


@given(st.binary(min_size=OVERHEAD_BYTES - 16, max_size=300))
@settings(max_examples=150, deadline=None)
def test_any_bytes_of_a_key_holder_are_refused(rest: bytes) -> None:
    bob = Sealer(BOB, mesh_key=MESH_KEY, network=NETWORK)
    packet = blake2b(rest, key=MAC_KEY, digest_size=16).digest() + rest
    assert bob.is_for_me(packet)
    with pytest.raises(RemoteProtocolError):
        bob.open(packet)
    assert not bob._pairs


@given(st.binary(max_size=1128), st.integers(0, 1200))
@settings(max_examples=100, deadline=None)
def test_a_cut_packet_is_refused(plaintext: bytes, at: int) -> None:
    packet = Sealer(ALICE, mesh_key=MESH_KEY, network=NETWORK).seal(BOB.public_key, plaintext)
    bob = Sealer(BOB, mesh_key=MESH_KEY, network=NETWORK)
    assert bob.open(packet) == (ALICE.public_key, plaintext)
    with pytest.raises(RemoteProtocolError):
        bob.open(packet[: at % len(packet)])
