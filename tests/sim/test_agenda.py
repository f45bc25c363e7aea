"""Agenda: the same order as one heap of everything, whatever is pushed when."""

from heapq import heappop, heappush

from hypothesis import given
from hypothesis import strategies as st

from meshnode.sim.agenda import Agenda

pushes = st.lists(st.floats(0.0, 5.0), max_size=8)


@given(st.lists(st.tuples(pushes, st.floats(0.0, 2.0)), max_size=30))
def test_it_gives_what_one_heap_gives(rounds: list[tuple[list[float], float]]) -> None:
    agenda: Agenda[None] = Agenda()
    heap: list[tuple[float, int, None]] = []
    now, order = 0.0, 0
    for ahead, seconds in rounds:
        for wait in ahead:
            order += 1
            agenda.push(now + wait, order, None)
            heappush(heap, (now + wait, order, None))
        now += seconds
        while heap and heap[0][0] <= now:
            assert agenda.pop(now) == heappop(heap)
        assert agenda.pop(now) is None
        assert len(agenda) == len(heap)


def test_what_is_pushed_into_the_present_comes_before_what_follows() -> None:
    agenda: Agenda[str] = Agenda()
    agenda.push(1.0001, 1, "a")
    agenda.push(1.0003, 2, "c")
    assert agenda.pop(2.0) == (1.0001, 1, "a")
    agenda.push(1.0002, 3, "b")
    agenda.push(0.5, 4, "late")
    assert [agenda.pop(2.0) for _ in range(4)] == [
        (0.5, 4, "late"),
        (1.0002, 3, "b"),
        (1.0003, 2, "c"),
        None,
    ]
