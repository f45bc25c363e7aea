"""The files that make this device a member: its key, its mesh, the root key of a founder.

Blocking, small, called at start and by `meshnode join`. Secrets are created 0600 and refused
when others can read them.
"""

from dataclasses import replace
from pathlib import Path

from meshnode.config.home import Home
from meshnode.errors import IdentityError, InviteForeign, NotAMember, RemoteProtocolError
from meshnode.identity.certificates import verify_chain
from meshnode.identity.keys import Identity
from meshnode.identity.mesh import Mesh
from meshnode.ids import Contact, NetworkId, node_id_of, short
from meshnode.node.memory import recall, remember
from meshnode.storage.state import read_secret, write_secret
from meshnode.wire.messages import Admission

KEY_BYTES = 32


def load_identity(path: Path) -> tuple[Identity, bool]:
    """Return the identity kept at `path`, making one if there is none, and whether it is new."""
    seed = read_secret(path)
    if seed is not None:
        if len(seed) != KEY_BYTES:
            raise IdentityError(
                f"{path} is damaged: it has {len(seed)} bytes, a key has 32",
                try_=f"restore it from a backup, or move it away to get a new identity: {path}",
            )
        return Identity.from_seed(seed), False
    identity = Identity.generate()
    write_secret(path, identity.seed)
    return identity, True


def load_mesh(path: Path) -> Mesh | None:
    """Return the mesh this device belongs to, or None."""
    raw = read_secret(path)
    if raw is None:
        return None
    try:
        return Mesh.from_bytes(raw)
    except RemoteProtocolError as error:
        raise IdentityError(
            f"{path} is damaged: {error}",
            try_=f"mv {path} {path}.damaged   and join the mesh again",
        ) from error


def check_own(identity_key: Path, mesh_file: Path, mesh: Mesh, unix_now: float) -> None:
    """Raise IdentityError unless this device's key is the one that the mesh admitted.

    A node whose key was lost or exchanged would start, and be refused by everyone in silence.
    Raises NotAMember if the membership has run out.
    """
    again = f"restore {identity_key}, or mv {mesh_file} {mesh_file}.old   and join the mesh again"
    seed = read_secret(identity_key)
    if seed is None:
        raise IdentityError(
            f"{identity_key} is missing",
            because=[f'{mesh_file} says that this device is a member of "{mesh.name}"'],
            try_=again,
        )
    try:
        admitted = verify_chain(
            mesh.chain, root_key=mesh.root_key, network=mesh.network, now_unix=unix_now
        ).subject
    except NotAMember as error:
        raise NotAMember(
            error.message, because=[f"{mesh_file} is no valid membership"], try_=again
        ) from error
    if len(seed) == KEY_BYTES and Identity.from_seed(seed).public_key != admitted:
        raise IdentityError(
            f"{identity_key} is not the key that was admitted to this mesh",
            because=[f"{mesh_file} is the membership of {short(node_id_of(admitted))}"],
            try_=again,
        )


def save_mesh(path: Path, mesh: Mesh) -> None:
    """Keep the mesh; replaces what was there."""
    write_secret(path, mesh.to_bytes())


def save_founded(mesh: Mesh, root: Identity, *, mesh_path: Path, root_path: Path) -> None:
    """Keep a mesh that this device has founded, and its root key.

    The root key signs the founder's certificate and is needed again only to replace that;
    it is written to a file of its own, which its owner may move off the device.
    """
    write_secret(root_path, root.seed)
    save_mesh(mesh_path, mesh)


def save_admission(home: Home, admission: Admission, *, expected: NetworkId) -> Mesh:
    """Keep what a sponsor gave, after `net.join` has verified the chain; return the mesh.

    The members it named go into the peer cache, so that the first start knows whom to ask.
    Raises InviteForeign, with nothing kept, if the sponsor's mesh is not the invite's.
    """
    mesh = Mesh(
        name=admission.mesh_name,
        root_key=admission.root_key,
        mesh_key=admission.mesh_key,
        chain=admission.chain,
        seeds=admission.seeds,
    )
    if mesh.network != expected:
        raise InviteForeign(
            f'the sponsor belongs to another mesh ("{mesh.name}", {short(mesh.root_key)})',
            try_="ask for a new invite",
        )
    known = recall(home.state_file)
    contacts = tuple(dict.fromkeys((*admission.members, *known.contacts)))
    remember(home.state_file, replace(known, contacts=contacts))
    save_mesh(home.mesh_file, mesh)
    return mesh


def with_seeds(mesh: Mesh, seeds: tuple[Contact, ...]) -> Mesh:
    """Return the mesh with further seeds, each once."""
    return replace(mesh, seeds=tuple(dict.fromkeys((*mesh.seeds, *seeds))))
