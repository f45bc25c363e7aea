"""Copies of datagrams, told by their numbers."""

from hypothesis import given
from hypothesis import strategies as st

from meshnode.ids import PublicKey
from meshnode.net.replays import SENDERS_MAX, STARTS_MAX, WINDOW, Replays
from tests.unit.net.mesh import ALICE, BOB

A, B = ALICE.public_key, BOB.public_key


def nonce(number: int, start: int = 0) -> bytes:
    return bytes([start]) * 16 + number.to_bytes(8, "big")


@given(st.lists(st.integers(0, 3 * WINDOW), max_size=200))
def test_a_number_is_new_once_and_never_again(numbers: list[int]) -> None:
    replays, entered, highest = Replays(), set(), 0
    for number in numbers:
        new = replays.is_new(A, nonce(number))
        highest = max(highest, number)
        assert new == (number not in entered and number > highest - WINDOW)
        entered.add(number)


def test_senders_and_starts_are_told_apart() -> None:
    replays = Replays()
    assert replays.is_new(A, nonce(7))
    assert replays.is_new(B, nonce(7))
    assert replays.is_new(A, nonce(7, start=1))
    assert not replays.is_new(A, nonce(7))
    assert not replays.is_new(A, nonce(7, start=1))


def test_a_window_is_left_behind_by_a_great_leap() -> None:
    replays = Replays()
    assert replays.is_new(A, nonce(1))
    assert replays.is_new(A, nonce(2**64 - 1))
    assert not replays.is_new(A, nonce(2))
    assert replays.is_new(A, nonce(2**64 - 2))


def test_what_is_kept_is_bounded() -> None:
    replays = Replays()
    for number in range(SENDERS_MAX + 10):
        replays.is_new(PublicKey(number.to_bytes(32, "big")), nonce(1))
    assert len(replays) == SENDERS_MAX
    for start in range(20):
        replays.is_new(A, nonce(1, start))
    assert len(replays._senders[A]) == STARTS_MAX
    assert not replays.is_new(A, nonce(1, 19))
