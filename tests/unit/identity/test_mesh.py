"""A mesh's file, its founding, and certifying others."""

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.errors import RemoteProtocolError, RoleMissing
from meshnode.identity.certificates import ALL_ROLES, MEMBER, Role, network_of, verify_chain
from meshnode.identity.keys import Identity
from meshnode.identity.mesh import DAY_S, Mesh, admit, certify_publisher, found
from meshnode.ids import Address, Contact, PublicKey
from meshnode.wire.limits import CERTIFICATE_CHAIN_MAX

ALICE, BOB, CAROL = (Identity.from_seed(bytes([n]) * 32) for n in (1, 2, 3))
NOW = 1_800_000_000.5
SEED = Contact(BOB.public_key, Address("seed.example", 7117))


def test_the_founder_has_all_roles_for_ten_years() -> None:
    mesh, root = found(ALICE, "home", NOW)
    assert mesh.root_key == root.public_key != ALICE.public_key
    assert mesh.network == network_of(root.public_key)
    assert len(mesh.mesh_key) == 32
    leaf = verify_chain(
        mesh.chain, root_key=mesh.root_key, network=mesh.network, now_unix=NOW + 3650 * DAY_S - 1
    )
    assert (leaf.subject, leaf.roles, leaf.name) == (ALICE.public_key, ALL_ROLES, "home")
    assert found(ALICE, "home", NOW)[0].mesh_key != mesh.mesh_key


def test_a_member_admits_a_member_who_admits_a_worker() -> None:
    mesh, _ = found(ALICE, "home", NOW)
    to_bob = admit(ALICE, mesh.chain, BOB.public_key, name="bob", roles=MEMBER, now_unix=NOW)
    to_carol = admit(BOB, to_bob, CAROL.public_key, name="carol", roles=Role.WORKER, now_unix=NOW)
    leaf = verify_chain(
        to_carol, root_key=mesh.root_key, network=mesh.network, now_unix=NOW + 180 * DAY_S - 1
    )
    assert (leaf.subject, leaf.roles) == (CAROL.public_key, Role.WORKER)
    with pytest.raises(RoleMissing, match="does not allow it to give worker"):
        admit(CAROL, to_carol, BOB.public_key, name="x", roles=Role.WORKER, now_unix=NOW)


def test_a_child_does_not_outlive_its_issuer() -> None:
    mesh, _ = found(ALICE, "home", NOW)
    short = admit(ALICE, mesh.chain, BOB.public_key, name="b", roles=MEMBER, now_unix=NOW, days=1)
    long = admit(BOB, short, CAROL.public_key, name="c", roles=MEMBER, now_unix=NOW, days=365)
    leaf = verify_chain(long, root_key=mesh.root_key, network=mesh.network, now_unix=NOW)
    assert leaf.not_after == int(NOW) + DAY_S


def test_a_publisher_is_certified_and_is_no_member() -> None:
    mesh, _ = found(ALICE, "home", NOW)
    chain = certify_publisher(ALICE, mesh.chain, BOB.public_key, name="models", now_unix=NOW)
    leaf = verify_chain(chain, root_key=mesh.root_key, network=mesh.network, now_unix=NOW)
    assert (leaf.roles, leaf.name) == (Role.PUBLISH, "models")


def test_a_worker_certifies_no_publisher() -> None:
    mesh, _ = found(ALICE, "home", NOW)
    roles = Role.WORKER | Role.ADMIT
    chain = admit(ALICE, mesh.chain, BOB.public_key, name="b", roles=roles, now_unix=NOW)
    with pytest.raises(RoleMissing, match="publish") as caught:
        certify_publisher(BOB, chain, CAROL.public_key, name="m", now_unix=NOW)
    assert caught.value.because == ("its own roles: worker, admit",)


@given(st.integers(0, 15).map(Role), st.integers(0, 15).map(Role))
@settings(max_examples=60, deadline=None)
def test_what_is_admitted_verifies_and_gains_nothing(own: Role, asked: Role) -> None:
    mesh, root = found(ALICE, "home", NOW)
    chain = mesh.chain
    try:
        chain = admit(ALICE, chain, BOB.public_key, name="b", roles=own, now_unix=NOW)
        chain = admit(BOB, chain, CAROL.public_key, name="c", roles=asked, now_unix=NOW)
    except RoleMissing:
        return
    leaf = verify_chain(chain, root_key=root.public_key, network=mesh.network, now_unix=NOW)
    assert leaf.roles == asked
    assert not asked & ~own


def test_a_chain_ends_at_its_longest_with_a_word_to_the_sponsor() -> None:
    mesh, _ = found(ALICE, "home", NOW)
    chain, issuer = mesh.chain, ALICE
    while len(chain) < CERTIFICATE_CHAIN_MAX:
        chain = admit(issuer, chain, BOB.public_key, name="n", roles=MEMBER, now_unix=NOW)
        issuer = BOB
    with pytest.raises(RoleMissing, match="as long as a chain may be"):
        admit(issuer, chain, CAROL.public_key, name="n", roles=MEMBER, now_unix=NOW)


def test_a_joiners_name_cannot_draw_on_a_terminal() -> None:
    mesh, _ = found(ALICE, "\x1b[2Jhome", NOW)
    assert mesh.name == "?[2Jhome"
    name = "x\n" + "y" * 100
    chain = admit(ALICE, mesh.chain, BOB.public_key, name=name, roles=MEMBER, now_unix=NOW)
    leaf = verify_chain(chain, root_key=mesh.root_key, network=mesh.network, now_unix=NOW)
    assert leaf.name == "x?" + "y" * 62


def a_mesh(*seeds: Contact) -> Mesh:
    mesh, _ = found(ALICE, "home", NOW)
    return Mesh(
        name=mesh.name,
        root_key=mesh.root_key,
        mesh_key=mesh.mesh_key,
        chain=mesh.chain,
        seeds=seeds,
    )


def test_a_mesh_survives_its_file() -> None:
    for mesh in (a_mesh(), a_mesh(SEED, SEED)):
        assert Mesh.from_bytes(mesh.to_bytes()) == mesh


def test_the_repr_shows_no_secret() -> None:
    mesh = a_mesh(SEED)
    assert repr(mesh) == f"Mesh('home', {mesh.network.hex()[:8]})"
    assert f"{mesh}" == repr(mesh)


@pytest.mark.parametrize(
    "field",
    [
        {0: 2},
        {1: b"home"},
        {2: bytes(31)},
        {3: bytes(33)},
        {4: []},
        {4: [b"x"] * 7},
        {4: ["x"]},
        {5: {}},
        {5: [[bytes(32), "h", 0]]},
        {5: [[bytes(32), "", 1]]},
        {5: [[bytes(31), "h", 1]]},
        {5: [[bytes(32), "h\n", 1]]},
        {5: [[bytes(32), "h"]]},
        {5: [[bytes(32), "h", 1]] * 65},
    ],
)
def test_a_file_that_does_not_fit_is_refused(field: dict[int, object]) -> None:
    fields = cbor2.loads(a_mesh().to_bytes())
    for index, value in field.items():
        fields[index] = value
    with pytest.raises(RemoteProtocolError):
        Mesh.from_bytes(cbor2.dumps(fields, canonical=True))


@given(st.binary(max_size=64))
@settings(max_examples=50, deadline=None)
def test_any_bytes_are_a_mesh_or_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        Mesh.from_bytes(data)


def test_equal_subjects_get_equal_certificates() -> None:
    mesh, _ = found(ALICE, "home", NOW)
    subject = PublicKey(BOB.public_key)
    first = admit(ALICE, mesh.chain, subject, name="b", roles=MEMBER, now_unix=NOW)
    assert admit(ALICE, mesh.chain, subject, name="b", roles=MEMBER, now_unix=NOW) == first
