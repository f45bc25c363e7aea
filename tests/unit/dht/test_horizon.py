"""Whether the whole mesh is known, and what a publication makes of it."""

from collections.abc import Sequence
from dataclasses import replace

from meshnode.dht.horizon import AGREED_LASTS_S, View
from meshnode.dht.machine import DhtEffect, DhtMachine, FindNodes, Observe, Publish, PublishFinished
from meshnode.dht.records import Record, key_of, sign
from meshnode.ids import Contact
from meshnode.wire.messages import FindNode, PutRecord, PutReply, Received, Send
from tests.unit.dht.driving import B, C, knowing, reply, run, sends, settled
from tests.unit.dht.page import ALICE, name, numbered, provider

CROWD = [numbered(n, f"10.1.0.{n}") for n in range(1, 21)]
"""More than k."""
TARGET = bytes(32)


def view(each: DhtMachine, now: float) -> View:
    return each._horizon.view(now)


def well_acquainted(*contacts: Contact) -> DhtMachine:
    """A machine whose contacts have all said at time 1 that they know nobody else."""
    each = knowing(*contacts)
    for ticket, contact in enumerate(contacts, 1):
        settled(each, each.handle(FindNodes(ticket, contact.node_id), 1.0), 1.0)
    return each


def publish(each: DhtMachine, record: Record, now: float) -> list[Send]:
    data = sign(ALICE, record)
    return sends(each.handle(Publish(9, key_of(record), data), now))


def answer_all(each: DhtMachine, asked: Sequence[Send], now: float) -> list[DhtEffect]:
    return [effect for send in asked for effect in each.handle(reply(send), now)]


def test_whom_nobody_asked_for_others_knows_a_part() -> None:
    assert view(knowing(*CROWD), 1.0) is View.PART


def test_a_mesh_is_known_when_half_of_it_names_nobody_new() -> None:
    assert view(well_acquainted(*CROWD), 2.0) is View.ALL


def test_their_word_does_not_last() -> None:
    each = well_acquainted(*CROWD)
    assert view(each, 2.0 + AGREED_LASTS_S) is View.PART


def test_a_stranger_who_is_named_shows_that_there_are_others() -> None:
    each = well_acquainted(*CROWD)
    (asked, *_) = sends(each.handle(FindNodes(99, TARGET), 2.0), FindNode)
    each.handle(reply(asked, numbered(77, "10.1.0.77")), 2.0)
    assert view(each, 2.0) is View.PART


def test_whoever_turned_somebody_away_does_not_know_all() -> None:
    each = knowing(*(numbered(n, f"10.1.{n >> 8}.{n & 255}") for n in range(1, 60)))
    before = view(well_acquainted(*CROWD), 2.0)
    each._table.buckets[0].replacement_nodes[bytes(32)] = each._table.node
    assert (before, view(each, 2.0)) == (View.ALL, View.PART)


def test_where_all_are_known_a_record_is_stored_without_a_lookup() -> None:
    each = well_acquainted(*CROWD)
    asked = publish(each, provider(ALICE), 2.0)
    assert {s.recipient for s in asked} == set(CROWD)
    assert all(isinstance(s.message, PutRecord) for s in asked)


def test_it_is_reported_when_k_nodes_keep_it_and_goes_on_to_the_rest() -> None:
    each = well_acquainted(*CROWD)
    asked = publish(each, provider(ALICE), 2.0)
    assert answer_all(each, asked[:15], 2.1) == []
    (finished,) = each.handle(reply(asked[15]), 2.1)
    assert finished == PublishFinished(ticket=9, stored=16)
    silent = {s.recipient for s in sends(run(each, 3.0), PutRecord)}
    assert silent == {s.recipient for s in asked[16:]}
    assert answer_all(each, asked[16:], 3.0) == []


def test_a_name_is_reported_when_everybody_has_answered() -> None:
    each = well_acquainted(*CROWD)
    asked = publish(each, name(ALICE, seq=5), 2.0)
    assert answer_all(each, asked[:-1], 2.1) == []
    newer = PutReply(rpc=asked[-1].message.rpc, kept=False, seq=7)
    (finished,) = each.handle(Received(asked[-1].recipient, newer), 2.2)
    assert finished == PublishFinished(ticket=9, stored=19, conflicts=1, seq_held=7)


def likely_acquainted(*contacts: Contact) -> DhtMachine:
    each = knowing(*contacts)
    for contact in contacts[:6]:
        each._horizon.told(contact.node_id, (), 1.0)
    assert view(each, 2.0) is View.LIKELY_ALL
    return each


def test_where_that_is_likely_others_are_looked_for_afterwards() -> None:
    each = likely_acquainted(*CROWD)
    asked = publish(each, provider(ALICE), 2.0)
    assert all(isinstance(s.message, PutRecord) for s in asked)
    said = answer_all(each, asked, 2.1)
    assert PublishFinished(ticket=9, stored=16) in said
    found = numbered(77, "10.1.0.77")
    (first, *others) = sends(said, FindNode)
    stored: list[Send] = []
    questions = [*sends(each.handle(reply(first, found), 2.2)), *others]
    while questions:
        send = questions.pop()
        if isinstance(send.message, PutRecord):
            stored.append(send)
        questions += sends(each.handle(reply(send), 2.2))
    assert [s.recipient for s in stored] == [found]


def test_a_name_is_looked_up_first_unless_all_are_known() -> None:
    each = likely_acquainted(*CROWD)
    asked = publish(each, name(ALICE, seq=5), 2.0)
    assert asked
    assert all(isinstance(s.message, FindNode) for s in asked)


def test_a_keeper_not_heard_lately_is_asked_again_with_its_cookie() -> None:
    each = well_acquainted(B, C, numbered(4, "10.0.0.4"))
    for contact in (B, C, numbered(4, "10.0.0.4")):
        each._table.get(contact.node_id).last_seen = -1000.0
    first = publish(each, provider(ALICE), 2.0)[0]
    refusal = replace(reply(first, kept=False), sender=first.recipient)
    (again,) = sends(each.handle(refusal, 2.1))
    assert (again.recipient, again.message.record) == (first.recipient, first.message.record)
    assert sends(each.handle(reply(again, kept=False), 2.2)) == []


def test_a_stranger_heard_of_before_counts_where_later_answers_leave_him_out() -> None:
    each = well_acquainted(*CROWD)
    first, *others = sends(each.handle(FindNodes(99, TARGET), 2.0), FindNode)
    questions = [*others, *sends(each.handle(reply(first, numbered(77, "10.1.0.77")), 2.0))]
    while questions:
        send = questions.pop()
        if send.recipient in CROWD:
            questions += sends(each.handle(reply(send), 2.0))
    assert view(each, 2.0) is View.PART


def test_who_named_a_stranger_has_agreed_once_the_stranger_is_known() -> None:
    each = well_acquainted(*CROWD)
    newcomer = numbered(77, "10.1.0.77")
    (asked, *_) = sends(each.handle(FindNodes(99, TARGET), 2.0), FindNode)
    each.handle(reply(asked, newcomer), 2.0)
    assert view(each, 2.0) is View.PART
    for asked in sends(each.handle(Observe(newcomer), 2.1)):
        each.handle(reply(asked), 2.1)
    assert view(each, 2.1) is View.ALL


def test_an_answer_that_may_be_cut_says_nothing_of_the_rest() -> None:
    each = knowing(*CROWD)
    for contact in CROWD:
        each._horizon.told(contact.node_id, CROWD[:8], 1.0, cut=True)
    assert view(each, 1.0) is View.PART


def test_words_given_before_the_mesh_grew_do_not_count() -> None:
    each = well_acquainted(*CROWD)
    for n in range(100, 106):
        newcomer = numbered(n, f"10.1.0.{n}")
        for asked in sends(each.handle(Observe(newcomer), 2.0)):
            each.handle(reply(asked), 2.0)
    assert view(each, 2.0) is View.PART


def test_whoever_declines_to_know_an_asker_does_not_know_all() -> None:
    each = well_acquainted(*CROWD)
    each._horizon.declined(2.0)
    assert view(each, 3.0) is View.PART
    assert view(each, 2.0 + AGREED_LASTS_S - 10.0) is View.PART


def test_few_of_the_strangers_at_one_address_are_met() -> None:
    each = knowing(*CROWD)
    named = [replace(numbered(n), address=CROWD[0].address) for n in range(200, 216)]
    each._horizon.told(CROWD[0].node_id, named, 1.0)
    assert each._horizon.to_meet(2.0) == named[:4]
    assert each._horizon.to_meet(100.0) == []
