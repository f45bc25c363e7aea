"""Revocations: who may expel whom, that nothing goes back, and that all nodes agree."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.errors import (
    MeshnodeError,
    NotAMember,
    RemoteProtocolError,
    Revoked,
    RoleMissing,
    UsageError,
)
from meshnode.identity import revocations as module
from meshnode.identity.certificates import ALL_ROLES, MEMBER, Role, verify_chain
from meshnode.identity.cose import sign1
from meshnode.identity.keys import Identity
from meshnode.identity.orders import MeshRules
from meshnode.identity.revocations import (
    AAD,
    REVOCATIONS_MAX,
    REVOCATIONS_PER_ADMIN_MAX,
    Revocation,
    Revocations,
    revoke,
    taken_over,
)
from meshnode.ids import PublicKey
from meshnode.wire import cbor
from tests.unit.identity.page import vector
from tests.unit.identity.test_certificates import NETWORK, NODES, NOW, ROOT, given_by, line

RULES = MeshRules(root_key=ROOT.public_key, network=NETWORK, now_unix=NOW)
FOUNDER, X, Y, VICTIM = NODES[:4]
FOUNDERS = tuple(line(ALL_ROLES))
XS, YS = ((*FOUNDERS, given_by(FOUNDER, admin, roles=ALL_ROLES, name="admin")) for admin in (X, Y))


def expel(
    subject: Identity, by: Identity = FOUNDER, chain: tuple[bytes, ...] = FOUNDERS, at: int = NOW
) -> Revocation:
    return revoke(by, chain, NETWORK, subject.public_key, name="gone", reason="stolen", now_unix=at)


def learnt(*revocations: Revocation) -> Revocations:
    """What a node knows that hears of them over the wire, all verified."""
    sender, receiver = Revocations(revocations), Revocations()
    receiver.add(receiver.read_new(sender.plain(), RULES))
    return receiver


def test_a_chain_with_a_revoked_key_anywhere_is_refused() -> None:
    chain = line(ALL_ROLES, MEMBER, MEMBER)
    for depth in range(3):
        revoked = {NODES[depth].public_key}
        with pytest.raises(Revoked, match=f'"n{depth}"'):
            verify_chain(
                chain, root_key=ROOT.public_key, network=NETWORK, now_unix=NOW, revoked=revoked
            )
    others = {NODES[5].public_key}
    assert verify_chain(
        chain, root_key=ROOT.public_key, network=NETWORK, now_unix=NOW, revoked=others
    )


def test_a_revocation_is_learnt_with_its_words() -> None:
    known = learnt(expel(VICTIM))
    assert known.keys == {VICTIM.public_key}
    (r,) = known.listed()
    assert (r.name, r.reason, r.at, r.by) == ("gone", "stolen", NOW, "n0")


def test_an_older_list_takes_nothing_back() -> None:
    first, second = expel(VICTIM), expel(X)
    known = learnt(first, second)
    digest = known.digest()
    assert known.add(known.read_new(Revocations([first]).plain(), RULES)) == []
    assert known.read_new([], RULES) == []
    assert known.digest() == digest
    assert known.keys == {VICTIM.public_key, X.public_key}


def test_who_may_not_revoke() -> None:
    with pytest.raises(RoleMissing):
        expel(VICTIM, X, tuple(line(ALL_ROLES, MEMBER)))
    with pytest.raises(UsageError, match="itself"):
        expel(FOUNDER)
    with pytest.raises(RoleMissing, match="comes from"):
        expel(FOUNDER, X, XS)
    with pytest.raises(RoleMissing):
        expel(ROOT)
    with pytest.raises(UsageError, match="reason"):
        revoke(FOUNDER, FOUNDERS, NETWORK, X.public_key, name="x", reason=" ", now_unix=NOW)


@pytest.mark.parametrize("subject", [FOUNDER, ROOT, X], ids=["founder", "root", "itself"])
def test_what_may_not_be_revoked_is_not_believed_from_others(subject: Identity) -> None:
    payload = cbor.dumps([NETWORK, subject.public_key, "n", "r", NOW])
    forged = [[list(XS), [sign1(X, payload, aad=AAD)]]]
    with pytest.raises(NotAMember, match="its own power"):
        Revocations().read_new(forged, RULES)


def test_a_member_that_is_no_admin_is_not_believed() -> None:
    chain = (*FOUNDERS, given_by(FOUNDER, X, roles=MEMBER, name="x"))
    payload = cbor.dumps([NETWORK, VICTIM.public_key, "n", "r", NOW])
    with pytest.raises(NotAMember, match="no admin"):
        Revocations().read_new([[list(chain), [sign1(X, payload, aad=AAD)]]], RULES)


@pytest.mark.parametrize(
    "fields",
    [
        [b"x" * 16, VICTIM.public_key, "n", "r", NOW],
        [NETWORK, b"short", "n", "r", NOW],
        [NETWORK, VICTIM.public_key, "n\x1b", "r", NOW],
        [NETWORK, VICTIM.public_key, "n", "r" * 65, NOW],
        [NETWORK, VICTIM.public_key, "n", "r", -1],
        [NETWORK, VICTIM.public_key, "n", "r"],
        [NETWORK, VICTIM.public_key, "n", "r", NOW, 1],
    ],
)
def test_a_revocation_of_another_form_is_refused(fields: list[object]) -> None:
    signed = sign1(FOUNDER, cbor.dumps(fields), aad=AAD)
    with pytest.raises(RemoteProtocolError):
        Revocations().read_new([[list(FOUNDERS), [signed]]], RULES)


def test_one_that_is_not_genuine_spoils_the_list() -> None:
    good, bad = expel(VICTIM), bytearray(expel(X).signed)
    bad[-1] ^= 1
    with pytest.raises(RemoteProtocolError):
        Revocations().read_new([[list(FOUNDERS), [good.signed, bytes(bad)]]], RULES)


def test_what_an_expelled_admin_says_counts_no_more_whenever_it_comes() -> None:
    late = expel(VICTIM, X, XS)
    assert learnt(late).keys == {VICTIM.public_key}
    for known in (learnt(expel(X), late), learnt(late, expel(X))):
        assert known.keys == {X.public_key}
        assert [r.subject for r in known.listed()] == [X.public_key]


def test_what_it_had_revoked_is_taken_over() -> None:
    known = learnt(expel(VICTIM, X, XS))
    own = taken_over(known.listed(), X.public_key, FOUNDER, FOUNDERS, NETWORK)
    known.add([expel(X), *own])
    assert known.keys == {VICTIM.public_key, X.public_key}
    assert taken_over(known.listed(), Y.public_key, FOUNDER, FOUNDERS, NETWORK) == []


def test_two_admins_that_revoke_each_other_end_the_same_everywhere() -> None:
    xs, ys = expel(Y, X, XS), expel(X, Y, YS)
    assert learnt(xs, ys).keys == learnt(ys, xs).keys
    assert len(learnt(xs, ys).keys) == 1


def test_one_admin_cannot_fill_the_list_and_all_nodes_cut_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert REVOCATIONS_PER_ADMIN_MAX * 4 <= REVOCATIONS_MAX
    monkeypatch.setattr(module, "REVOCATIONS_PER_ADMIN_MAX", 4)
    flood = [expel(Identity.from_seed(bytes([n]) * 32), X, XS) for n in range(100, 110)]
    mixed = [*flood, expel(VICTIM)]
    kept = []
    for seed in range(3):
        Random(seed).shuffle(mixed)
        known = Revocations()
        for revocation in mixed:
            known.add([revocation])
        kept.append(known.digest())
        assert len(known) == 5
        assert VICTIM.public_key in known.keys
    assert len(set(kept)) == 1


def test_an_admin_that_makes_many_others_cannot_make_the_list_too_long_to_send(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "REVOCATIONS_PER_ADMIN_MAX", 4)
    monkeypatch.setattr(module, "LIST_BYTES_MAX", 6000)
    puppets = [Identity.from_seed(bytes([n]) * 32) for n in range(100, 130)]
    swarm = [expel(VICTIM, p, (*XS, given_by(X, p, roles=ALL_ROLES, name="p"))) for p in puppets]
    digests = set()
    for seed in range(3):
        mixed = [*swarm, expel(Y)]
        Random(seed).shuffle(mixed)
        known = Revocations()
        for revocation in mixed:
            known.add([revocation])
        assert len(cbor.dumps(known.plain())) <= 6000
        assert Y.public_key in known.keys, "the founder's word has its place"
        digests.add(known.digest())
    assert len(digests) == 1


def test_words_of_any_script_fit() -> None:
    words = "\U00020000" * 64
    made = revoke(
        FOUNDER, FOUNDERS, NETWORK, VICTIM.public_key, name=words, reason=words, now_unix=NOW
    )
    assert learnt(made).keys == {VICTIM.public_key}


parts = st.lists(
    st.sampled_from(
        [expel(VICTIM), expel(X), expel(Y), expel(Y, X, XS), expel(X, Y, YS), expel(VICTIM, X, XS)]
    ),
    max_size=8,
)


@given(parts, parts)
def test_merging_is_the_same_in_every_order_and_only_adds(
    left: list[Revocation], right: list[Revocation]
) -> None:
    ab, ba = Revocations(left), Revocations(right)
    before = len(ab)
    ab.add(right)
    ba.add(left)
    assert (ab.digest(), ab.keys) == (ba.digest(), ba.keys)
    assert len(ab) >= before
    assert ab.add(left + right) == []


@given(
    st.recursive(
        st.none() | st.integers() | st.binary(max_size=40) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=8,
    )
)
def test_any_value_is_a_list_of_revocations_or_refused(plain: object) -> None:
    try:
        assert Revocations().read_new(plain, RULES) == []
    except MeshnodeError:
        return


def test_the_vector_on_the_page() -> None:
    page = vector("revocation")
    payload = cbor.dumps(
        [
            page["network id"],
            PublicKey(page["revoked key"]),
            page["name"].decode(),
            page["reason"].decode(),
            int.from_bytes(page["unix seconds"], "big"),
        ]
    )
    admin = Identity.from_seed(page["admin seed"])
    assert sign1(admin, payload, aad=AAD) == page["revocation"]


def test_a_role_alone_is_not_enough_without_a_chain() -> None:
    with pytest.raises(RemoteProtocolError):
        Revocations().read_new([[[], []]], replace(RULES, revoked=frozenset()))
    assert Role.ADMIN & ALL_ROLES
