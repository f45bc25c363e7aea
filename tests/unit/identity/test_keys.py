"""Identities, signatures and the mapping to X25519."""

from hashlib import sha256, sha512

import nacl.bindings
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.identity.keys import Identity, random_bytes, verify, verify_raw, x25519_public
from meshnode.ids import from_text, to_text
from tests.unit.identity.page import text_of, vector

ALICE, BOB = Identity.from_seed(b"a" * 32), Identity.from_seed(b"b" * 32)
ORDER = 2**252 + 27742317777372353535851937790883648493
SMALL_ORDER = [
    (1).to_bytes(32, "little"),
    bytes(32),
    (2**255 - 20).to_bytes(32, "little"),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
]
"""Points of order 1, 4, 2, 8 and 8."""


def test_the_page_shows_these_keys() -> None:
    page = vector("keys")
    identity = Identity.from_seed(page["seed"])
    assert identity.public_key == page["public key"]
    assert identity.node_id == sha256(page["public key"]).digest() == page["node id"]
    scalar = bytearray(sha512(page["seed"]).digest()[:32])
    scalar[0] &= 248
    scalar[31] = scalar[31] & 127 | 64
    assert identity.x25519_secret == bytes(scalar) == page["x25519 secret"]
    assert x25519_public(page["public key"]) == page["x25519 public"]
    assert identity.sign(page["data"], domain=page["domain"]) == page["signature"]
    assert verify_raw(page["public key"], b"meshnode/test\0hello", page["signature"])


def test_the_page_shows_the_text_form() -> None:
    node_id, text = (line.split(" = ")[1] for line in text_of("text form").strip().splitlines())
    assert bytes.fromhex(node_id) == vector("keys")["node id"]
    assert to_text(bytes.fromhex(node_id)) == text
    assert from_text(text) == from_text(text.lower().replace("-", " ")) == bytes.fromhex(node_id)


def test_both_sides_agree_on_a_shared_secret() -> None:
    theirs = nacl.bindings.crypto_scalarmult(BOB.x25519_secret, x25519_public(ALICE.public_key))
    ours = nacl.bindings.crypto_scalarmult(ALICE.x25519_secret, x25519_public(BOB.public_key))
    assert ours == theirs


def test_a_fresh_identity_survives_its_seed() -> None:
    fresh = Identity.generate()
    assert Identity.from_seed(fresh.seed).public_key == fresh.public_key
    assert fresh.public_key != Identity.generate().public_key


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_seed_has_32_bytes(length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Identity.from_seed(bytes(length))


def test_the_repr_shows_no_secret() -> None:
    shown = repr(ALICE) + str(ALICE) + f"{[ALICE]}"
    for secret in (ALICE.seed, ALICE.x25519_secret):
        assert secret.hex() not in shown
        assert repr(secret)[2:-1] not in shown


def test_a_signature_is_good_in_its_domain_only() -> None:
    signature = ALICE.sign(b"data", domain=b"one")
    assert verify(ALICE.public_key, b"data", signature, domain=b"one")
    assert not verify(ALICE.public_key, b"data", signature, domain=b"two")
    assert not verify(BOB.public_key, b"data", signature, domain=b"one")
    assert not verify_raw(ALICE.public_key, b"data", signature)


@given(st.binary(max_size=64), st.integers(0, 511))
@settings(max_examples=60, deadline=None)
def test_a_flipped_bit_never_verifies(data: bytes, bit: int) -> None:
    signature = bytearray(ALICE.sign_raw(data))
    signature[bit // 8] ^= 1 << bit % 8
    assert not verify_raw(ALICE.public_key, data, bytes(signature))
    assert not verify_raw(ALICE.public_key, data + b"\0", ALICE.sign_raw(data))


@given(st.binary(max_size=40), st.binary(max_size=70))
@settings(max_examples=60, deadline=None)
def test_verify_never_raises(key: bytes, signature: bytes) -> None:
    assert not verify_raw(key, b"data", signature)
    assert not verify(key, b"data", signature, domain=b"x")


def test_a_second_form_of_a_signature_is_refused() -> None:
    signature = ALICE.sign_raw(b"data")
    s = int.from_bytes(signature[32:], "little") + ORDER
    assert not verify_raw(ALICE.public_key, b"data", signature[:32] + s.to_bytes(32, "little"))


@pytest.mark.parametrize("point", SMALL_ORDER, ids=["1", "4", "2", "8", "8b"])
def test_a_key_of_small_order_is_refused(point: bytes) -> None:
    assert x25519_public(point) is None
    assert not verify_raw(point, b"data", point + bytes(32))
    assert not verify_raw(point, b"data", (1).to_bytes(32, "little") + bytes(32))


def test_a_key_outside_the_main_subgroup_is_refused() -> None:
    mixed = nacl.bindings.crypto_core_ed25519_add(ALICE.public_key, SMALL_ORDER[2])
    assert x25519_public(mixed) is None


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_key_of_the_wrong_length_has_no_x25519_form(length: int) -> None:
    assert x25519_public(bytes(length)) is None


def test_random_bytes_differ() -> None:
    assert len(random_bytes(16)) == 16
    assert random_bytes(16) != random_bytes(16)
