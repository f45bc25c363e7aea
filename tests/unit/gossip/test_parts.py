"""Parts: the same members give the same row, in whatever order they came."""

from hypothesis import given
from hypothesis import strategies as st

from meshnode.gossip.parts import ROW_BYTES, Parts, differing, part_of
from meshnode.ids import NodeTag

tags = st.binary(min_size=8, max_size=8).map(NodeTag)
members = st.lists(st.tuples(tags, st.integers(0, 2**63)), unique=True, max_size=12)
OWN = NodeTag(bytes(8))


def row_of(entries: list[tuple[NodeTag, int]]) -> bytes:
    parts = Parts()
    for tag, incarnation in entries:
        parts.toggle(tag, incarnation)
    return parts.row(OWN, 1)


@given(members, st.randoms())
def test_the_order_does_not_matter_and_who_left_leaves_no_trace(entries, rng) -> None:
    shuffled = list(entries)
    rng.shuffle(shuffled)
    extra = (NodeTag(b"whatever"), 7)
    assert row_of(entries) == row_of([*shuffled, extra, extra])
    assert len(row_of(entries)) == ROW_BYTES


@given(members, tags, st.integers(0, 2**62))
def test_one_member_more_or_newer_shows_in_its_part(entries, tag, incarnation) -> None:
    before = row_of(entries)
    assert differing(before, row_of([*entries, (tag, incarnation)])) == [part_of(tag)]
    newer = row_of([*entries, (tag, incarnation + 1)])
    assert differing(row_of([*entries, (tag, incarnation)]), newer) == [part_of(tag)]


def test_two_members_that_refute_at_once_do_not_hide_each_other() -> None:
    """A linear hash (CRC) would let equal steps cancel out within a part."""
    one, two = NodeTag(b"\x01" + bytes(7)), NodeTag(b"\x01" + bytes(6) + b"\x01")
    assert row_of([(one, 1), (two, 1)]) != row_of([(one, 2), (two, 2)])
