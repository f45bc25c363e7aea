"""Far nodes are drawn in proportion to what they can do."""

from collections import Counter

from meshnode.machine import Random
from meshnode.placement.scope import draw_far


def test_a_far_node_is_drawn_as_often_as_its_capacity_is_large() -> None:
    rng, drawn = Random(1), Counter[str]()
    far = [("small", 1.0), ("large", 9.0)]
    for _ in range(2000):
        drawn.update(draw_far(far, 1, rng))
    assert 0.86 < drawn["large"] / 2000 < 0.94


def test_nobody_is_drawn_twice_and_never_more_than_there_are() -> None:
    far = [(str(i), float(i)) for i in range(5)]
    assert sorted(draw_far(far, 9, Random(1))) == ["0", "1", "2", "3", "4"]
    assert draw_far(far, -1, Random(1)) == []
    assert draw_far([], 3, Random(1)) == []
