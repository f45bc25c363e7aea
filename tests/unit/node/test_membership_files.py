"""The files of a member: made once, read again, damage named."""

import stat
from pathlib import Path

import pytest

from meshnode.config import home_dir
from meshnode.errors import IdentityError, InviteForeign, NotAMember
from meshnode.identity.keys import Identity
from meshnode.identity.mesh import found
from meshnode.ids import Address, Contact, NetworkId, PublicKey
from meshnode.node.membership_files import (
    check_own,
    load_identity,
    load_mesh,
    save_admission,
    save_founded,
    with_seeds,
)
from meshnode.node.memory import recall
from meshnode.storage.state import write_secret
from meshnode.wire.messages import Admission

NOW = 1_800_000_000.0
FRIEND = Contact(PublicKey(bytes(32)), Address("127.0.0.1", 6174))


def test_an_identity_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "identity.key"
    first, new = load_identity(path)
    again, new_again = load_identity(path)
    assert (new, new_again) == (True, False)
    assert first.public_key == again.public_key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_identity_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "identity.key"
    load_identity(path)
    path.chmod(0o644)
    with pytest.raises(IdentityError, match=r"identity\.key"):
        load_identity(path)


def test_a_cut_key_is_named(tmp_path: Path) -> None:
    write_secret(tmp_path / "identity.key", b"short")
    with pytest.raises(IdentityError, match="5 bytes"):
        load_identity(tmp_path / "identity.key")


def test_a_founded_mesh_is_read_again(tmp_path: Path) -> None:
    identity = Identity.generate()
    mesh, root = found(identity, "home", NOW)
    mesh_file, key = tmp_path / "mesh.cbor", tmp_path / "identity.key"
    save_founded(mesh, root, mesh_path=mesh_file, root_path=tmp_path / "root.key")
    assert load_mesh(mesh_file) == mesh
    with pytest.raises(IdentityError, match="missing"):
        check_own(key, mesh_file, mesh, NOW)
    write_secret(key, Identity.generate().seed)
    with pytest.raises(IdentityError, match="not the key"):
        check_own(key, mesh_file, mesh, NOW)
    write_secret(key, identity.seed)
    check_own(key, mesh_file, mesh, NOW)
    with pytest.raises(NotAMember, match="expired"):
        check_own(key, mesh_file, mesh, NOW + 1e9)
    assert load_mesh(tmp_path / "nothing") is None


def test_a_damaged_mesh_is_named(tmp_path: Path) -> None:
    write_secret(tmp_path / "mesh.cbor", b"\xff\x00")
    with pytest.raises(IdentityError, match="damaged"):
        load_mesh(tmp_path / "mesh.cbor")


def test_an_admission_to_another_mesh_is_not_kept(tmp_path: Path) -> None:
    mesh, _ = found(Identity.generate(), "other", NOW)
    admission = Admission(
        mesh_name=mesh.name,
        root_key=mesh.root_key,
        mesh_key=mesh.mesh_key,
        chain=mesh.chain,
        members=(FRIEND,),
        seeds=(),
    )
    home = home_dir(tmp_path)
    with pytest.raises(InviteForeign):
        save_admission(home, admission, expected=NetworkId(bytes(16)))
    assert list(tmp_path.iterdir()) == []
    assert save_admission(home, admission, expected=mesh.network) == load_mesh(home.mesh_file)
    assert recall(home.state_file).contacts == (FRIEND,)


def test_seeds_are_kept_once(tmp_path: Path) -> None:
    mesh, _ = found(Identity.generate(), "m", NOW)
    assert with_seeds(with_seeds(mesh, ()), ()).seeds == ()
