"""Newcomers are told everything once; strangers are greeted sparingly."""

from meshnode.gossip.welcome import (
    GREETINGS_IN_A_ROW,
    REMEMBERED_MAX,
    WELCOMES_MAX,
    Greetings,
    Welcomes,
)
from meshnode.ids import Address, Contact, NodeId, PublicKey
from tests.unit.gossip.people import ANN, BOB, update


def test_a_newcomer_is_told_until_nothing_is_left() -> None:
    welcomes = Welcomes()
    assert welcomes.wanted(ANN.node_id, 1.0)
    welcomes.begin(ANN, [update(BOB)], 1.0)
    ((contact, left),) = welcomes.open()
    assert contact == ANN
    welcomes.close_told()
    assert welcomes
    left.pop()
    welcomes.close_told()
    assert not welcomes


def test_nobody_is_told_again_soon() -> None:
    welcomes = Welcomes()
    welcomes.begin(ANN, [], 1.0)
    assert not welcomes
    assert not welcomes.wanted(ANN.node_id, 5.0)
    assert welcomes.wanted(ANN.node_id, 11.0)


def test_few_are_told_at_once() -> None:
    welcomes = Welcomes()
    for i in range(WELCOMES_MAX):
        key = PublicKey(bytes([i]) * 32)
        welcomes.begin(Contact(key, Address("h", 1)), [update(BOB)], 1.0)
    assert not welcomes.wanted(ANN.node_id, 1.0)


def test_a_stranger_is_greeted_thrice_and_then_once_a_second() -> None:
    greetings = Greetings()
    assert [greetings.allowed(ANN.node_id, 1.0) for _ in range(5)] == [True] * 3 + [False] * 2
    assert GREETINGS_IN_A_ROW == 3
    assert not greetings.allowed(ANN.node_id, 1.9)
    assert greetings.allowed(ANN.node_id, 2.1)
    assert greetings.allowed(BOB.node_id, 2.1)


def test_the_memory_of_greetings_is_bounded() -> None:
    greetings = Greetings()
    for i in range(3 * REMEMBERED_MAX):
        assert greetings.allowed(NodeId(i.to_bytes(32, "big")), 1.0)
    assert len(greetings._last_at) <= REMEMBERED_MAX
    assert len(greetings._in_a_row) <= REMEMBERED_MAX + 1
