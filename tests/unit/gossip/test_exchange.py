"""Exchange: what two tables find out about each other, and how little it may cost."""

from itertools import pairwise

from meshnode.gossip.exchange import ASKED_BURST, OWED_CONTACTS_MAX, OWED_WORDS_MAX, Exchange
from meshnode.gossip.member import Member
from meshnode.gossip.settings import GossipSettings
from meshnode.gossip.table import MemberTable
from meshnode.ids import Address, Contact, NodeTag, PublicKey
from meshnode.machine import Random
from meshnode.wire.messages import Digest, Summary, Want
from tests.unit.gossip.people import ALIVE, ANN, BOB, CID, LEFT, OWN, tag, update


def exchange(own: Contact, *others: Contact) -> Exchange:
    table = MemberTable(GossipSettings())
    for contact in others:
        table.apply(update(contact), 0.0)
    made = Exchange(tag(own), table, settings=GossipSettings(), rng=Random(1))
    made.start(0.0)
    return made


def paid(made: Exchange) -> dict[Contact, set[Contact]]:
    found: dict[Contact, set[Contact]] = {}
    while made:
        members: list[Member] = []
        contact = made.pay(lambda member, take=members: take.append(member) or True)
        assert contact is not None
        found.setdefault(contact, set()).update(m.contact for m in members)
    return found


def compared(one: Exchange, two: Exchange, now: float = 5.0) -> Summary | None:
    digest = one.begin(1, now)
    assert digest is not None
    return two.compare(OWN, digest, 1, now)


def test_tables_that_agree_say_so_and_rest_longer_each_time_up_to_half_a_minute() -> None:
    one, two = exchange(OWN, ANN, BOB), exchange(ANN, OWN, BOB)
    times = [5.0]
    for _ in range(9):
        summary = compared(one, two, times[-1])
        assert summary == Summary(parts=b"", entries=b"")
        assert one.learn(ANN, summary, times[-1]) == (None, False)
        times.append(one._next_at)
    rests = [after - before for before, after in pairwise(times)]
    assert 1.5 <= rests[0] <= 2.5
    assert all(22.5 <= rest <= 37.5 for rest in rests[5:])


def test_without_an_answer_it_is_tried_again_soon() -> None:
    made = exchange(OWN, ANN)
    assert made.begin(1, 5.0) is not None
    assert made.begin(1, 5.9) is None
    assert made.begin(1, 6.1) is not None


def test_each_side_gets_what_it_lacks() -> None:
    one, two = exchange(OWN, ANN, BOB), exchange(ANN, OWN, CID)
    summary = compared(one, two)
    assert summary is not None
    want, about_us = one.learn(ANN, summary, 5.0)
    assert want == Want(tags=tag(CID))
    assert not about_us
    assert paid(one) == {ANN: {BOB}}
    assert not two.wanted(OWN, want, 5.0)
    assert paid(two) == {OWN: {CID}}


def test_who_does_not_know_us_hears_our_word() -> None:
    one, two = exchange(OWN, ANN), exchange(ANN)
    summary = compared(one, two)
    assert summary is not None
    assert one.learn(ANN, summary, 5.0)[1]
    three = exchange(ANN)
    assert three.wanted(OWN, Want(tags=tag(ANN)), 5.0)


def test_newer_words_and_goodbyes_are_brought_to_who_has_older() -> None:
    one, two = exchange(OWN, ANN, BOB, CID), exchange(ANN, OWN, BOB, CID)
    one._table.apply(update(BOB, ALIVE, 2), 1.0)
    one._table.apply(update(CID, LEFT), 1.0)
    summary = compared(one, two)
    assert summary is not None
    assert one.learn(ANN, summary, 5.0) == (None, False)
    assert paid(one) == {ANN: {BOB, CID}}


def test_one_peer_cannot_ask_all_day() -> None:
    made = exchange(OWN, ANN)
    digest = Digest(parts=bytes(256))
    answers = [made.compare(ANN, digest, 1, 5.0) for _ in range(50)]
    assert sum(answer is not None for answer in answers) == ASKED_BURST
    assert made.compare(ANN, digest, 1, 6.0) is not None


def test_a_summary_of_strange_parts_and_a_want_of_strangers_do_no_harm() -> None:
    made = exchange(OWN, ANN)
    want, _ = made.learn(ANN, Summary(parts=bytes([255, 64]), entries=bytes(32)), 5.0)
    assert want == Want(tags=bytes(8))
    made.wanted(ANN, Want(tags=b"stranger"), 5.0)
    assert paid(made) == {}


def test_what_is_owed_is_bounded_and_what_is_dropped_counted() -> None:
    made = exchange(OWN, ANN)
    made.owe(ANN, [NodeTag(i.to_bytes(8, "big")) for i in range(OWED_WORDS_MAX + 10)])
    assert made.dropped == 10
    for i in range(OWED_CONTACTS_MAX):
        made.owe(Contact(PublicKey(bytes([i]) * 32), Address("h", 1)), [tag(ANN)])
    assert made.dropped == 10 + OWED_WORDS_MAX


def test_words_that_do_not_fit_are_owed_further() -> None:
    made = exchange(OWN, ANN, BOB)
    made.owe(CID, [tag(ANN), tag(BOB)])
    taken: list[Member] = []
    assert made.pay(lambda m: not taken and (taken.append(m) or True)) == CID
    assert paid(made) == {CID: {BOB}}
