"""MemberTable: beliefs, suspicions, bounds."""

from collections import Counter
from dataclasses import replace

import pytest

from meshnode.gossip.settings import GossipSettings
from meshnode.gossip.table import MemberTable
from meshnode.ids import Address, Contact
from meshnode.machine import Random
from tests.unit.gossip.people import (
    ALIVE,
    ANN,
    BOB,
    CID,
    DOT,
    LEFT,
    SUSPECT,
    accusation,
    tag,
    update,
)

MOVED = Contact(ANN.public_key, Address("10.9.9.9", 6174))


def table_of(*contacts: Contact, members_max: int = 10) -> MemberTable:
    table = MemberTable(GossipSettings(members_max=members_max))
    for i, contact in enumerate(contacts):
        assert table.apply(update(contact), float(i)) is not None
    return table


def test_a_first_claim_that_somebody_lives_adds_it() -> None:
    table = MemberTable(GossipSettings())
    applied = table.apply(update(ANN, name="ann"), 5.0)
    assert applied is not None
    assert applied.appeared
    assert applied.changed
    assert (applied.member.name, applied.member.changed_at) == ("ann", 5.0)
    assert table.present_count == 1
    assert table.knows_tag(tag(ANN))


def dead_at(table: MemberTable, who: Contact, now: float) -> None:
    """Let a member be accused and run out of time."""
    member = table.get(who.node_id)
    assert member is not None
    assert table.accuse(accusation(who, BOB, member.incarnation), now, now) is not None
    assert [m.contact for m in table.expired(now, now + 1000)] == [who]


def test_that_a_stranger_left_is_no_news() -> None:
    table = MemberTable(GossipSettings())
    assert table.apply(update(ANN, LEFT), 0.0) is None
    assert table.all() == ()


def test_an_address_changes_only_with_a_higher_incarnation() -> None:
    table = table_of(ANN)
    table.apply(update(MOVED, ALIVE), 1.0)
    assert table.get(ANN.node_id).contact == ANN  # type: ignore[union-attr]
    table.apply(update(MOVED, ALIVE, 2), 1.0)
    assert table.get(ANN.node_id).contact == MOVED  # type: ignore[union-attr]


def test_a_refutation_alone_is_no_visible_change_but_news() -> None:
    table = table_of(ANN)
    applied = table.apply(update(ANN, ALIVE, 2), 1.0)
    assert applied is not None
    assert not applied.changed


def test_late_words_do_not_resurrect_the_dead() -> None:
    table = table_of(ANN)
    dead_at(table, ANN, 1.0)
    assert table.apply(update(ANN, ALIVE), 2.0) is None
    assert not table.knows_tag(tag(ANN))
    applied = table.apply(update(ANN, ALIVE, 2), 3.0)
    assert applied is not None
    assert applied.appeared
    assert table.present_count == 1


def test_an_incarnation_does_not_jump() -> None:
    table = table_of(ANN)
    assert table.apply(update(ANN, ALIVE, 1 + 2**16 + 1), 1.0) is None
    assert table.apply(update(ANN, ALIVE, 1 + 2**16), 1.0) is not None


def test_accusers_shorten_a_suspicion_and_each_counts_once() -> None:
    table = table_of(ANN, BOB, CID, DOT)
    table.accuse(accusation(ANN, BOB), 10.0, 10.0)
    assert table.get(ANN.node_id).state is SUSPECT  # type: ignore[union-attr]
    assert table.next_deadline() == 34.0
    assert table.accuse(accusation(ANN, BOB), 11.0, 11.0) is None
    assert table.accuse(accusation(ANN, CID), 11.0, 11.0) is not None
    assert table.accuse(accusation(ANN, DOT), 11.0, 11.0) is not None
    assert table.next_deadline() == 14.0
    assert table.expired(13.9, 13.9) == []
    assert [m.contact for m in table.expired(14.0, 14.0)] == [ANN]
    assert table.next_deadline() is None
    assert [a.accuser for a in table.evidence(tag(ANN))] == [tag(BOB), tag(CID), tag(DOT)]


def test_accusations_of_another_incarnation_or_of_the_gone_mean_nothing() -> None:
    table = table_of(ANN, BOB)
    assert table.accuse(accusation(ANN, BOB, 2), 1.0, 1.0) is None
    assert table.accuse(accusation(ANN, BOB, 0), 1.0, 1.0) is None
    assert table.accuse(accusation(CID, BOB), 1.0, 1.0) is None
    table.apply(update(ANN, LEFT), 2.0)
    assert table.accuse(accusation(ANN, BOB), 3.0, 3.0) is None


def test_a_refutation_ends_a_suspicion_and_names_who_was_wrong() -> None:
    table = table_of(ANN, BOB)
    table.accuse(accusation(ANN, BOB), 1.0, 1.0)
    applied = table.apply(update(ANN, ALIVE, 2), 2.0)
    assert applied is not None
    assert applied.refuted == (accusation(ANN, BOB),)
    assert table.next_deadline() is None
    assert table.evidence(tag(ANN)) == ()


def test_the_gone_make_room_and_the_present_do_not() -> None:
    table = table_of(ANN, BOB, members_max=2)
    assert table.apply(update(CID), 5.0) is None
    dead_at(table, ANN, 6.0)
    assert table.apply(update(CID), 7.0) is not None
    assert {m.contact for m in table.all()} == {BOB, CID}
    assert table.present_count == 2


def test_the_gone_are_forgotten_in_time() -> None:
    table = table_of(ANN, BOB)
    dead_at(table, ANN, 10.0)
    table.apply(update(BOB, LEFT), 10.0)
    assert [m.contact for m in table.dead()] == [ANN]
    table.forget_old(611.0)
    assert [m.contact for m in table.all()] == [ANN]
    table.forget_old(3611.0)
    assert table.all() == ()


def test_round_trips_are_averaged_and_belong_to_an_address() -> None:
    table = table_of(ANN)
    table.note_rtt(ANN.node_id, 10.0)
    table.note_rtt(ANN.node_id, 20.0)
    assert table.get(ANN.node_id).rtt_ms == 12.0  # type: ignore[union-attr]
    table.note_rtt(ANN.node_id, 9_000.0)  # a process that was stopped for nine seconds
    assert table.get(ANN.node_id).rtt_ms == pytest.approx(19.2)  # type: ignore[union-attr]
    table.note_rtt(BOB.node_id, 1.0)  # a stranger's ack changes nothing
    table.apply(replace(update(MOVED, ALIVE, 2)), 1.0)
    assert table.get(ANN.node_id).rtt_ms is None  # type: ignore[union-attr]


def test_a_sample_has_present_members_once_and_not_those_left_out() -> None:
    table = table_of(ANN, BOB, CID, DOT)
    table.apply(update(DOT, LEFT), 1.0)
    for seed in range(20):
        drawn = table.sample(3, Random(seed), without=(tag(BOB),))
        assert sorted(m.name for m in drawn) == ["somebody"] * 2
        assert {m.contact for m in drawn} == {ANN, CID}
    assert table.apply(update(DOT, ALIVE, 2), 2.0) is not None
    assert {m.contact for m in table.sample(9, Random(1))} == {ANN, BOB, CID, DOT}


def test_every_member_is_drawn_about_as_often() -> None:
    table = table_of(ANN, BOB, CID, DOT)
    rng = Random(1)
    drawn = Counter(m.contact for _ in range(4000) for m in table.sample(1, rng))
    assert all(800 < count < 1200 for count in drawn.values())


def test_two_tables_that_believe_the_same_have_one_row() -> None:
    one, two = table_of(ANN, BOB), table_of(ANN, CID, BOB)
    assert one.row(tag(DOT), 1) != two.row(tag(DOT), 1)
    two.apply(update(CID, LEFT), 5.0)
    assert one.row(tag(DOT), 1) == two.row(tag(DOT), 1)
    one.apply(update(ANN, ALIVE, 2), 5.0)
    assert one.row(tag(DOT), 1) != two.row(tag(DOT), 1)
    dead_at(two, ANN, 5.0)
    two.apply(update(ANN, ALIVE, 2), 6.0)
    assert one.row(tag(DOT), 1) == two.row(tag(DOT), 1)


def test_a_member_that_refutes_again_and_again_is_slow_and_not_soon_dead() -> None:
    table = table_of(ANN, BOB)
    waits = []
    for incarnation in range(1, 9):
        table.accuse(accusation(ANN, BOB, incarnation), 10.0, 10.0)
        deadline = table.next_deadline()
        assert deadline is not None
        waits.append(deadline - 10.0)
        table.apply(update(ANN, ALIVE, incarnation + 1), 10.0)
    assert waits == [4.0, 12.0, 20.0, 28.0, 28.0, 28.0, 28.0, 28.0]
