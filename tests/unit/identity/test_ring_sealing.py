"""Datagrams under a keyring: no moment of a replacement at which two members cannot talk."""

from itertools import product

import pytest

from meshnode.errors import RemoteProtocolError
from meshnode.identity.keyring import Keyring, RingKey, Stage, first_keyring
from meshnode.identity.keys import Identity
from meshnode.identity.ring_sealing import RingSealer
from meshnode.ids import NetworkId

ALICE, BOB = (Identity.from_seed(bytes([n]) * 32) for n in (1, 2))
NETWORK = NetworkId(b"n" * 16)
OLD, NEW = b"o" * 32, b"w" * 32


def ring(stage: Stage | None) -> Keyring:
    """A node's keys after it has followed the order for this stage, or none yet."""
    made = first_keyring(NETWORK, OLD)
    if stage is not None:
        made.take(RingKey(epoch=1, key=NEW, stage=stage))
    return made


def talk(one: RingSealer, other: RingSealer) -> None:
    """A question and its answer."""
    question = one.seal(BOB.public_key, b"?")
    assert other.is_for_me(question)
    assert other.open(question) == (ALICE.public_key, b"?")
    answer = other.seal(ALICE.public_key, b"!")
    assert one.is_for_me(answer)
    assert one.open(answer) == (BOB.public_key, b"!")


STEPS: list[Stage | None] = [None, Stage.ACCEPT, Stage.USE, Stage.RETIRE]


@pytest.mark.parametrize(
    ("alice", "bob"),
    [(a, b) for a, b in product(STEPS, STEPS) if abs(STEPS.index(a) - STEPS.index(b)) <= 1],
)
def test_members_one_step_apart_understand_each_other(
    alice: Stage | None, bob: Stage | None
) -> None:
    talk(RingSealer(ALICE, ring(alice)), RingSealer(BOB, ring(bob)))


def test_one_that_missed_both_orders_is_answered_under_the_key_it_has() -> None:
    late, present = RingSealer(ALICE, ring(None)), RingSealer(BOB, ring(Stage.USE))
    talk(late, present)
    fresh = RingSealer(ALICE, ring(Stage.USE))
    talk(fresh, present)
    assert fresh.is_for_me(present.seal(ALICE.public_key, b"again"))
    assert not late.is_for_me(present.seal(ALICE.public_key, b"again")), "it moved on with her"


def test_a_retired_key_opens_nothing() -> None:
    late, present = RingSealer(ALICE, ring(None)), RingSealer(BOB, ring(Stage.RETIRE))
    packet = late.seal(BOB.public_key, b"?")
    assert not present.is_for_me(packet)
    with pytest.raises(RemoteProtocolError):
        present.open(packet)


def test_a_key_retired_in_the_middle_is_forgotten_for_every_peer() -> None:
    keys = ring(Stage.USE)
    late, present = RingSealer(ALICE, ring(None)), RingSealer(BOB, keys)
    talk(late, present)
    keys.take(RingKey(epoch=1, key=NEW, stage=Stage.RETIRE))
    assert not late.is_for_me(present.seal(ALICE.public_key, b"!"))
    assert RingSealer(ALICE, ring(Stage.USE)).is_for_me(present.seal(ALICE.public_key, b"!"))
