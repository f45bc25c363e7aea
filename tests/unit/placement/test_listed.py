"""Listed: a module keeps its place, and another list has another checksum."""

from hypothesis import given
from hypothesis import strategies as st

from meshnode.ids import ContentHash, tag_of
from meshnode.placement.listed import Listed
from meshnode.wire.excerpts import listed

A, B, C, D = (ContentHash(bytes([n]) * 32) for n in range(4))


def test_a_new_module_takes_the_place_of_one_that_went() -> None:
    made = Listed()
    assert made.keep((A, B, C)) == [A, B, C]
    before = made.checksum
    assert made.keep((C, D, A)) == [A, D, C]
    assert made.checksum == listed(map(tag_of, (A, D, C))) != before
    assert made.keep((A, C)) == [A, C]
    assert made.keep(()) == []
    assert made.keep((B, B)) == [B]


@given(st.lists(st.lists(st.sampled_from([A, B, C, D]), unique=True), max_size=8))
def test_the_list_has_what_is_shown_and_who_stays_moves_only_to_fill_a_gap(
    shown: list[list[ContentHash]],
) -> None:
    made, before = Listed(), list[ContentHash]()
    for each in shown:
        now = list(made.keep(each))
        assert sorted(now) == sorted(each)
        if set(before) <= set(each) or len(each) >= len(before):
            assert all(now[i] == m for i, m in enumerate(before) if m in each)
        before = now
