"""Told: a node is told with a request, and not again at once."""

from meshnode.placement.told import AGAIN_S, NODES_MAX, Told
from tests.unit.placement.nodes import node_id

A, B = node_id("a"), node_id("b")


def test_a_node_is_told_once_in_a_while() -> None:
    told = Told()
    assert told.is_due(A, 1.0)
    assert not told.is_due(A, 1.0)
    assert told.is_due(B, 1.0)
    assert not told.is_due(A, 1.0 + AGAIN_S / 2)
    assert told.is_due(A, 1.0 + AGAIN_S)
    assert told.is_due(A, 0.5), "a clock that went back silences nobody"


def test_it_remembers_no_more_nodes_than_there_is_room_for() -> None:
    told = Told()
    for number in range(NODES_MAX + 1):
        assert told.is_due(node_id(str(number)), 1.0)
    assert told.is_due(node_id("0"), 1.0)
    assert not told.is_due(node_id(str(NODES_MAX)), 1.0)
