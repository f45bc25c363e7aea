"""The mesh's keys: what is accepted, what is sent under, and what orders do to both."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.errors import RemoteProtocolError
from meshnode.identity.keyring import (
    EPOCH_JUMP_MAX,
    KEYS_MAX,
    RETIRED_MAX,
    Keyring,
    RingKey,
    Stage,
    catch_up_of,
    first_keyring,
    key_id_of,
)
from meshnode.ids import NetworkId

NETWORK = NetworkId(b"n" * 16)
OLD = b"o" * 32


def key(epoch: int, stage: Stage, fill: int | None = None) -> RingKey:
    secret = bytes([epoch % 256 if fill is None else fill]) * 32
    return RingKey(epoch=epoch, key=secret, stage=stage, order=b"signed", chain=(b"c",))


def ring() -> Keyring:
    return first_keyring(NETWORK, OLD)


def test_a_key_is_accepted_then_used_then_the_old_one_is_retired() -> None:
    r = ring()
    assert r.take(key(1, Stage.ACCEPT))
    assert r.accepted_keys() == (OLD, b"\x01" * 32), "opened, but not yet sent under"
    assert r.take(key(1, Stage.USE))
    assert r.accepted_keys() == (b"\x01" * 32, OLD)
    assert r.take(key(1, Stage.RETIRE))
    assert r.accepted_keys() == (b"\x01" * 32,)
    assert r.catch_up_keys() == (catch_up_of(OLD),)


def test_nothing_goes_back() -> None:
    r = ring()
    r.take(key(2, Stage.RETIRE))
    for old in (key(1, Stage.RETIRE), key(2, Stage.ACCEPT), key(2, Stage.USE)):
        assert not r.take(old)
    assert r.accepted_keys() == (b"\x02" * 32,)


def test_the_key_that_came_with_joining_gets_its_epoch_by_the_order() -> None:
    r = first_keyring(NETWORK, b"\x05" * 32)
    assert r.take(key(5, Stage.RETIRE))
    assert r.accepted_keys() == (b"\x05" * 32,)
    assert r.current.epoch == 5
    assert r.catch_up_keys() == ()


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_two_admins_at_once_end_with_one_key_whatever_comes_first(order: tuple[int, ...]) -> None:
    said = [key(1, s, fill) for fill in (1, 2) for s in (Stage.ACCEPT, Stage.USE)]
    r = ring()
    for index in order:
        r.take(said[index])
    winner = max((b"\x01" * 32, b"\x02" * 32), key=key_id_of)
    assert r.mesh_key == winner
    assert len(r.accepted_keys()) == KEYS_MAX, "nobody is cut off before the old keys retire"


def test_an_order_cannot_be_so_far_ahead_that_none_could_follow() -> None:
    r = ring()
    assert not r.take(key(EPOCH_JUMP_MAX + 1, Stage.USE))
    assert r.take(key(EPOCH_JUMP_MAX, Stage.USE))


def test_keys_and_what_is_left_of_them_are_bounded() -> None:
    r = ring()
    for epoch in range(1, 40):
        for stage in (Stage.ACCEPT, Stage.USE):
            r.take(key(epoch, stage))
    assert len(r.accepted_keys()) == KEYS_MAX
    assert len(r.catch_up_keys()) == RETIRED_MAX


def test_a_retired_key_does_not_follow_from_what_is_kept() -> None:
    r = ring()
    r.take(key(1, Stage.RETIRE))
    assert OLD not in r.to_bytes()
    assert OLD.hex() not in repr(r)


def test_the_file_holds_everything() -> None:
    r = ring()
    r.take(key(1, Stage.RETIRE))
    r.take(key(2, Stage.ACCEPT))
    again = Keyring.from_bytes(r.to_bytes())
    assert again.accepted() == r.accepted()
    assert again.catch_up_keys() == r.catch_up_keys()
    assert again.digest() == r.digest()
    assert not again.take(key(1, Stage.USE))


@given(st.binary(max_size=300))
def test_any_bytes_are_a_keyring_or_refused(data: bytes) -> None:
    try:
        Keyring.from_bytes(data)
    except RemoteProtocolError:
        return


orders = st.builds(
    key, st.integers(1, 6), st.sampled_from(list(Stage)), st.none() | st.integers(1, 9)
)


@given(st.lists(orders, max_size=12))
def test_the_current_key_is_always_accepted_and_an_order_twice_changes_nothing(
    said: list[RingKey],
) -> None:
    r = ring()
    for order in said:
        before = r.current.rank
        r.take(order)
        assert r.mesh_key in r.accepted_keys()
        assert len(r.accepted_keys()) <= KEYS_MAX
        assert r.current.rank >= before or r.current.epoch == 0
        digest = r.digest()
        for known in r.orders():
            assert not r.take(known)
        assert r.digest() == digest
