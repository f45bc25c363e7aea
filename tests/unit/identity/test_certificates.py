"""Certificate chains: power only shrinks, and each refusal says why."""

from dataclasses import replace

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.errors import LocalProtocolError, NotAMember, RemoteProtocolError
from meshnode.identity.certificates import (
    AAD,
    ALL_ROLES,
    CLOCK_SLACK_S,
    MEMBER,
    Certificate,
    Role,
    issue,
    names_of,
    network_of,
    read,
    verify_chain,
    verify_member,
)
from meshnode.identity.cose import sign1
from meshnode.identity.keys import Identity
from meshnode.ids import NetworkId, PublicKey
from meshnode.wire.limits import CERTIFICATE_BYTES_MAX, CERTIFICATE_CHAIN_MAX
from tests.unit.identity.page import vector

ROOT, *NODES = (Identity.from_seed(bytes([n]) * 32) for n in range(1, 10))
NETWORK = network_of(ROOT.public_key)
NOW = 1_800_000_000
TEMPLATE = Certificate(
    network=NETWORK,
    subject=NODES[0].public_key,
    issuer=ROOT.public_key,
    roles=ALL_ROLES,
    name="node",
    not_before=NOW - 10,
    not_after=NOW + 10,
)


def given_by(issuer: Identity, subject: Identity, **changes: object) -> bytes:
    keys = {"issuer": issuer.public_key, "subject": subject.public_key}
    return issue(issuer, replace(TEMPLATE, **(keys | changes)))


def line(*roles: Role) -> list[bytes]:
    """A chain from the root in which the n-th node has the n-th roles."""
    issuers = [ROOT, *NODES]
    return [given_by(issuers[n], NODES[n], roles=r, name=f"n{n}") for n, r in enumerate(roles)]


def check(chain: list[bytes], now: float = NOW) -> Certificate:
    return verify_chain(chain, root_key=ROOT.public_key, network=NETWORK, now_unix=now)


def refused(chain: list[bytes], reason: str, now: float = NOW) -> None:
    with pytest.raises(NotAMember, match=reason):
        check(chain, now)


def test_the_page_shows_these_certificates() -> None:
    page = vector("certificate")
    root = Identity.from_seed(page["root seed"])
    assert network_of(root.public_key) == page["network id"]
    chain = [page["root certificate"], page["member certificate"]]
    leaf = verify_chain(
        chain, root_key=root.public_key, network=page["network id"], now_unix=1_710_000_000
    )
    assert (leaf.name, leaf.roles, leaf.not_after) == ("pi-kitchen", MEMBER, 1_715_552_000)
    assert issue(root, read(chain[0])) == chain[0]
    assert read(chain[0]).issuer == root.public_key


def test_a_good_chain_gives_its_leaf() -> None:
    leaf = check(line(ALL_ROLES, MEMBER, Role.WORKER))
    assert leaf.subject == NODES[2].public_key
    assert (leaf.issuer, leaf.roles, leaf.name) == (NODES[1].public_key, Role.WORKER, "n2")


@given(st.lists(st.integers(0, 15).map(Role), min_size=1, max_size=CERTIFICATE_CHAIN_MAX))
@settings(max_examples=100, deadline=None)
def test_a_child_never_gains_a_role(roles: list[Role]) -> None:
    lawful = True
    for above, own in zip([ALL_ROLES, *roles], roles, strict=False):
        needed = Role.PUBLISH if own == Role.PUBLISH else Role.ADMIT
        lawful = lawful and not own & ~above and bool(above & needed)
    try:
        leaf = check(line(*roles))
    except NotAMember:
        assert not lawful
    else:
        assert lawful
        assert all(not leaf.roles & ~r for r in roles)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_no_flipped_bit_is_accepted(data: st.DataObject) -> None:
    chain = line(ALL_ROLES, MEMBER)
    at = data.draw(st.integers(0, 1))
    bad = bytearray(chain[at])
    bit = data.draw(st.integers(0, len(bad) * 8 - 1))
    bad[bit // 8] ^= 1 << bit % 8
    chain[at] = bytes(bad)
    with pytest.raises(NotAMember):
        check(chain)


def test_a_worker_may_not_admit() -> None:
    refused(line(Role.WORKER, Role.WORKER), "may not issue")


def test_a_node_without_publish_may_not_certify_a_publisher() -> None:
    refused(line(Role.WORKER | Role.ADMIT, Role.PUBLISH), "does not have itself")
    assert check(line(MEMBER, Role.PUBLISH)).roles == Role.PUBLISH


def test_a_publisher_admits_no_node() -> None:
    refused(line(MEMBER, Role.PUBLISH, Role.WORKER), "does not have itself")


def test_time_is_checked_on_every_link() -> None:
    chain = [given_by(ROOT, NODES[0], not_after=NOW + 5), given_by(NODES[0], NODES[1])]
    assert check(chain, NOW + 5)
    refused(chain, '"node" has expired', NOW + 6)
    refused(chain, "not valid yet; is this clock right", NOW - 11 - CLOCK_SLACK_S)
    assert check(chain, NOW - 10 - CLOCK_SLACK_S)


def test_a_chain_of_another_mesh_says_so() -> None:
    other = Identity.generate()
    chain = [given_by(other, NODES[0], network=network_of(other.public_key))]
    refused(chain, "another mesh")
    refused([given_by(ROOT, NODES[0], network=NetworkId(bytes(16)))], "another mesh")


def test_a_forged_issuer_is_refused() -> None:
    forged = replace(TEMPLATE, issuer=NODES[3].public_key, roles=MEMBER)
    refused([issue(NODES[3], forged)], "not issued by the one before")
    fields = cbor2.loads(cbor2.loads(given_by(ROOT, NODES[0]))[2])
    refused([sign1(NODES[3], cbor2.dumps(fields), aad=AAD)], "not genuine.*does not match")


def test_links_may_not_be_left_out_or_swapped() -> None:
    chain = line(ALL_ROLES, MEMBER, MEMBER)
    refused([chain[0], chain[2]], "not issued by the one before")
    refused(chain[1:], "not issued by the one before")
    refused([chain[1], chain[0], chain[2]], "not issued by the one before")


def test_a_chain_has_one_to_six_links() -> None:
    whole = line(*[MEMBER] * (CERTIFICATE_CHAIN_MAX + 1))
    assert check(whole[:CERTIFICATE_CHAIN_MAX]).name == f"n{CERTIFICATE_CHAIN_MAX - 1}"
    refused(whole, "1 to 6 links, this has 7")
    refused([], "1 to 6 links, this has 0")


def test_a_member_is_the_one_named_and_a_worker() -> None:
    def member(chain: list[bytes], subject: Identity) -> Certificate:
        return verify_member(
            chain,
            subject=subject.public_key,
            root_key=ROOT.public_key,
            network=NETWORK,
            now_unix=NOW,
        )

    assert member(line(MEMBER), NODES[0]).name == "n0"
    with pytest.raises(NotAMember, match="another device"):
        member(line(MEMBER), NODES[1])
    with pytest.raises(NotAMember, match="not one of a node"):
        member(line(MEMBER, Role.PUBLISH), NODES[1])


@pytest.mark.parametrize(
    "field",
    [
        {0: bytes(15)},
        {0: "text"},
        {1: bytes(31)},
        {2: None},
        {3: -1},
        {3: 256},
        {3: True},
        {4: "x" * 65},
        {4: "\x1b[31mroot"},
        {4: "over\u202eride"},
        {4: b"name"},
        {5: -1},
        {5: 1.5},
        {6: 2**40},
    ],
)
def test_a_field_out_of_range_is_refused(field: dict[int, object]) -> None:
    c = TEMPLATE
    fields = [c.network, c.subject, c.issuer, int(c.roles), c.name, c.not_before, c.not_after]
    for index, value in field.items():
        fields[index] = value
    with pytest.raises(RemoteProtocolError):
        read(sign1(ROOT, cbor2.dumps(fields, canonical=True), aad=AAD))


def test_unknown_roles_are_dropped() -> None:
    fields = cbor2.loads(cbor2.loads(given_by(ROOT, NODES[0]))[2])
    fields[3] = 0x80 | int(MEMBER)
    assert check([sign1(ROOT, cbor2.dumps(fields), aad=AAD)]).roles == MEMBER


def test_the_longest_name_fits_and_nothing_longer_is_issued() -> None:
    signed = given_by(ROOT, NODES[0], name="\U0001f4f7" * 64, not_after=2**40 - 1)
    assert len(signed) <= CERTIFICATE_BYTES_MAX
    assert read(signed).name == "\U0001f4f7" * 64
    with pytest.raises(RemoteProtocolError, match="too long"):
        read(bytes(CERTIFICATE_BYTES_MAX + 1))


@pytest.mark.parametrize(
    "changes", [{"name": "x" * 65}, {"name": "\n"}, {"not_after": 2**40}, {"network": b""}]
)
def test_what_nobody_would_accept_is_not_issued(changes: dict[str, object]) -> None:
    with pytest.raises(LocalProtocolError):
        given_by(ROOT, NODES[0], **changes)


def test_nobody_signs_in_anothers_name() -> None:
    with pytest.raises(ValueError, match="not the issuer"):
        issue(NODES[0], replace(TEMPLATE, issuer=PublicKey(bytes(32))))


def test_roles_read_as_words() -> None:
    assert names_of(MEMBER) == "worker, admit, publish"
    assert names_of(Role(0)) == "no role"
