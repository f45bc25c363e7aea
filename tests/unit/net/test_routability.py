"""Cookies and credit: who has proved his address, and how long an answer may be until then."""

from meshnode.identity.sealing import COOKIE_EPOCH_S
from meshnode.ids import Address, Contact
from meshnode.net.routability import CONTACTS_MAX, LruTable, Routability
from tests.unit.net.mesh import ALICE, BOB

THERE = Contact(ALICE.public_key, Address("192.0.2.7", 700))
ELSEWHERE = Contact(ALICE.public_key, Address("192.0.2.8", 700))


def heard(routability: Routability, sender: Contact = THERE, **changes: object) -> bool:
    facts = {"issued": b"", "returned": b"", "size": 100, "now": 0.0} | changes
    return routability.heard(sender, **facts)  # type: ignore[arg-type]  # a test's shorthand


def test_until_proved_an_answer_is_no_longer_than_its_question() -> None:
    routability = Routability(b"s" * 32)
    assert routability.answer_max(THERE, 0.0) == 0
    assert not heard(routability)
    assert routability.answer_max(THERE, 0.0) == 100
    routability.answered(THERE, 60)
    assert routability.answer_max(THERE, 0.0) == 40
    assert routability.answer_max(ELSEWHERE, 0.0) == 0


def test_a_returned_cookie_proves_this_key_at_this_address_for_a_while() -> None:
    routability = Routability(b"s" * 32)
    cookie = routability.issue(THERE, 0.0)
    assert not heard(routability, ELSEWHERE, returned=cookie)
    assert not heard(routability, Contact(BOB.public_key, THERE.address), returned=cookie)
    assert heard(routability, returned=cookie)
    assert routability.answer_max(THERE, 0.0) is None
    assert routability.answer_max(THERE, 10 * COOKIE_EPOCH_S) == 0
    assert not heard(routability, returned=cookie, now=3 * COOKIE_EPOCH_S)


def test_the_cookie_a_contact_gave_is_returned_while_it_is_fresh() -> None:
    routability = Routability(b"s" * 32)
    assert routability.cookie_of(THERE, 0.0) == b""
    heard(routability, issued=b"c" * 8)
    assert routability.cookie_of(THERE, 1.0) == b"c" * 8
    assert routability.cookie_of(THERE, COOKIE_EPOCH_S + 1) == b""


def test_the_tables_forget_what_was_used_longest_ago() -> None:
    table: LruTable[int] = LruTable(2)
    keys = [Contact(BOB.public_key, Address("192.0.2.1", port)) for port in range(1, 4)]
    table.put(keys[0], 0)
    table.put(keys[1], 1)
    assert table.get(keys[0]) == 0
    table.put(keys[2], 2)
    assert [table.get(k) for k in keys] == [0, None, 2]
    assert CONTACTS_MAX == 4096
