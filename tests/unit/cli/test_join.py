"""`meshnode join` as far as it goes without a sponsor; `tests/integration` has the rest."""

from pathlib import Path

import pytest

from meshnode.cli.join import keep
from meshnode.cli.main import main
from meshnode.config.home import Home, home_dir
from meshnode.identity.certificates import MEMBER
from meshnode.identity.invites import Invite, encode
from meshnode.identity.keys import Identity
from meshnode.identity.mesh import Mesh, admit, found
from meshnode.ids import Address, Contact
from meshnode.node.clock import unix_now
from meshnode.node.membership_files import load_identity, load_mesh, save_mesh
from meshnode.node.memory import Remembered, recall, remember
from meshnode.storage.state import write_secret
from meshnode.wire.messages import Admission

SPONSOR, NOW = Identity.from_seed(b"s" * 32), unix_now()
THEIRS, _ = found(SPONSOR, "theirs", NOW)
CLOSED = Address("127.0.0.1", 1)
INVITE = Invite(THEIRS.network, b"x" * 16, (CLOSED,), int(NOW) + 3600, 1)
OTHER = Contact(Identity.from_seed(b"o" * 32).public_key, Address("10.0.0.9", 6174))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = home_dir(tmp_path, environ={})
    home.prepare()
    return home


def member_of_its_own(home: Home) -> Mesh:
    identity, _ = load_identity(home.identity_key)
    mesh, root = found(identity, "home", NOW)
    save_mesh(home.mesh_file, mesh)
    write_secret(home.root_key, root.seed)
    return mesh


def admission(identity: Identity) -> Admission:
    return Admission(
        mesh_name="theirs",
        root_key=THEIRS.root_key,
        mesh_key=THEIRS.mesh_key,
        chain=admit(
            SPONSOR, THEIRS.chain, identity.public_key, name="pi", roles=MEMBER, now_unix=NOW
        ),
        members=(OTHER,),
        seeds=(),
    )


def test_a_mistyped_invite_is_refused_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["join", "mesh1-nonsense", "--home", str(tmp_path / "n")]) == 8
    assert "MN-104" in capsys.readouterr().err
    assert not (tmp_path / "n").exists()


def test_a_sponsor_that_is_not_there_is_named(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["join", encode(INVITE), "--home", str(home.data)]) == 4
    shown = capsys.readouterr().err
    assert "MN-103" in shown
    assert "127.0.0.1:1" in shown
    assert load_mesh(home.mesh_file) is None


def test_another_mesh_is_not_left_by_accident(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    mesh = member_of_its_own(home)
    assert main(["join", encode(INVITE), "--home", str(home.data)]) == 8
    shown = capsys.readouterr().err
    assert "MN-107" in shown
    assert mesh.network.hex()[:12] in shown
    assert THEIRS.network.hex()[:12] in shown
    assert "--replace" in shown


def test_a_mesh_with_others_in_it_is_not_left_at_all(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    member_of_its_own(home)
    remember(home.state_file, Remembered(contacts=(OTHER,)))
    assert main(["join", "--replace", encode(INVITE), "--home", str(home.data)]) == 8
    assert "1 other devices" in capsys.readouterr().err


def test_what_is_kept_lets_the_node_start(home: Home) -> None:
    identity, _ = load_identity(home.identity_key)
    mesh = keep(home, admission(identity), INVITE, None)
    assert load_mesh(home.mesh_file) == mesh
    assert recall(home.state_file).contacts == (OTHER,)


def test_the_root_key_of_a_mesh_that_is_left_stays(home: Home) -> None:
    before = member_of_its_own(home)
    identity, _ = load_identity(home.identity_key)
    keep(home, admission(identity), INVITE, before)
    assert not home.root_key.exists()
    assert (home.data / f"root-{before.network.hex()[:12]}.key").exists()
