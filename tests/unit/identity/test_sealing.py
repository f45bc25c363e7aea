"""Sealed datagrams and cookies: who is refused, and at what price."""

from hashlib import blake2b

import nacl.bindings
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.errors import LocalProtocolError, RemoteProtocolError
from meshnode.identity import sealing
from meshnode.identity.keys import Identity, x25519_public
from meshnode.identity.sealing import (
    COOKIE_EPOCH_S,
    MAC1_BYTES,
    OVERHEAD_BYTES,
    PAIR_KEYS_MAX,
    PLAINTEXT_BYTES_MAX,
    SEED_MESH_KEY,
    SEED_NETWORK,
    Cookies,
    Sealer,
)
from meshnode.ids import Address, NetworkId, PublicKey
from meshnode.wire.limits import DATAGRAM_BYTES_MAX
from tests.unit.identity.page import vector

ALICE, BOB, EVE = (Identity.from_seed(bytes([n]) * 32) for n in (1, 2, 3))
MESH_KEY, NETWORK = b"k" * 32, NetworkId(b"n" * 16)
HERE = Address("192.0.2.1", 7117)


def sealer(identity: Identity, key: bytes = MESH_KEY, network: NetworkId = NETWORK) -> Sealer:
    return Sealer(identity, mesh_key=key, network=network)


TO_BOB = sealer(ALICE).seal(BOB.public_key, b"hello")


def packet_from(public_key: bytes, recipient: Identity = BOB) -> bytes:
    """A packet that a holder of the mesh key makes in the name of any key, with a junk box."""
    rest = public_key + bytes(24) + bytes(20)
    domain = MESH_KEY + NETWORK
    key = blake2b(recipient.public_key + domain, digest_size=32, person=b"meshnode-mac1").digest()
    return blake2b(rest, key=key, digest_size=16).digest() + rest


def test_the_page_shows_this_datagram() -> None:
    page = vector("datagram")
    sender = Identity.from_seed(page["sender seed"])
    recipient = Identity.from_seed(page["recipient seed"])
    domain = page["mesh key"] + page["network id"]

    def derived(material: bytes, person: bytes) -> bytes:
        return blake2b(material, digest_size=32, person=person).digest()

    assert derived(recipient.public_key + domain, b"meshnode-mac1") == page["mac key"]
    point = x25519_public(sender.public_key)
    shared = nacl.bindings.crypto_scalarmult(recipient.x25519_secret, point)
    both = b"".join(sorted([sender.public_key, recipient.public_key]))
    assert derived(shared + domain + both, b"meshnode-pair") == page["pair key"]

    head = sender.public_key + page["nonce"]
    box = nacl.bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
        page["plaintext"], head, page["nonce"], page["pair key"]
    )
    mac1 = blake2b(head + box, key=page["mac key"], digest_size=16).digest()
    assert mac1 + head + box == page["packet"]

    opener = Sealer(recipient, mesh_key=page["mesh key"], network=NetworkId(page["network id"]))
    assert opener.open(page["packet"]) == (sender.public_key, page["plaintext"])


@given(st.binary(max_size=PLAINTEXT_BYTES_MAX))
@settings(max_examples=40, deadline=None)
def test_what_is_sealed_is_opened(plaintext: bytes) -> None:
    packet = sealer(ALICE).seal(BOB.public_key, plaintext)
    assert len(packet) == len(plaintext) + OVERHEAD_BYTES <= DATAGRAM_BYTES_MAX
    assert sealer(BOB).is_for_me(packet)
    assert sealer(BOB).open(packet) == (ALICE.public_key, plaintext)


def test_both_directions_and_many_packets_share_a_pair_key() -> None:
    alice, bob = sealer(ALICE), sealer(BOB)
    for n in range(5):
        assert bob.open(alice.seal(BOB.public_key, bytes([n])))[1] == bytes([n])
        assert alice.open(bob.seal(ALICE.public_key, bytes([n])))[1] == bytes([n])
    assert alice.seal(BOB.public_key, b"x") != alice.seal(BOB.public_key, b"x")


@pytest.mark.parametrize(
    "other",
    [
        sealer(EVE),
        sealer(BOB, key=b"K" * 32),
        sealer(BOB, network=NetworkId(b"N" * 16)),
        sealer(BOB, SEED_MESH_KEY, SEED_NETWORK),
    ],
    ids=["another node", "another mesh key", "another network", "the seeds' domain"],
)
def test_a_packet_is_for_one_node_in_one_mesh(other: Sealer) -> None:
    assert not other.is_for_me(TO_BOB)
    with pytest.raises(RemoteProtocolError, match="not for this node"):
        other.open(TO_BOB)


def test_the_seeds_domain_needs_no_mesh() -> None:
    packet = sealer(ALICE, SEED_MESH_KEY, SEED_NETWORK).seal(BOB.public_key, b"who is there")
    seed = sealer(BOB, SEED_MESH_KEY, SEED_NETWORK)
    assert seed.open(packet) == (ALICE.public_key, b"who is there")


def test_a_stranger_costs_no_public_key_work(monkeypatch: pytest.MonkeyPatch) -> None:
    packet = sealer(EVE, key=b"K" * 32).seal(BOB.public_key, b"let me in")
    bob = sealer(BOB)

    def never(*_: object) -> bytes:
        raise AssertionError("public-key work for a stranger")

    monkeypatch.setattr(sealing, "x25519_public", never)
    monkeypatch.setattr(nacl.bindings, "crypto_scalarmult", never)
    assert not bob.is_for_me(packet)
    with pytest.raises(RemoteProtocolError):
        bob.open(packet)


@given(st.integers(0, len(TO_BOB) * 8 - 1))
@settings(max_examples=150, deadline=None)
def test_no_flipped_bit_is_accepted(bit: int) -> None:
    packet = bytearray(TO_BOB)
    packet[bit // 8] ^= 1 << bit % 8
    with pytest.raises(RemoteProtocolError):
        sealer(BOB).open(bytes(packet))


def test_a_member_cannot_speak_for_another() -> None:
    forged = packet_from(ALICE.public_key)
    bob = sealer(BOB)
    assert bob.is_for_me(forged)
    with pytest.raises(RemoteProtocolError, match="does not open"):
        bob.open(forged)


def test_a_reflected_packet_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="reflected"):
        sealer(BOB).open(packet_from(BOB.public_key))


@pytest.mark.parametrize("key", [bytes(32), b"\1" + bytes(31), b"\xff" * 32, b"\2" + bytes(31)])
def test_a_key_that_is_no_good_point_is_refused(key: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match=r"curve|low order"):
        sealer(BOB).open(packet_from(key))
    with pytest.raises(RemoteProtocolError, match=r"curve|low order"):
        sealer(BOB).seal(PublicKey(key), b"x")


@pytest.mark.parametrize("length", [0, 16, OVERHEAD_BYTES - 1, DATAGRAM_BYTES_MAX + 1, 65_507])
def test_a_packet_of_the_wrong_size_is_refused(length: int) -> None:
    packet = bytes(length)
    assert not sealer(BOB).is_for_me(packet)
    with pytest.raises(RemoteProtocolError):
        sealer(BOB).open(packet)


def test_a_plaintext_that_fits_no_datagram_is_our_own_mistake() -> None:
    with pytest.raises(LocalProtocolError, match="too long"):
        sealer(ALICE).seal(BOB.public_key, bytes(PLAINTEXT_BYTES_MAX + 1))


@pytest.mark.parametrize(("key", "network"), [(b"k" * 31, NETWORK), (MESH_KEY, b"n" * 15)])
def test_a_domain_has_fixed_lengths(key: bytes, network: NetworkId) -> None:
    with pytest.raises(LocalProtocolError):
        sealer(ALICE, key, network)


def test_made_up_senders_do_not_push_out_known_ones() -> None:
    bob = sealer(BOB)
    bob.open(TO_BOB)
    for n in range(20):
        made_up = Identity.from_seed(n.to_bytes(32, "big")).public_key
        with pytest.raises(RemoteProtocolError, match="does not open"):
            bob.open(packet_from(made_up))
    assert list(bob._pairs) == [ALICE.public_key]
    assert bob.knows(ALICE.public_key)
    assert not bob.knows(EVE.public_key)


def test_the_caches_are_bounded_and_drop_the_longest_unused() -> None:
    alice = sealer(ALICE)
    peers = [Identity.from_seed(n.to_bytes(32, "big")).public_key for n in range(3)]
    filler = alice._derive(BOB.public_key)
    alice._pairs.update((n.to_bytes(2, "big"), filler) for n in range(PAIR_KEYS_MAX))
    for peer in peers:
        alice.seal(peer, b"x")
    assert len(alice._pairs) == PAIR_KEYS_MAX
    assert list(alice._pairs)[-3:] == peers
    assert next(iter(alice._pairs)) == b"\0\3"
    alice.seal(peers[0], b"x")
    assert list(alice._pairs)[-1] == peers[0]


def nonce_of(packet: bytes) -> bytes:
    return packet[48:72]


def test_nonces_count_on_from_a_random_start_of_each_pair() -> None:
    alice = sealer(ALICE)
    nonces = [nonce_of(alice.seal(BOB.public_key, b"x")) for _ in range(3)]
    assert len({nonce[:16] for nonce in nonces}) == 1
    assert [int.from_bytes(nonce[16:], "big") for nonce in nonces] == [1, 2, 3]
    to_eve = nonce_of(alice.seal(EVE.public_key, b"x"))
    assert to_eve[:16] != nonces[0][:16]


def test_a_forgotten_peer_gets_another_start_so_that_no_nonce_comes_twice() -> None:
    alice = sealer(ALICE)
    first = nonce_of(alice.seal(BOB.public_key, b"x"))
    alice._pairs.clear()
    again = nonce_of(alice.seal(BOB.public_key, b"x"))
    assert first[16:] == again[16:]
    assert first[:16] != again[:16]


def test_the_reprs_show_no_secret() -> None:
    shown = repr(sealer(ALICE)) + repr(Cookies(MESH_KEY))
    for secret in (ALICE.seed, MESH_KEY):
        assert repr(secret)[2:-1] not in shown
        assert secret.hex() not in shown


# ------------------------------------------------------------------ cookies


def test_the_page_shows_this_cookie() -> None:
    page = vector("cookie")
    made = blake2b(
        page["public key"] + page["text"],
        key=page["secret"],
        digest_size=8,
        person=b"meshnode-cookie",
    ).digest()
    assert made == page["cookie"]
    key = PublicKey(page["public key"])
    assert Cookies(page["secret"]).issue(key, HERE, 5 * COOKIE_EPOCH_S) == made


def test_a_cookie_lives_in_its_epoch_and_the_next() -> None:
    cookies = Cookies(b"s" * 32)
    cookie = cookies.issue(ALICE.public_key, HERE, 100.0)
    assert len(cookie) == MAC1_BYTES // 2
    for now in (0.0, 100.0, 299.9, 300.0, 599.9):
        assert cookies.check(cookie, ALICE.public_key, HERE, now)
    for now in (600.0, 10_000.0):
        assert not cookies.check(cookie, ALICE.public_key, HERE, now)


def test_a_cookie_is_bound_to_key_address_and_issuer() -> None:
    cookies = Cookies(b"s" * 32)
    cookie = cookies.issue(ALICE.public_key, HERE, 0.0)
    assert cookies.check(cookie, ALICE.public_key, HERE, 0.0)
    assert not cookies.check(cookie, BOB.public_key, HERE, 0.0)
    assert not cookies.check(cookie, ALICE.public_key, Address("192.0.2.1", 7118), 0.0)
    assert not cookies.check(cookie, ALICE.public_key, Address("192.0.2.2", 7117), 0.0)
    assert not Cookies(b"t" * 32).check(cookie, ALICE.public_key, HERE, 0.0)


@pytest.mark.parametrize("cookie", [b"", bytes(7), bytes(8), bytes(64)])
def test_a_made_up_cookie_proves_nothing(cookie: bytes) -> None:
    assert not Cookies(b"s" * 32).check(cookie, ALICE.public_key, HERE, 0.0)


def test_a_cookie_secret_has_32_bytes() -> None:
    with pytest.raises(LocalProtocolError):
        Cookies(b"")
