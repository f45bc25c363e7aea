"""What waits is too much if it takes half of the most hurried one's time, in whatever queues."""

from math import inf

import pytest

from meshnode.batching.crowd import Crowd


@pytest.mark.parametrize(
    ("pressures", "too_much"),
    [
        ([], False),
        ([(0.4, 1.0)], False),
        ([(0.6, 1.0)], True),
        ([(0.3, 1.0), (0.3, 5.0)], True),
        ([(0.3, 1.0), (0.0, inf)], False),
        ([(9.0, inf)], False),
        ([(0.0, -1.0)], True),
    ],
)
def test_all_queues_count_and_the_most_hurried(
    pressures: list[tuple[float, float]], too_much: bool
) -> None:
    crowd = Crowd()
    for pressure in pressures:
        crowd.joined(lambda now, p=pressure: (p[0], p[1] - now))
    assert crowd.is_too_much(0.0) is too_much


def test_a_queue_that_was_closed_counts_no_more() -> None:
    crowd = Crowd()

    def heavy(now: float) -> tuple[float, float]:
        return 10.0, 1.0

    crowd.joined(heavy)
    assert crowd.is_too_much(0.0)
    crowd.left(heavy)
    assert not crowd.is_too_much(0.0)
