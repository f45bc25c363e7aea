"""Any text is an invite or is refused with a reason; any plain value makes a ledger."""

from base64 import b32encode
from hashlib import blake2b

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.errors import InviteWrong
from meshnode.identity.certificates import ALL_ROLES
from meshnode.identity.invites import OPEN_MAX, Ledger, encode, parse
from meshnode.wire import cbor
from meshnode.wire.limits import MIB

letters = st.text("abcdefghijklmnopqrstuvwxyz234567- ", max_size=200)
plain = st.recursive(
    st.one_of(st.integers(-(2**63), 2**63), st.binary(max_size=40), st.text(max_size=5), st.none()),
    lambda inner: st.lists(inner, max_size=6),
    max_leaves=12,
)
entries = st.tuples(
    st.one_of(st.binary(min_size=32, max_size=32), plain),
    st.one_of(st.integers(1, 9), plain),
    st.one_of(st.integers(0, 2**33), plain),
    st.one_of(st.integers(0, 15), plain),
    st.one_of(st.lists(st.binary(max_size=8), max_size=3), plain),
).map(list)


@given(st.one_of(st.text(max_size=300), letters, letters.map("mesh1-".__add__)))
@settings(max_examples=200, deadline=None)
def test_any_text_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(InviteWrong, match=r"\w"):
        parse(text)


@given(st.binary(min_size=38, max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_bytes_with_a_good_check_are_one_invite_or_refused(body: bytes) -> None:
    check = blake2b(body, digest_size=4, person=b"meshnode-check").digest()
    try:
        invite = parse("mesh1-" + b32encode(body + check).decode().rstrip("="))
    except InviteWrong:
        return
    assert parse(encode(invite)) == invite


@given(st.one_of(plain, st.lists(entries, max_size=3)), st.integers(0, 2**34))
@settings(max_examples=100, deadline=None)
def test_any_plain_value_makes_a_ledger(value: object, now: int) -> None:
    ledger = Ledger.from_plain(value)
    psks = ledger.psks(now)
    assert len(psks) <= OPEN_MAX
    assert all(len(psk) == 32 for _, psk in psks)
    again = Ledger.from_plain(cbor.loads(cbor.dumps(ledger.to_plain()), bytes_max=MIB))
    assert again.psks(now) == psks


@given(st.lists(st.tuples(st.binary(min_size=32, max_size=32), st.integers(0, 255)), max_size=3))
@settings(max_examples=40, deadline=None)
def test_roles_on_disk_are_known_ones(entries: list[tuple[bytes, int]]) -> None:
    ledger = Ledger.from_plain([[psk, 1, 100, roles, []] for psk, roles in entries])
    for _, psk in ledger.psks(50):
        assert not ledger.redeem(psk, b"j" * 32, 50) & ~ALL_ROLES
