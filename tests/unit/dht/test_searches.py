from meshnode.dht.machine import (
    DhtEffect,
    DhtMachine,
    Equivocation,
    FindNodes,
    FindRecords,
    Join,
    LookupFinished,
)
from meshnode.dht.records import Record, key_of, sign
from meshnode.identity.keys import Identity
from meshnode.wire.messages import (
    FindNode,
    GetRecords,
    Send,
)
from tests.unit.dht.driving import B, C, knowing, machine, reply, run, sends
from tests.unit.dht.page import ALICE, CAROL, name, numbered, provider


def test_with_nobody_known_a_lookup_ends_at_once() -> None:
    a = machine()
    assert a.handle(FindNodes(7, bytes(32)), 0.0) == [LookupFinished(ticket=7, closest=())]


def test_a_lookup_reports_the_nearest_that_answered() -> None:
    a = knowing(B)
    (asked,) = sends(a.handle(FindNodes(7, CAROL.node_id), 1.0))
    (next_asked,) = sends(a.handle(reply(asked, C), 1.1))
    assert (next_asked.recipient, next_asked.message.count) == (C, 2), "a stranger"
    (finished,) = a.handle(reply(next_asked, B), 1.2)
    assert finished == LookupFinished(ticket=7, closest=(C, B), rpcs=2)
    assert a.size == 2


def test_a_stranger_who_names_as_many_as_it_was_asked_for_is_asked_again() -> None:
    a = knowing(B)
    (asked,) = sends(a.handle(FindNodes(7, CAROL.node_id), 1.0))
    (next_asked,) = sends(a.handle(reply(asked, C), 1.1))
    others = [numbered(n) for n in range(1, 10)]
    (in_full,) = sends(a.handle(reply(next_asked, *others), 1.1))
    assert (in_full.recipient, in_full.message.count) == (C, 8)
    assert len(sends(a.handle(reply(in_full, *others), 1.2))) == a._settings.alpha


def test_what_is_asked_for_while_we_join_waits_until_somebody_is_known() -> None:
    a = machine()
    (greeting,) = sends(a.handle(Join((B,)), 0.0))
    assert a.handle(FindNodes(7, CAROL.node_id), 0.1) == []
    (in_full,) = sends(a.handle(reply(greeting), 0.2))
    effects = a.handle(reply(in_full), 0.3)
    (asked,) = sends(effects, FindNode)
    assert (asked.recipient, asked.message.target) == (B, CAROL.node_id)


def test_what_is_asked_for_while_a_join_fails_is_answered_when_it_has() -> None:
    a = machine()
    a.handle(Join((B,)), 0.0)
    a.handle(FindNodes(7, CAROL.node_id), 0.1)
    assert LookupFinished(ticket=7, closest=()) in run(a, 2.0)


def find(a: DhtMachine, record: Record, now: float, *, all_of_them: bool) -> list[Send]:
    return sends(a.handle(FindRecords(9, key_of(record), all_of_them), now), GetRecords)


def test_a_name_is_found_after_three_witnesses_without_asking_the_rest() -> None:
    others = [numbered(n) for n in range(10)]
    a = knowing(*others)
    old, new = sign(ALICE, name(ALICE, seq=1)), sign(ALICE, name(ALICE, seq=2))
    asked = find(a, name(ALICE), 1.0, all_of_them=False)
    effects: list[DhtEffect] = []
    for data in (new, new, new):
        effects = list(a.handle(reply(asked.pop(0), records=(data,)), 1.0))
        asked += sends(effects)
    (finished,) = [e for e in effects if isinstance(e, LookupFinished)]
    assert finished.records == (name(ALICE, seq=2),)
    assert finished.rpcs == 4, "the last witness was asked for with one to spare"
    # Once seen, a lower number is never believed again.
    asked = find(a, name(ALICE), 2.0, all_of_them=False)
    effects = []
    while asked:
        more = a.handle(reply(asked.pop(0), records=(old,)), 2.0)
        effects += more
        asked += sends(more)
    (finished,) = [e for e in effects if isinstance(e, LookupFinished)]
    assert finished.records == ()


def witnessed(a: DhtMachine, asked: list[Send], answers: dict[int, bytes]) -> LookupFinished:
    """Answer each question, the n-th with `answers[n % len]`, until the lookup ends."""
    count = 0
    while asked:
        data = answers[count % len(answers)]
        effects = a.handle(reply(asked.pop(0), records=(data,)), 2.0)
        asked += sends(effects)
        count += 1
        for effect in effects:
            if isinstance(effect, LookupFinished):
                return effect
    raise AssertionError("the lookup never ended")


def test_a_contradiction_leads_to_a_second_look_along_paths_that_share_nobody() -> None:
    others = [numbered(n) for n in range(40)]
    a = knowing(*others)
    old, new = sign(ALICE, name(ALICE, seq=1)), sign(ALICE, name(ALICE, seq=2))
    asked = find(a, name(ALICE), 1.0, all_of_them=False)
    finished = witnessed(a, asked, {0: old, 1: new})
    assert finished.records == (name(ALICE, seq=2),)
    assert finished.signed == (new,)
    assert finished.rpcs > 5
    assert a.counters.lookups == 2


def test_two_records_with_one_number_are_kept_as_proof_and_told_once() -> None:
    others = [numbered(n) for n in range(40)]
    a = knowing(*others)
    one, two = (sign(ALICE, name(ALICE, version=v)) for v in ("1.0.0", "2.0.0"))
    told: list[DhtEffect] = []
    for now in (1.0, 2.0):
        asked = find(a, name(ALICE), now, all_of_them=False)
        count = 0
        while asked:
            effects = a.handle(reply(asked.pop(0), records=((one, two)[count % 2],)), now)
            asked += sends(effects)
            told += effects
            count += 1
    proofs = [effect for effect in told if isinstance(effect, Equivocation)]
    key, signer = key_of(name(ALICE)), ALICE.public_key
    assert proofs == [Equivocation(key=key, signer=signer, seq=1, first=one, second=two)]
    assert a.proofs.held == tuple(proofs)


def test_once_found_a_silent_contact_is_waited_for_half_a_second_only() -> None:
    a = knowing(B, C)
    for records, until in (((sign(ALICE, name(ALICE)),), 0.5), ((), 1.5)):
        asked = find(a, name(ALICE), 100.0, all_of_them=False)
        assert len(asked) == 2
        a.handle(reply(asked[0], records=records), 100.01)
        assert not [e for e in run(a, 100.0 + until - 0.01) if isinstance(e, LookupFinished)]
        assert [e for e in run(a, 100.0 + until + 0.01) if isinstance(e, LookupFinished)]
        a = knowing(B, C)


def test_a_contact_with_more_records_than_fit_is_asked_for_other_subsets() -> None:
    a = knowing(B)
    signers = [Identity.from_seed(bytes([n]) * 32) for n in range(10, 16)]
    data = [sign(s, provider(s)) for s in signers]
    asked = find(a, provider(ALICE), 1.0, all_of_them=True)
    asked = sends(a.handle(reply(asked[0], records=data[:3], more=True), 1.0))
    assert len(asked) == 1
    effects = a.handle(reply(asked[0], records=data[3:], more=False), 1.0)
    (finished,) = [e for e in effects if isinstance(e, LookupFinished)]
    assert set(finished.records) == {provider(s) for s in signers}


def test_lookups_beyond_the_limit_wait_in_line_and_all_end() -> None:
    a = knowing(B, lookups_max=2, lookups_waiting_max=3)
    effects: list[DhtEffect] = []
    for ticket in range(7):
        effects += a.handle(FindNodes(ticket, bytes([ticket]) * 32), 1.0)
    at_once = [e.ticket for e in effects if isinstance(e, LookupFinished)]
    assert at_once == [5, 6]
    assert len(sends(effects)) == 2
    later = run(a, 60.0)
    done = {e.ticket for e in later if isinstance(e, LookupFinished)}
    assert done == {0, 1, 2, 3, 4}


def test_a_thousand_lookups_with_nobody_left_do_not_recurse() -> None:
    a = knowing(B, lookups_max=1, verifying_max=1)
    for ticket in range(1000):
        a.handle(FindNodes(ticket, bytes(32)), 1.0)
    later = run(a, 120.0)
    assert len({e.ticket for e in later if isinstance(e, LookupFinished)}) == 1000


def test_whoever_failed_once_is_asked_where_nobody_else_is_known() -> None:
    a = knowing(B)
    a._table.failed(B, 0.5, 1.0)
    assert a.size == 1
    (asked,) = sends(a.handle(FindNodes(1, bytes(32)), 1.0))
    assert asked.recipient == B
