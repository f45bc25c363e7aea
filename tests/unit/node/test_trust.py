"""Trust: listed keys, certified publishers, and everybody else by reason."""

from pathlib import Path

import pytest

from meshnode.errors import UntrustedPublisher
from meshnode.identity.certificates import Role
from meshnode.identity.keys import Identity
from meshnode.identity.mesh import Mesh, admit, certify_publisher, found
from meshnode.node.trust import Trust

NOW = 1_800_000_000.0


@pytest.fixture
def founder() -> Identity:
    return Identity.generate()


@pytest.fixture
def mesh(founder: Identity) -> Mesh:
    return found(founder, "lab", NOW)[0]


def trust(path: Path, mesh: Mesh, *, accept_mesh: bool = True) -> Trust:
    return Trust(path / "trust.cbor", mesh, accept_mesh=accept_mesh, unix_now=lambda: NOW)


def test_a_stranger_is_refused_with_a_way_out(tmp_path: Path, mesh: Mesh) -> None:
    with pytest.raises(UntrustedPublisher) as refused:
        trust(tmp_path, mesh).check(Identity.generate().public_key, ())
    assert "trust add" in refused.value.try_


def test_a_certified_publisher_is_trusted_and_remembered(
    tmp_path: Path, mesh: Mesh, founder: Identity
) -> None:
    publisher = Identity.generate().public_key
    chain = certify_publisher(founder, mesh.chain, publisher, name="lab", now_unix=NOW)
    assert trust(tmp_path, mesh).check(publisher, chain).by == "mesh"
    assert trust(tmp_path, mesh).check(publisher, ()).name == "lab"


def test_policy_listed_ignores_certificates(tmp_path: Path, mesh: Mesh, founder: Identity) -> None:
    publisher = Identity.generate().public_key
    chain = certify_publisher(founder, mesh.chain, publisher, name="lab", now_unix=NOW)
    closed = trust(tmp_path, mesh, accept_mesh=False)
    with pytest.raises(UntrustedPublisher):
        closed.check(publisher, chain)
    closed.add(publisher, "lab")
    assert trust(tmp_path, mesh, accept_mesh=False).check(publisher, ()).by == "listed"


def test_a_chain_for_another_key_or_another_role_counts_for_nothing(
    tmp_path: Path, mesh: Mesh, founder: Identity
) -> None:
    other, worker = Identity.generate().public_key, Identity.generate().public_key
    chain = certify_publisher(founder, mesh.chain, other, name="x", now_unix=NOW)
    as_worker = admit(founder, mesh.chain, worker, name="w", roles=Role.WORKER, now_unix=NOW)
    for key, given in ((worker, chain), (worker, as_worker)):
        with pytest.raises(UntrustedPublisher):
            trust(tmp_path, mesh).check(key, given)


def test_another_meshs_publisher_is_refused(tmp_path: Path, mesh: Mesh) -> None:
    stranger = Identity.generate()
    foreign, _ = found(stranger, "other", NOW)
    publisher = Identity.generate().public_key
    chain = certify_publisher(stranger, foreign.chain, publisher, name="x", now_unix=NOW)
    with pytest.raises(UntrustedPublisher):
        trust(tmp_path, mesh).check(publisher, chain)
