"""The invite string, and the sponsor's account of invites."""

from base64 import b32encode
from dataclasses import replace
from hashlib import blake2b

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.errors import (
    InviteExpired,
    InviteUsed,
    InviteWrong,
    LocalProtocolError,
    TooManyInvites,
    UsageError,
)
from meshnode.identity.certificates import MEMBER, Role
from meshnode.identity.invites import (
    KEPT_S,
    OPEN_MAX,
    USES_MAX,
    Invite,
    Ledger,
    encode,
    new_secret,
    parse,
    psk_of,
)
from meshnode.ids import Address, NetworkId, PublicKey
from meshnode.wire import cbor
from meshnode.wire.limits import MIB
from tests.unit.identity.page import text_of, vector

NOW = 1_800_000_000
INVITE = Invite(
    NetworkId(bytes(range(16))),
    bytes(range(100, 116)),
    (Address("192.168.1.4", 7117),),
    NOW + 3600,
    1,
)
TEXT = encode(INVITE)
JOINERS = [PublicKey(bytes([n]) * 32) for n in range(10)]

hosts = st.one_of(
    st.ip_addresses().map(str),
    st.from_regex(r"[a-z][a-z0-9-]{0,20}(\.[a-z]{1,20}){0,2}", fullmatch=True),
)
addresses = st.builds(Address, hosts, st.integers(1, 65535))
invites = st.builds(
    Invite,
    st.binary(min_size=16, max_size=16).map(NetworkId),
    st.binary(min_size=16, max_size=16),
    st.lists(addresses, min_size=1, max_size=3).map(tuple),
    st.integers(0, 2**32 - 1),
    st.integers(1, 65535),
)


def ledger_with(uses: int = 1, roles: Role = MEMBER) -> tuple[Ledger, bytes]:
    ledger, secret = Ledger(), new_secret()
    ledger.open(secret=secret, uses=uses, expires_at=NOW + 60, roles=roles, now_unix=NOW)
    return ledger, psk_of(secret)


# ------------------------------------------------------------------ the string


def test_the_page_shows_this_invite() -> None:
    page = vector("invite")
    addresses = (
        Address("192.0.2.1", 7117),
        Address("2001:db8::1", 7117),
        Address("gate.example", 7118),
    )
    invite = Invite(NetworkId(page["network id"]), page["secret"], addresses, 1_800_000_000, 3)
    assert encode(invite) == text_of("invite").replace("\n", "")
    assert parse(text_of("invite")) == invite
    made = blake2b(page["secret"], digest_size=32, person=b"meshnode-invite").digest()
    assert psk_of(page["secret"]) == made == page["psk"]


@given(invites)
@settings(max_examples=100, deadline=None)
def test_an_invite_survives_its_string(invite: Invite) -> None:
    text = encode(invite)
    assert parse(text) == invite
    assert text.startswith("mesh1-")
    assert len(text) <= 450


def test_case_spaces_and_dashes_do_not_matter() -> None:
    plain = TEXT.replace("-", "")
    spaced = " ".join(plain)
    for text in (TEXT.upper(), plain, spaced, f"\n {TEXT}\t", TEXT.replace("-", "\u2013")):
        assert parse(text) == INVITE


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_no_single_mistyped_character_passes(data: st.DataObject) -> None:
    letters = [i for i, c in enumerate(TEXT) if c != "-"]
    at = data.draw(st.sampled_from(letters))
    other = data.draw(st.sampled_from("abcdefghijklmnopqrstuvwxyz0123456789"))
    if other != TEXT[at]:
        with pytest.raises(InviteWrong):
            parse(TEXT[:at] + other + TEXT[at + 1 :])


@given(st.integers(0, len(TEXT) - 2))
@settings(max_examples=60, deadline=None)
def test_no_swapped_or_lost_character_passes(at: int) -> None:
    swapped = TEXT[:at] + TEXT[at + 1] + TEXT[at] + TEXT[at + 2 :]
    if swapped.replace("-", "") != TEXT.replace("-", ""):
        with pytest.raises(InviteWrong):
            parse(swapped)
    if TEXT[at] != "-":
        with pytest.raises(InviteWrong):
            parse(TEXT[:at] + TEXT[at + 1 :])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "starts with mesh1-"),
        ("mesh2-abc", "starts with mesh1-"),
        ("hello world", "starts with mesh1-"),
        ("mesh1-", "cut short"),
        ("mesh1-aa", "cut short"),
        (TEXT[:-1], "cut short"),
        (TEXT[:40], "cut short"),
        (TEXT.replace("a", "0"), "'0' is not among its characters"),
        (TEXT + "!", "'!' is not among"),
        ("mesh1-" + "a" * 600, "too long"),
        ("mesh1-" + "a" * 100_000, "too long"),
    ],
)
def test_what_is_wrong_is_named(text: str, reason: str) -> None:
    with pytest.raises(InviteWrong, match=reason) as caught:
        parse(text)
    assert "copy the whole string" in caught.value.try_


def crafted(addresses: bytes) -> str:
    """An invite with a good check and these bytes for addresses."""
    plain = bytes(32) + (NOW).to_bytes(4, "big") + b"\0\1" + addresses
    check = blake2b(plain, digest_size=4, person=b"meshnode-check").digest()
    return "mesh1-" + b32encode(plain + check).decode().rstrip("=")


@pytest.mark.parametrize(
    "packed",
    [
        b"\0\x7f\0\0\1\1",
        b"\0\x7f\0\0\1\0\0",
        b"\0\x7f\0\0\1\1\1" * 4,
        b"\xff" + bytes(10),
        b"\x40" + b"a" * 64 + b"\1\1",
        b"\x03a\nb\1\1",
        b"\x03a\x1bb\1\1",
        b"\x09127.0.0.1\1\1",
        b"\x02\xc3\xa9\1\1",
        b"\x05short\1",
    ],
)
def test_crafted_addresses_are_refused(packed: bytes) -> None:
    with pytest.raises(InviteWrong):
        parse(crafted(packed))
    assert parse(crafted(b"\0\x7f\0\0\1\1\1")).addresses == (Address("127.0.0.1", 257),)


@pytest.mark.parametrize(
    "changes",
    [
        {"secret": bytes(15)},
        {"network": bytes(15)},
        {"addresses": ()},
        {"addresses": INVITE.addresses * 4},
        {"addresses": (Address("h" * 64, 1),)},
        {"addresses": (Address("", 1),)},
        {"addresses": (Address("caf\u00e9", 1),)},
        {"addresses": (Address("fe80::1%eth0", 1),)},
        {"addresses": (Address("h", 0),)},
        {"addresses": (Address("h", 65536),)},
        {"expires_at": 2**32},
        {"expires_at": -1},
        {"uses": 0},
        {"uses": 2**16},
    ],
)
def test_what_the_string_cannot_say_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(LocalProtocolError):
        encode(replace(INVITE, **changes))


def test_the_repr_shows_no_secret() -> None:
    assert repr(INVITE) == f"Invite({INVITE.network.hex()[:8]}, 192.168.1.4:7117)"


# ------------------------------------------------------------------ the ledger


def test_an_invite_is_good_for_its_uses() -> None:
    ledger, psk = ledger_with(uses=2, roles=Role.WORKER)
    assert ledger.redeem(psk, JOINERS[0], NOW) == Role.WORKER
    assert ledger.redeem(psk, JOINERS[1], NOW) == Role.WORKER
    with pytest.raises(InviteUsed, match="2 device"):
        ledger.redeem(psk, JOINERS[2], NOW)


def test_a_lost_answer_can_be_asked_for_again() -> None:
    ledger, psk = ledger_with()
    for _ in range(3):
        assert ledger.redeem(psk, JOINERS[0], NOW) == MEMBER
    with pytest.raises(InviteUsed):
        ledger.redeem(psk, JOINERS[1], NOW)
    assert ledger.redeem(psk, JOINERS[0], NOW) == MEMBER


def test_an_expired_invite_says_so_for_a_day_and_is_then_unknown() -> None:
    ledger, psk = ledger_with()
    assert ledger.redeem(psk, JOINERS[0], NOW + 60)
    for joiner in JOINERS[:2]:
        with pytest.raises(InviteExpired):
            ledger.redeem(psk, joiner, NOW + 61)
    assert [p for _, p in ledger.psks(NOW + 60 + KEPT_S)] == [psk]
    assert ledger.psks(NOW + 61 + KEPT_S) == []
    with pytest.raises(InviteWrong, match="unknown"):
        ledger.redeem(psk, JOINERS[0], NOW + 61 + KEPT_S)


def test_the_live_invites_are_tried_first() -> None:
    ledger = Ledger()
    secrets = [new_secret() for _ in range(3)]
    for secret, lasts in zip(secrets, (10, 20, 100), strict=True):
        ledger.open(secret=secret, uses=1, expires_at=NOW + lasts, roles=MEMBER, now_unix=NOW)
    ledger.redeem(psk_of(secrets[1]), JOINERS[0], NOW)
    order = [psk for _, psk in ledger.psks(NOW + 15)]
    assert order[0] == psk_of(secrets[2])
    assert set(order[1:]) == {psk_of(secrets[0]), psk_of(secrets[1])}
    assert all(len(name) == 8 for name, _ in ledger.psks(NOW))


def test_a_full_ledger_drops_what_is_over_and_never_a_live_invite() -> None:
    ledger, first = ledger_with()
    for _ in range(OPEN_MAX - 1):
        ledger.open(secret=new_secret(), uses=1, expires_at=NOW + 90, roles=MEMBER, now_unix=NOW)
    with pytest.raises(TooManyInvites, match="64 invites are out") as caught:
        ledger.open(secret=new_secret(), uses=1, expires_at=NOW + 90, roles=MEMBER, now_unix=NOW)
    assert "wait 60 s" in caught.value.try_
    ledger.redeem(first, JOINERS[0], NOW)
    ledger.open(secret=new_secret(), uses=1, expires_at=NOW + 90, roles=MEMBER, now_unix=NOW)
    held = [psk for _, psk in ledger.psks(NOW)]
    assert len(held) == OPEN_MAX
    assert first not in held


@pytest.mark.parametrize("uses", [0, -1, USES_MAX + 1])
def test_a_number_of_uses_out_of_range_is_refused(uses: int) -> None:
    with pytest.raises(UsageError, match="1 to 1000"):
        ledger_with(uses=uses)


def test_the_ledger_survives_its_file() -> None:
    ledger, psk = ledger_with(uses=2)
    ledger.redeem(psk, JOINERS[0], NOW)
    again = Ledger.from_plain(cbor.loads(cbor.dumps(ledger.to_plain()), bytes_max=MIB))
    assert again.psks(NOW) == ledger.psks(NOW)
    assert again.redeem(psk, JOINERS[0], NOW) == MEMBER
    assert again.redeem(psk, JOINERS[1], NOW) == MEMBER
    with pytest.raises(InviteUsed):
        again.redeem(psk, JOINERS[2], NOW)


def test_the_fullest_ledger_fits_its_file() -> None:
    ledger, psk = ledger_with(uses=USES_MAX)
    for n in range(USES_MAX):
        ledger.redeem(psk, PublicKey(n.to_bytes(32, "big")), NOW)
    assert len(cbor.dumps(ledger.to_plain())) * OPEN_MAX < MIB


@pytest.mark.parametrize(
    "plain",
    [None, {}, [1], [[]], [[b"short", 1, NOW, 7, []]], [[bytes(32), "1", NOW, 7, []]], [["x"] * 5]],
)
def test_damaged_entries_are_left_out(plain: object) -> None:
    assert Ledger.from_plain(plain).psks(NOW) == []
    whole = plain if isinstance(plain, list) else []
    assert len(Ledger.from_plain([*whole, [bytes(32), 1, NOW, 7, []]]).psks(NOW)) == 1


def test_no_repr_shows_a_psk() -> None:
    ledger, psk = ledger_with()
    shown = repr(ledger) + repr(list(ledger._open.values()))
    assert repr(ledger) == "Ledger(1 invites)"
    assert repr(psk) not in shown
    assert psk.hex() not in shown
