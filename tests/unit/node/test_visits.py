"""A door refuses at once what nobody can answer in time, and says whose fault that is."""

import pytest
import trio

from meshnode.errors import Overloaded, OverShare
from meshnode.node.visits import Visits
from meshnode.placement.choose import Scored
from meshnode.placement.score import Score
from tests.unit.placement.nodes import node

LATE = Scored(node("a"), Score(1.0, 0.0, 90.0, 50.0, 0.0, 0.0, 0.0, False))
"""It would take 141 ms."""


async def told(visits: Visits, source: str, *, within_s: float = 0.1) -> Overloaded:
    """Return the refusal of a request whose source has used up its window."""
    visits.visit(source).check(LATE, trio.current_time() + within_s, tried=False)
    with pytest.raises(Overloaded) as refusal:
        visits.visit(source).check(LATE, trio.current_time() + within_s, tried=False)
    return refusal.value


async def test_a_source_alone_is_told_that_there_is_no_room() -> None:
    error = await told(Visits(), "only")
    assert type(error) is Overloaded
    assert error.retry_after_ms is not None
    assert error.retry_after_ms >= 51, "the best is so much too late: 141 ms, of 0.9 of 100"


async def test_of_two_the_one_that_asks_most_is_told_to_ask_less() -> None:
    visits = Visits()
    for _ in range(8):
        visits.visit("flood")
    assert type(await told(visits, "light")) is Overloaded
    assert type(await told(visits, "flood")) is OverShare
