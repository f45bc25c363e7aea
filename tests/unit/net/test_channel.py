"""What each side shows in a handshake, and what is made of it."""

import pytest

from meshnode.errors import InviteForeign, NotAMember, RemoteProtocolError, Revoked
from meshnode.identity import certificates
from meshnode.identity.invites import Invite, psk_of
from meshnode.identity.keys import Identity
from meshnode.ids import Address, NetworkId, PublicKey
from meshnode.net import channel
from meshnode.net.channel import (
    InviteChannel,
    MeshChannel,
    prologue_of,
    read_payload,
    write_payload,
)
from meshnode.wire import cbor
from tests.unit.net.mesh import (
    ALICE,
    BOB,
    EVE,
    NETWORK,
    NOW,
    ROOT,
    certificate_of,
    channel_of,
    mesh_of,
)
from tests.unit.wire.plumbing import vector

PSK = psk_of(b"s" * 16)
MESH_PSK = b"m" * 32


def invite(network: bytes = NETWORK) -> Invite:
    return Invite(network, b"s" * 16, (Address("192.0.2.1", 1),), int(NOW) + 10, 1)  # type: ignore[arg-type]  # a NewType


def test_the_prologue_is_the_pages() -> None:
    network = bytes(range(16))
    page = vector("channel")
    assert page[f"prologue of network {network.hex()}"] == prologue_of(NetworkId(network))


def test_members_accept_each_other() -> None:
    alice, bob = channel_of(ALICE), channel_of(BOB)
    assert alice.prologue() == bob.prologue() == prologue_of(NETWORK)
    assert alice.psks() == bob.psks() == [MESH_PSK]
    standing = alice.check(BOB.public_key, bob.payload(), MESH_PSK)
    assert standing.certificate is not None
    assert standing.certificate.subject == BOB.public_key
    assert standing.invite is None


def test_another_key_than_the_certificates_is_refused() -> None:
    with pytest.raises(NotAMember):
        channel_of(ALICE).check(EVE.public_key, channel_of(BOB).payload(), MESH_PSK)


def test_an_expired_certificate_is_refused_with_its_reason() -> None:
    old = channel_of(BOB, until=NOW - 500)
    with pytest.raises(NotAMember, match="expired"):
        channel_of(ALICE).check(BOB.public_key, old.payload(), MESH_PSK)


def test_another_root_is_refused() -> None:
    payload = write_payload(EVE.public_key, read_payload(channel_of(BOB).payload())[1])
    with pytest.raises(NotAMember, match="another mesh"):
        channel_of(ALICE).check(BOB.public_key, payload, MESH_PSK)


def test_an_invites_holder_stands_as_a_joiner_and_shows_nothing() -> None:
    sponsor = channel_of(ALICE, PSK)
    assert sponsor.psks() == [MESH_PSK, PSK]
    joiner = InviteChannel(EVE, invite())
    assert joiner.psks() == [PSK]
    standing = sponsor.check(EVE.public_key, joiner.payload(), PSK)
    assert (standing.certificate, standing.invite) == (None, PSK)
    with pytest.raises(RemoteProtocolError):
        sponsor.check(BOB.public_key, channel_of(BOB).payload(), PSK)


def test_a_joiner_accepts_only_a_sponsor_of_the_invites_mesh() -> None:
    joiner = InviteChannel(EVE, invite())
    standing = joiner.check(ALICE.public_key, channel_of(ALICE).payload(), PSK)
    assert standing.certificate is not None
    with pytest.raises(InviteForeign):
        InviteChannel(EVE, invite(bytes(16))).check(
            ALICE.public_key, channel_of(ALICE).payload(), PSK
        )
    with pytest.raises(NotAMember):
        joiner.check(BOB.public_key, channel_of(ALICE).payload(), PSK)
    with pytest.raises(NotAMember):
        joiner.check(ALICE.public_key, write_payload(ROOT.public_key, ()), PSK)


@pytest.mark.parametrize(
    "plain",
    [[], [b"short", []], [bytes(32), [1]], [bytes(32), [b""] * 7], [bytes(32), [], 1], {"a": 1}],
)
def test_a_payload_of_another_form_is_refused(plain: object) -> None:
    with pytest.raises(RemoteProtocolError):
        read_payload(cbor.dumps(plain))


def test_a_chain_is_verified_once_and_judged_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now, revoked = [NOW], set()
    alice = MeshChannel(
        ALICE, mesh_of(ALICE), invites=None, unix_now=lambda: now[0], revoked=lambda: revoked
    )
    payload = channel_of(BOB, until=NOW + 1000).payload()
    first = alice.check(BOB.public_key, payload, MESH_PSK)
    monkeypatch.setattr(certificates, "verify1", _never)
    assert alice.check(BOB.public_key, payload, MESH_PSK) == first
    with pytest.raises(NotAMember, match="another device"):
        alice.check(EVE.public_key, payload, MESH_PSK)
    revoked.add(BOB.public_key)
    with pytest.raises(Revoked):
        alice.check(BOB.public_key, payload, MESH_PSK)
    revoked.clear()
    now[0] = NOW + 2000
    with pytest.raises(NotAMember, match="expired"):
        alice.check(BOB.public_key, payload, MESH_PSK)


def _never(*_: object, **__: object) -> bytes:
    raise AssertionError("this signature was verified before")


def test_who_shows_a_revoked_chain_again_is_told_of_again() -> None:
    heard: list[tuple[bytes, bool]] = []
    revoked: set[PublicKey] = set()
    alice = MeshChannel(
        ALICE,
        mesh_of(ALICE),
        invites=None,
        unix_now=lambda: NOW,
        revoked=lambda: revoked,
        judged=lambda key, fallen: heard.append((key, fallen)),
    )
    payload = channel_of(BOB).payload()
    alice.check(BOB.public_key, payload, MESH_PSK)
    revoked.add(BOB.public_key)
    for _ in range(2):
        with pytest.raises(Revoked):
            alice.check(BOB.public_key, payload, MESH_PSK)
    assert heard == [(BOB.public_key, False), (BOB.public_key, True), (BOB.public_key, True)]


def test_a_chain_that_is_not_good_is_not_remembered_and_the_good_ones_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(channel, "LINES_MAX", 3)
    alice = channel_of(ALICE)
    forged = write_payload(ROOT.public_key, [certificate_of(BOB)[:-1] + b"x"])
    with pytest.raises(NotAMember):
        alice.check(BOB.public_key, forged, MESH_PSK)
    assert len(alice._lines) == 0
    for number in range(10, 16):
        member = Identity.from_seed(bytes([number]) * 32)
        alice.check(member.public_key, channel_of(member).payload(), MESH_PSK)
    assert len(alice._lines) == 3
