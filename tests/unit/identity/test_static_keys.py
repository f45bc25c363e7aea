"""The static keys of channels: made once for many handshakes, and vouched for once."""

import pytest

from meshnode.errors import RemoteProtocolError
from meshnode.identity import static_keys
from meshnode.identity.handshake import Handshake
from meshnode.identity.keys import Identity
from meshnode.identity.static_keys import HANDSHAKES_MAX, VOUCHED_MAX, StaticKeys, signed

ALICE, BOB, EVE = (Identity.from_seed(bytes([n]) * 32) for n in (1, 2, 3))
PSK = b"p" * 32


def shaken(
    alice: Identity, at_alice: StaticKeys, bob: Identity, at_bob: StaticKeys
) -> tuple[Handshake, Handshake]:
    one, other = (
        Handshake(
            who, initiator=first, psks=[PSK], prologue=b"", payload=b"claims", statics=statics
        )
        for who, first, statics in ((alice, True, at_alice), (bob, False, at_bob))
    )
    other.receive(one.receive(other.receive(one.start())))
    assert one.keys() == other.keys()[::-1]
    return one, other


def test_a_key_serves_many_handshakes_and_then_gives_way() -> None:
    keys = StaticKeys()
    used = [keys.own(ALICE) for _ in range(HANDSHAKES_MAX + 1)]
    assert len({key.secret for key in used[:HANDSHAKES_MAX]}) == 1
    assert used[-1].secret != used[0].secret


def test_a_key_is_only_that_identitys() -> None:
    keys = StaticKeys()
    own = keys.own(ALICE)
    assert keys.own(BOB).secret != own.secret


def test_a_repr_shows_no_secret() -> None:
    own = StaticKeys().own(ALICE)
    assert own.secret.hex() not in repr(own)
    assert repr(own.secret) not in repr(own)


def test_handshakes_that_share_static_keys_share_nothing_else() -> None:
    at_alice, at_bob = StaticKeys(), StaticKeys()
    first = shaken(ALICE, at_alice, BOB, at_bob)
    second = shaken(ALICE, at_alice, BOB, at_bob)
    assert first[0].hash != second[0].hash
    assert not set(first[0].keys()) & set(second[0].keys())


def test_a_peer_that_comes_back_is_not_verified_again(monkeypatch: pytest.MonkeyPatch) -> None:
    at_alice, at_bob = StaticKeys(), StaticKeys()
    shaken(ALICE, at_alice, BOB, at_bob)
    monkeypatch.setattr(static_keys, "verify", lambda *_, **__: False)
    shaken(ALICE, at_alice, BOB, at_bob)
    with pytest.raises(RemoteProtocolError, match="did not sign"):
        shaken(EVE, StaticKeys(), BOB, at_bob)


def test_what_was_good_for_one_is_not_good_for_another() -> None:
    keys, own = StaticKeys(), signed(ALICE, b"s" * 32)
    assert keys.vouches(ALICE.public_key, own.public, own.signature)
    other = signed(ALICE, b"t" * 32)
    assert not keys.vouches(EVE.public_key, own.public, own.signature)
    assert not keys.vouches(ALICE.public_key, other.public, own.signature)
    assert not keys.vouches(ALICE.public_key, own.public, other.signature)
    assert not keys.vouches(ALICE.public_key, own.public, own.signature[:-1])
    assert not keys.vouches(ALICE.public_key[:-1], own.public, own.signature)


def test_only_what_is_good_is_remembered_and_not_without_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = StaticKeys()
    assert not keys.vouches(ALICE.public_key, b"s" * 32, bytes(64))
    assert len(keys._vouched) == 0
    monkeypatch.setattr(static_keys, "verify", lambda *_, **__: True)
    for number in range(VOUCHED_MAX + 10):
        assert keys.vouches(ALICE.public_key, number.to_bytes(32, "big"), bytes(64))
    assert len(keys._vouched) == VOUCHED_MAX
