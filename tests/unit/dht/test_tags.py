"""What an asker says it knows, and what an answer leaves out for it."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from meshnode.dht.tags import SALT_BYTES, TAGS_MAX, tags_of, unknown_of
from meshnode.ids import Address
from meshnode.wire.limits import KNOWN_BYTES_MAX
from tests.unit.dht.page import numbered

CONTACTS = [numbered(n, f"10.2.0.{n}") for n in range(1, 41)]
SALT = bytes(range(SALT_BYTES))


def test_what_is_known_is_left_out() -> None:
    assert unknown_of(CONTACTS, tags_of(CONTACTS[:30], SALT)) == CONTACTS[30:]


def test_whoever_knows_nobody_sends_nothing_and_is_told_all() -> None:
    assert tags_of((), SALT) == b""
    assert unknown_of(CONTACTS, b"") == CONTACTS


def test_a_contact_known_at_another_address_is_told() -> None:
    elsewhere = replace(CONTACTS[0], address=Address("10.9.9.9", 6174))
    assert unknown_of(CONTACTS[:1], tags_of([elsewhere], SALT)) == CONTACTS[:1]


def test_another_salt_makes_other_tags() -> None:
    assert unknown_of(CONTACTS, b"else" + tags_of(CONTACTS, SALT)[SALT_BYTES:]) == CONTACTS


def test_as_many_tags_as_are_sent_fit_the_field() -> None:
    assert len(tags_of(CONTACTS[:TAGS_MAX], SALT)) <= KNOWN_BYTES_MAX


@given(st.binary(max_size=KNOWN_BYTES_MAX))
def test_any_bytes_only_leave_out(known: bytes) -> None:
    left = unknown_of(CONTACTS, known)
    assert [c for c in CONTACTS if c in left] == left
