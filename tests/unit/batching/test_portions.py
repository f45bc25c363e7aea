"""Who asks too much is told apart from who is unlucky."""

from hypothesis import given
from hypothesis import strategies as st

from meshnode.batching.portions import SHARERS_MAX, Portions


def shared(**amounts: float) -> Portions:
    portions = Portions()
    for name, amount in amounts.items():
        portions.had(name, amount, 0.0)
    return portions


def test_who_had_clearly_more_than_an_even_part_is_over_it() -> None:
    portions = shared(flood=8.0, a=1.0, b=1.0)
    assert portions.is_over("flood", 0.0)
    assert not portions.is_over("a", 0.0)
    assert not portions.is_over("stranger", 0.0)


def test_equals_are_not_over_however_much_all_ask() -> None:
    portions = shared(a=100.0, b=110.0)
    assert not portions.is_over("a", 0.0)
    assert not portions.is_over("b", 0.0)


def test_who_is_alone_takes_from_nobody() -> None:
    assert not shared(a=100.0).is_over("a", 0.0)
    assert not shared(a=100.0, b=0.5).is_over("a", 0.0), "nor from one who asks next to nothing"
    assert not Portions().is_over("a", 0.0)


def test_what_was_long_ago_fades() -> None:
    portions = shared(a=10.0, b=1.0)
    assert portions.is_over("a", 0.0)
    portions.had("b", 1.0, 30.0)
    portions.had("a", 1.0, 30.0)
    assert not portions.is_over("a", 30.0)


def test_only_so_many_are_remembered() -> None:
    portions = Portions()
    for number in range(SHARERS_MAX + 5):
        portions.had(number, 1.0, 0.0)
    assert len(portions) == SHARERS_MAX


@given(
    st.lists(st.tuples(st.integers(0, 4), st.floats(0, 100), st.floats(0, 50)), max_size=30),
    st.floats(0, 60),
)
def test_not_everybody_is_over(given: list[tuple[int, float, float]], now: float) -> None:
    portions = Portions()
    for who, amount, at in given:
        portions.had(who, amount, at)
    assert sum(portions.is_over(who, now) for who in range(5)) < 5
