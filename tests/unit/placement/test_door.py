"""Door: what is predicted to be late is refused, save that a light source finds out it is not."""

from hypothesis import given
from hypothesis import strategies as st

from meshnode.placement.door import SOURCES_MAX, WINDOW_MAX, Door, Passage
from meshnode.placement.settings import PlacementSettings

SHARE = PlacementSettings().admission_share


def test_what_can_be_in_time_passes_and_what_cannot_is_refused_by_how_much() -> None:
    door = Door()
    assert door.over_ms(Passage("cam"), 0.9 * 100 * SHARE, 100.0) is None
    first = Passage("cam")
    assert door.over_ms(first, 100.0, 100.0) is None, "one finds out"
    assert first.hoped
    over_ms = door.over_ms(Passage("cam"), 100.0, 100.0)
    assert over_ms is not None
    assert abs(over_ms - (100 - SHARE * 100)) < 1e-9


def test_a_source_whose_requests_are_in_time_after_all_is_not_refused() -> None:
    door = Door()
    for n in range(5):
        passage = Passage("light")
        assert door.over_ms(passage, 500.0, 100.0) is None
        door.ended(passage, in_time=True, now=float(n))
    several = [Passage("light") for _ in range(5)]
    assert [door.over_ms(passage, 500.0, 100.0) for passage in several] == [None] * 5


def test_a_flood_has_one_request_that_hopes() -> None:
    door = Door()
    for n in range(50):
        first, second = Passage("flood"), Passage("flood")
        assert door.over_ms(first, 500.0, 100.0) is None
        assert door.over_ms(second, 500.0, 100.0) is not None
        door.ended(first, in_time=False, now=float(n))
        door.ended(second, in_time=None, now=float(n))


def test_a_second_look_at_one_request_takes_no_second_place() -> None:
    door, passage = Door(), Passage("cam")
    assert door.over_ms(passage, 500.0, 100.0) is None
    assert door.over_ms(passage, 600.0, 90.0) is None
    door.ended(passage, in_time=None, now=1.0)
    assert door.over_ms(Passage("cam"), 500.0, 100.0) is None


def test_it_learns_how_often_answers_come() -> None:
    door = Door()
    for n in range(50):
        door.ended(Passage("cam"), in_time=True, now=n * 0.05)
    assert door.gap_s is not None
    assert abs(door.gap_s - 0.05) < 0.001


@given(
    st.lists(
        st.tuples(
            st.text(max_size=2), st.floats(0, 1e6), st.sampled_from([True, False, None, "stays"])
        ),
        max_size=80,
    )
)
def test_places_are_given_back_whatever_happens(steps: list[tuple[str, float, object]]) -> None:
    door, open_ = Door(), list[Passage]()
    for n, (source, total_ms, end) in enumerate(steps):
        passage = Passage(source)
        over_ms = door.over_ms(passage, total_ms, 100.0)
        assert over_ms is None or over_ms > 0
        if end == "stays":
            open_.append(passage)
        else:
            assert end is None or isinstance(end, bool)
            door.ended(passage, in_time=end, now=float(n))
    for passage in open_:
        door.ended(passage, in_time=None, now=1e3)
    assert all(w.hoped == 0 and 1 <= w.size <= WINDOW_MAX for w in door._windows.values())


def test_what_is_remembered_is_bounded() -> None:
    door = Door()
    for n in range(3 * SOURCES_MAX):
        door.over_ms(Passage(str(n)), 500.0, 100.0)
    assert len(door) == SOURCES_MAX
