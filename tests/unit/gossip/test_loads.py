"""Loads: the newest of each node, ageing while it is held."""

from meshnode.gossip.loads import AGE_MS_MAX, QUOTED_AHEAD_MAX, LoadTable, aged
from meshnode.wire.excerpts import excerpt
from tests.unit.gossip.people import ANN, BOB, CID, load, tag


def test_only_a_higher_sequence_counts() -> None:
    table = LoadTable(30.0)
    assert table.hear(load(ANN, 5), 0.0, 1.0) == load(ANN, 5)
    assert table.hear(load(ANN, 5), 0.0, 1.0) is None
    assert table.hear(load(ANN, 4), 0.0, 2.0) is None
    assert table.hear(load(ANN, 6), 0.0, 2.0) == load(ANN, 6)


def test_ages_add_up_by_holding_and_by_the_way() -> None:
    table = LoadTable(30.0)
    assert table.hear(load(ANN, age_ms=200), 10.0, now=5.0) == load(ANN, age_ms=210)
    assert table.freshest(8, now=6.5) == [load(ANN, age_ms=1710)]


def test_the_freshest_come_first() -> None:
    table = LoadTable(30.0)
    table.hear(load(ANN, age_ms=900), 0.0, 1.0)
    table.hear(load(BOB, age_ms=100), 0.0, 1.0)
    table.hear(load(CID, age_ms=500), 0.0, 1.0)
    assert [r.node for r in table.freshest(2, 1.0)] == [tag(BOB), tag(CID)]


def test_old_records_are_neither_taken_nor_passed_on() -> None:
    table = LoadTable(30.0)
    assert table.hear(load(ANN, age_ms=30_001), 0.0, 1.0) is None
    table.hear(load(BOB, 9), 0.0, 1.0)
    assert table.freshest(8, 31.5) == []
    assert table.hear(load(BOB, 1), 0.0, 31.5) is not None  # a stale record blocks nobody


def test_a_forgotten_node_starts_anew() -> None:
    table = LoadTable(30.0)
    table.hear(load(ANN, 9), 0.0, 1.0)
    table.forget(tag(ANN))
    assert table.hear(load(ANN, 1), 0.0, 1.0) is not None


def test_an_age_never_leaves_what_the_wire_can_say() -> None:
    assert aged(load(ANN), 0.0, 1e9).age_ms == AGE_MS_MAX
    assert aged(load(ANN), 5.0, 1.0).age_ms == 0


def test_what_a_node_says_itself_stands_above_what_is_quoted_of_it() -> None:
    table = LoadTable(30.0)
    assert table.hear(load(ANN, 5), 0.0, 1.0, direct=True) is not None
    assert table.hear(load(ANN, 5 + QUOTED_AHEAD_MAX + 1), 0.0, 1.1) is None  # invented
    assert table.hear(load(ANN, 900), 0.0, 1.2) is not None  # perhaps invented
    assert table.hear(load(ANN, 6), 0.0, 2.0, direct=True) == load(ANN, 6)  # it was
    assert table.hear(load(ANN, 6), 0.0, 2.0, direct=True) is None


def test_a_late_word_of_a_node_does_not_replace_a_true_quotation() -> None:
    table = LoadTable(30.0)
    table.hear(load(ANN, 5), 0.0, 1.0, direct=True)
    assert table.hear(load(ANN, 8, age_ms=10), 0.0, 2.0) is not None
    assert table.hear(load(ANN, 7, age_ms=300), 0.0, 2.0, direct=True) is None
    assert table.hear(load(ANN, 8, age_ms=10), 0.0, 2.0, direct=True) is None


def test_a_record_that_was_overtaken_may_still_tell_of_a_module() -> None:
    table = LoadTable(30.0)
    early, late = (excerpt(load(ANN, n, modules=3), n) for n in (1, 2))
    assert not table.is_late(early)
    table.hear(late, 0.0, 1.0)
    assert table.is_late(early)
    assert not table.is_late(late)
    assert not table.is_late(load(ANN, 1, modules=3)), "a whole one tells nothing that is newer"
    assert not table.is_late(excerpt(load(ANN, 1, modules=3), 0, 0))
