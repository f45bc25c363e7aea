"""Strangers are greeted sparingly."""

from meshnode.gossip.welcome import (
    GREETINGS_IN_A_ROW,
    REMEMBERED_MAX,
    Greetings,
)
from meshnode.ids import NodeId
from tests.unit.gossip.people import ANN, BOB


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
