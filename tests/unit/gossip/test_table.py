"""MemberTable: beliefs, suspicions, bounds."""

from dataclasses import replace

import pytest

from meshnode.gossip.settings import GossipSettings
from meshnode.gossip.table import MemberTable
from meshnode.ids import Address, Contact
from tests.unit.gossip.people import ALIVE, ANN, BOB, CID, DEAD, DOT, LEFT, SUSPECT, tag, update

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


def test_the_death_of_a_stranger_is_no_news() -> None:
    table = MemberTable(GossipSettings())
    assert table.apply(update(ANN, DEAD), 0.0) is None
    assert table.apply(update(ANN, LEFT), 0.0) is None
    assert table.all() == ()


def test_an_address_changes_only_with_a_higher_incarnation() -> None:
    table = table_of(ANN)
    table.apply(update(MOVED, SUSPECT), 1.0)
    assert table.get(ANN.node_id).contact == ANN  # type: ignore[union-attr]
    table.apply(update(MOVED, ALIVE, 2), 1.0)
    assert table.get(ANN.node_id).contact == MOVED  # type: ignore[union-attr]


def test_a_refutation_alone_is_no_visible_change_but_news() -> None:
    table = table_of(ANN)
    applied = table.apply(update(ANN, ALIVE, 2), 1.0)
    assert applied is not None
    assert not applied.changed


def test_late_claims_do_not_resurrect_the_dead() -> None:
    table = table_of(ANN)
    table.apply(update(ANN, DEAD), 1.0)
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
    table.apply(update(ANN, SUSPECT, accuser=tag(BOB)), 10.0)
    assert table.next_deadline() == 34.0
    assert table.apply(update(ANN, SUSPECT, accuser=tag(BOB)), 11.0) is None
    assert table.apply(update(ANN, SUSPECT), 11.0) is None  # a reminder accuses nobody anew
    assert table.apply(update(ANN, SUSPECT, accuser=tag(CID)), 11.0) is not None
    assert table.apply(update(ANN, SUSPECT, accuser=tag(DOT)), 11.0) is not None
    assert table.next_deadline() == 14.0
    assert table.expired(13.9) == []
    assert [m.contact for m in table.expired(14.0)] == [ANN]
    table.delay(5.0)
    assert table.expired(14.0) == []


def test_a_refutation_ends_a_suspicion() -> None:
    table = table_of(ANN, BOB)
    table.apply(update(ANN, SUSPECT, accuser=tag(BOB)), 1.0)
    table.apply(update(ANN, ALIVE, 2), 2.0)
    assert table.next_deadline() is None


def test_the_gone_make_room_and_the_present_do_not() -> None:
    table = table_of(ANN, BOB, members_max=2)
    assert table.apply(update(CID), 5.0) is None
    table.apply(update(ANN, DEAD), 6.0)
    assert table.apply(update(CID), 7.0) is not None
    assert {m.contact for m in table.all()} == {BOB, CID}
    assert table.present_count == 2


def test_the_gone_are_forgotten_in_time() -> None:
    table = table_of(ANN, BOB)
    table.apply(update(ANN, DEAD), 10.0)
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
