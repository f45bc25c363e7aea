from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.dht.machine import (
    DhtEffect,
    DhtInput,
    DhtMachine,
    Doubt,
    FindNodes,
    FindRecords,
    Join,
    LookupFinished,
    Observe,
    Publish,
    PublishFinished,
)
from meshnode.dht.records import key_of, sign
from meshnode.dht.settings import DhtSettings
from meshnode.errors import LocalProtocolError
from meshnode.ids import Contact, NetworkId
from meshnode.wire.messages import (
    FindNode,
    FoundNodes,
    GetRecords,
    PutRecord,
    PutReply,
    Received,
    Send,
)
from tests.unit.dht.driving import A, B, C, knowing, machine, reply, run, sends, settled
from tests.unit.dht.page import ALICE, BOB, CAROL, NETWORK, name, node, numbered, provider

# ---------------------------------------------------------------- joining


def test_two_nodes_find_each_other() -> None:
    a, b = machine(A), machine(B)
    todo: list[tuple[DhtMachine, Contact, Send]] = []
    proved: set[tuple[Contact, Contact]] = set()

    def note(who: DhtMachine, contact_of: Contact, effects: Sequence[DhtEffect]) -> None:
        todo.extend((who, contact_of, s) for s in sends(effects))

    note(b, B, b.handle(Join((A,)), 0.0))
    while todo:
        who, sender, send = todo.pop(0)
        other = a if who is b else b
        is_proved = (sender, send.recipient) in proved
        proved.add((send.recipient, sender))
        note(other, send.recipient, other.handle(Received(sender, send.message, is_proved), 0.0))
    assert (a.contacts(), b.contacts()) == ([B], [A])


def test_joining_again_is_harmless() -> None:
    a = machine()
    first = sends(a.handle(Join((B,)), 0.0))
    assert sends(a.handle(Join((B, C)), 0.1)) != first
    assert len(a._calls) == 2
    assert a.handle(Join((B, C)), 0.2) == []
    assert a.handle(Join(()), 0.3) == []


def test_dead_bootstrap_contacts_are_tried_again() -> None:
    a = machine()
    a.handle(Join((B, C)), 0.0)
    first = sends(run(a, 3.0))
    later = sends(run(a, 60.0))
    assert {s.recipient for s in later} == {B, C}
    assert len(first) == 2, "nobody waits for it: one retry each"


def test_a_join_makes_itself_known_to_whoever_answered() -> None:
    a = machine()
    (asked,) = sends(a.handle(Join((B,)), 0.0))
    (again,) = sends(a.handle(reply(asked), 0.1))
    assert again.recipient == B
    assert isinstance(again.message, FindNode)


# ---------------------------------------------------------------- publishing


def test_a_record_is_kept_here_and_at_the_nearest() -> None:
    a = knowing(B, C)
    record = sign(ALICE, provider(ALICE))
    effects = a.handle(Publish(3, key_of(provider(ALICE)), record), 1.0)
    puts = sends(settled_lookup(a, effects, 1.0), PutRecord)
    assert {s.recipient for s in puts} == {B, C}
    assert a.handle(reply(puts[0], kept=True), 1.1) == []
    (finished,) = a.handle(reply(puts[1], kept=False), 1.2)
    assert finished == PublishFinished(ticket=3, stored=1)
    assert a.records_held == 1


def settled_lookup(a: DhtMachine, effects: Sequence[DhtEffect], now: float) -> list[DhtEffect]:
    """Answer a lookup's questions, but no PutRecord."""
    seen, asked = list(effects), sends(effects)
    while asked:
        send = asked.pop(0)
        if not isinstance(send.message, PutRecord):
            more = a.handle(reply(send), now)
            seen += more
            asked += sends(more)
    return seen


def test_alone_a_record_is_kept_here_only() -> None:
    a = machine()
    record = provider(ALICE)
    assert a.handle(Publish(3, key_of(record), sign(ALICE, record)), 0.0) == [
        PublishFinished(ticket=3, stored=0)
    ]
    (finished,) = a.handle(FindRecords(4, key_of(record), all_of_them=True), 1.0)
    assert isinstance(finished, LookupFinished)
    assert finished.records == (record,)


def test_keepers_that_are_silent_count_as_not_stored() -> None:
    a = knowing(B)
    record = provider(ALICE)
    effects = a.handle(Publish(3, key_of(record), sign(ALICE, record)), 1.0)
    settled_lookup(a, effects, 1.0)
    assert PublishFinished(ticket=3, stored=0) in run(a, 3.0)


def test_publishing_what_nobody_would_take_is_a_bug_of_ours() -> None:
    a = machine()
    foreign = replace(provider(ALICE), network=NetworkId(b"o" * 16))
    for key, data in (
        (key_of(provider(ALICE)), b"junk"),
        (key_of(foreign), sign(ALICE, foreign)),
        (bytes(32), sign(ALICE, provider(ALICE))),
    ):
        with pytest.raises(LocalProtocolError):
            a.handle(Publish(1, key, data), 0.0)


# ---------------------------------------------------------------- seeds


def test_a_seed_answers_stores_and_verifies_but_starts_no_lookup() -> None:
    seed = knowing(B, passive=True)
    assert sends(seed.handle(FindNodes(1, bytes(32)), 1.0)) == []
    record = sign(CAROL, provider(CAROL))
    answer, back = sends(seed.handle(Received(C, PutRecord(rpc=4, record=record)), 1.0))
    assert answer.message == PutReply(rpc=4, kept=True, seq=1)
    seed.handle(reply(back), 1.0)
    assert set(seed.contacts()) == {B, C}
    (asked,) = sends(seed.handle(Join((numbered(5),)), 1.0))
    assert asked.recipient == numbered(5)
    found = seed.handle(FindRecords(2, key_of(provider(CAROL)), all_of_them=True), 1.0)
    assert [e.records for e in found if isinstance(e, LookupFinished)] == [(provider(CAROL),)]
    late = sends(run(seed, 3 * 3600.0))
    assert {s.message.target for s in late} == {A.node_id}, "only checks"


# ---------------------------------------------------------------- seeds


def test_a_seed_is_asked_and_given_records_but_never_handed_out() -> None:
    a = DhtMachine(A, NETWORK, DhtSettings(), Random(1), seeds=[C])
    (asked,) = sends(a.handle(Join((C,)), now=1.0), FindNode)
    assert asked.recipient == C
    assert asked.message.count == 0, "a greeting first"
    (in_full,) = sends(a.handle(reply(asked), now=1.1), FindNode)
    (next_asked,) = sends(a.handle(reply(in_full, B), now=1.1), FindNode)[:1]
    settled(a, a.handle(reply(next_asked), now=1.2), 1.2)
    assert a.size == 1
    (told,) = sends(a.handle(Received(B, FindNode(rpc=9, target=bytes(32))), now=1.3), FoundNodes)
    assert C not in told.message.contacts
    record = sign(BOB, provider(BOB))
    effects = a.handle(Publish(1, key_of(provider(BOB)), record), now=2.0)
    while not (puts := sends(effects, PutRecord)):
        effects = a.handle(reply(sends(effects)[0]), now=2.1)
    assert {put.recipient for put in puts} == {B, C}


# ---------------------------------------------------------------- the contract of machines

CONTACTS = [numbered(n) for n in range(1, 12)] + [B, C]
contacts_in = st.lists(st.sampled_from(CONTACTS), max_size=16).map(tuple)
signed = st.sampled_from(
    [sign(BOB, provider(BOB)), sign(BOB, node(BOB)), sign(ALICE, name(ALICE)), b"", b"junk"]
)
keys = st.sampled_from([key_of(provider(BOB)), key_of(name(ALICE)), bytes(32)])
rpcs = st.integers(0, 3)
events = st.one_of(
    st.builds(Join, contacts_in),
    st.builds(Observe, st.sampled_from(CONTACTS)),
    st.builds(Doubt, st.sampled_from(CONTACTS)),
    st.builds(FindNodes, rpcs, keys),
    st.builds(FindRecords, rpcs, keys, st.booleans()),
    st.just(Publish(1, key_of(provider(BOB)), sign(BOB, provider(BOB)))),
    st.builds(
        Received,
        st.sampled_from(CONTACTS),
        st.one_of(
            st.builds(FindNode, rpc=rpcs, target=keys),
            st.builds(GetRecords, rpc=rpcs, key=keys),
            st.builds(PutRecord, rpc=rpcs, record=signed),
            st.builds(FoundNodes, rpc=rpcs, contacts=contacts_in),
        ),
        st.booleans(),
    ),
    st.just("answer"),
    st.just("tick"),
)
QUESTIONS = (FindNode, GetRecords, PutRecord)
steps = st.lists(st.tuples(events, st.floats(0, 3.0)), max_size=40)


def play(script: list[tuple[DhtInput | str, float]]) -> list[DhtEffect]:
    """Run a script; `answer` answers the oldest question with everything one might say."""
    a = DhtMachine(A, NETWORK, DhtSettings(), Random(7))
    now, seen, asked = 0.0, [], []
    for event, wait in script:
        now += wait
        if event == "answer" and asked:
            records = (sign(BOB, provider(BOB)), b"junk")
            effects = a.handle(reply(asked.pop(0), *CONTACTS, records=records, more=True), now)
        elif isinstance(event, str):
            effects = a.tick(now)
        else:
            effects = a.handle(event, now)
        effects = [*effects, *a.tick(now)]
        asked += [s for s in sends(effects) if isinstance(s.message, QUESTIONS)]
        seen += effects
        assert a.tick(now) == [], "tick is not idempotent"
        timer = a.next_timer()
        assert timer is None or timer > now, "a timer in the past would spin the driver"
    return seen


@given(steps)
@settings(max_examples=80, deadline=None)
def test_it_keeps_the_machine_contract(script: list[tuple[DhtInput | str, float]]) -> None:
    assert play(script) == play(script)
