from dataclasses import replace

from meshnode.dht.machine import (
    Doubt,
    Join,
    Observe,
)
from meshnode.ids import distance
from meshnode.wire.messages import (
    FindNode,
    FoundNodes,
    Gossip,
    PutReply,
    Received,
)
from tests.unit.dht.driving import A, B, C, knowing, machine, reply, run, sends
from tests.unit.dht.page import numbered


def test_only_those_who_answer_enter_the_table() -> None:
    a = machine()
    asked = sends(a.handle(Observe(B), 0.0))
    assert [(s.recipient, type(s.message)) for s in asked] == [(B, FindNode)]
    assert a.size == 0
    a.handle(reply(asked[0], C), 0.1)
    assert a.contacts() == [B]  # C was only told of


def test_a_proved_stranger_is_asked_back_an_unproved_one_is_only_answered() -> None:
    a = machine()
    question = FindNode(rpc=1, target=bytes(32))
    assert len(sends(a.handle(Received(B, question, proved=False), 0.0))) == 1
    answer, back = sends(a.handle(Received(B, question), 0.0))
    assert isinstance(answer.message, FoundNodes)
    assert isinstance(back.message, FindNode)
    assert len(sends(a.handle(Received(B, question), 1.0))) == 1, "asked already"
    a.handle(reply(back), 1.1)
    assert a.contacts() == [B]
    assert len(sends(a.handle(Received(B, question), 2.0))) == 1, "known"


def test_an_answer_from_elsewhere_does_not_move_a_contact_unless_proved() -> None:
    elsewhere = replace(B, address=C.address)
    for proved, known in ((False, []), (True, [elsewhere])):
        a = machine()
        (asked,) = sends(a.handle(Observe(B), 0.0))
        message = reply(asked).message
        a.handle(Received(elsewhere, message, proved=proved), 0.1)
        assert a.contacts() == known


def test_answers_nobody_asked_for_or_of_another_type_are_strays() -> None:
    a = machine()
    (asked,) = sends(a.handle(Observe(B), 0.0))
    rpc = asked.message.rpc
    assert a.handle(Received(C, FoundNodes(rpc=rpc, contacts=(C,))), 0.1) == []
    assert a.handle(Received(B, FoundNodes(rpc=rpc + 1, contacts=(C,))), 0.1) == []
    assert a.handle(Received(B, PutReply(rpc=rpc, kept=True)), 0.1) == []
    assert (a.counters.strays, a.size) == (3, 0)


def test_gossip_and_our_own_packets_are_ignored() -> None:
    a = machine()
    assert a.handle(Received(B, Gossip()), 0.0) == []
    assert a.handle(Received(A, FindNode(rpc=1, target=bytes(32))), 0.0) == []
    assert a.handle(Join((A,)), 0.0) == []
    assert a.size == 0


def test_verifications_under_way_are_bounded() -> None:
    a = machine(verifying_max=4)
    for n in range(50):
        a.handle(Received(numbered(n), FindNode(rpc=n, target=bytes(32))), 0.0)
    assert len(a._calls) == 4


def test_a_dead_contact_is_checked_removed_and_remembered() -> None:
    a = knowing(B, exchange_every_s=1e6, settle_first_s=1e6, settle_last_s=1e6)
    run(a, 59.0)
    assert a.size == 1
    run(a, 80.0)
    assert a.size == 0
    assert a.contacts() == [B], "kept for the peer cache"
    assert a.counters.removed == 1


def test_doubt_checks_at_once() -> None:
    a = knowing(B)
    assert a.handle(Doubt(C), 1.0) == []
    assert sends(a.handle(Doubt(B), 1.0))[0].recipient == B
    run(a, 4.5)
    assert a.size == 0


def test_one_of_the_nearest_is_asked_who_is_near_us_and_newcomers_are_verified() -> None:
    never = {"settle_first_s": 1e6, "settle_last_s": 1e6}
    a = knowing(B, check_every_s=1e6, rejoin_every_s=1e6, **never)
    now = 0.0
    while not (asking := sends(a.tick(now))):
        now = a.next_timer()
    (asked,) = asking
    assert (asked.recipient, asked.message.count) == (B, 16)
    (verified,) = sends(a.handle(reply(asked, C), now))
    assert (verified.recipient, verified.message.count) == (C, 0)
    assert sends(a.handle(reply(verified), now)) == [], "nobody is followed further"
    assert a.size == 2


def test_a_contact_that_lives_stays() -> None:
    a = knowing(B, exchange_every_s=1e6, settle_first_s=1e6, settle_last_s=1e6)
    now, checks = 0.0, 0
    while (now := a.next_timer()) < 1000.0:
        for send in sends(a.tick(now)):
            checks += 1
            a.handle(reply(send), now)
    assert a.size == 1
    assert 5 <= checks <= 20


def test_an_asker_far_away_is_not_asked_back_where_many_are_known() -> None:
    others = [numbered(n) for n in range(1, 120)]
    a = machine(verifying_max=1000)
    for each in others:
        for asked in sends(a.handle(Observe(each), 0.0)):
            a.handle(reply(asked), 0.0)
    near = distance(a.contacts()[15].node_id, A.node_id)
    strangers = [numbered(n) for n in range(1000, 1200)]
    asked_back = {
        send.recipient
        for n, stranger in enumerate(strangers)
        for send in sends(a.handle(Received(stranger, FindNode(rpc=n, target=bytes(32))), 1.0))
        if isinstance(send.message, FindNode)
    }
    nearest = {c for c in strangers if distance(c.node_id, A.node_id) < near}
    assert nearest
    assert nearest <= asked_back
    assert len(asked_back) < len(strangers) / 2
