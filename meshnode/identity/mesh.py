"""A mesh as one device knows it: its name, keys and this device's certificate chain."""

from dataclasses import dataclass

from meshnode.errors import RemoteProtocolError, RoleMissing
from meshnode.identity.certificates import (
    ALL_ROLES,
    Certificate,
    Role,
    issue,
    names_of,
    network_of,
    read,
    role_needed,
)
from meshnode.identity.keys import Identity, random_bytes
from meshnode.ids import Address, Contact, NetworkId, PublicKey
from meshnode.wire import cbor
from meshnode.wire.limits import CERTIFICATE_CHAIN_MAX, KIB, NAME_CHARS_MAX

FORMAT = 1
MESH_BYTES_MAX = 64 * KIB
MESH_KEY_BYTES = 32
DAY_S = 86_400
FOUNDER_DAYS = 3650
MEMBER_DAYS = 180
SEEDS_MAX = 64
HOST_CHARS_MAX = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """What makes a device a member. `mesh_key` is secret: a Mesh is kept 0600 and never shown."""

    name: str
    root_key: PublicKey
    mesh_key: bytes
    chain: tuple[bytes, ...]
    """This device's certificates, the root's first."""
    seeds: tuple[Contact, ...] = ()

    @property
    def network(self) -> NetworkId:
        """The id that separates this mesh from all others."""
        return network_of(self.root_key)

    def accepted_keys(self) -> tuple[bytes, ...]:
        """Return the mesh key: all there is for a device that knows of no rotation."""
        return (self.mesh_key,)

    def catch_up_keys(self) -> tuple[bytes, ...]:
        """Return no key: nothing has been retired."""
        return ()

    def to_bytes(self) -> bytes:
        """Return the form kept on disk."""
        seeds = [[s.public_key, s.address.host, s.address.port] for s in self.seeds]
        chain = list(self.chain)
        return cbor.dumps([FORMAT, self.name, self.root_key, self.mesh_key, chain, seeds])

    @classmethod
    def from_bytes(cls, data: bytes) -> "Mesh":
        """Return the mesh that `to_bytes` wrote, or raise RemoteProtocolError."""
        fields = cbor.loads(data, bytes_max=MESH_BYTES_MAX)
        if not isinstance(fields, list) or len(fields) != 6 or fields[0] != FORMAT:
            raise RemoteProtocolError("not a mesh file of this version")
        _, name, root_key, mesh_key, chain, seeds = fields
        keys_fit = all(isinstance(k, bytes) and len(k) == 32 for k in (root_key, mesh_key))
        if not keys_fit or not isinstance(name, str) or not isinstance(chain, list):
            raise RemoteProtocolError("a mesh file's fields have the wrong type")
        if not all(isinstance(c, bytes) for c in chain) or not isinstance(seeds, list):
            raise RemoteProtocolError("a mesh file's lists have the wrong type")
        if not 1 <= len(chain) <= CERTIFICATE_CHAIN_MAX or len(seeds) > SEEDS_MAX:
            raise RemoteProtocolError("a mesh file's lists are too short or too long")
        return cls(
            name=name,
            root_key=PublicKey(root_key),
            mesh_key=mesh_key,
            chain=tuple(chain),
            seeds=tuple(_seed(s) for s in seeds),
        )

    def __repr__(self) -> str:
        return f"Mesh({self.name!r}, {self.network.hex()[:8]})"


def found(identity: Identity, name: str, now_unix: float) -> tuple[Mesh, Identity]:
    """Start a mesh: return it, with `identity` as its first member, and its root key.

    The root key signs this one certificate; it is not needed again until that runs out.
    """
    root, name = Identity.generate(), shown(name)
    certificate = Certificate(
        network=network_of(root.public_key),
        subject=identity.public_key,
        issuer=root.public_key,
        roles=ALL_ROLES,
        name=name,
        not_before=int(now_unix),
        not_after=int(now_unix) + FOUNDER_DAYS * DAY_S,
    )
    mesh = Mesh(
        name=name,
        root_key=root.public_key,
        mesh_key=random_bytes(MESH_KEY_BYTES),
        chain=(issue(root, certificate),),
    )
    return mesh, root


def admit(
    issuer: Identity,
    issuer_chain: tuple[bytes, ...],
    subject: PublicKey,
    *,
    name: str,
    roles: Role,
    now_unix: float,
    days: int = MEMBER_DAYS,
) -> tuple[bytes, ...]:
    """Return the chain of a new member; it never outlives its issuer's own certificate.

    Raises RoleMissing where `verify_chain` would refuse the result, so that the sponsor hears of
    it and not the joiner.
    """
    own = read(issuer_chain[-1])
    if not roles or roles & ~own.roles or not own.roles & role_needed(roles):
        raise RoleMissing(
            f"this node's certificate does not allow it to give {names_of(roles)}",
            because=[f"its own roles: {names_of(own.roles)}"],
        )
    if len(issuer_chain) >= CERTIFICATE_CHAIN_MAX:
        raise RoleMissing(
            "this node may not certify others: its own chain is as long as a chain may be "
            f"({CERTIFICATE_CHAIN_MAX} links)",
            try_="do this on the node that invited this one",
        )
    certificate = Certificate(
        network=own.network,
        subject=subject,
        issuer=issuer.public_key,
        roles=roles,
        name=shown(name),
        not_before=int(now_unix),
        not_after=min(int(now_unix) + days * DAY_S, own.not_after),
    )
    return (*issuer_chain, issue(issuer, certificate))


def certify_publisher(
    issuer: Identity,
    issuer_chain: tuple[bytes, ...],
    publisher: PublicKey,
    *,
    name: str,
    now_unix: float,
) -> tuple[bytes, ...]:
    """Return the chain that makes a publisher's key good in this mesh."""
    return admit(issuer, issuer_chain, publisher, name=name, roles=Role.PUBLISH, now_unix=now_unix)


def shown(name: str) -> str:
    """Return a name that a certificate may carry; a joiner chooses its own, so it may be bad."""
    return "".join(c if c.isprintable() else "?" for c in name[:NAME_CHARS_MAX])


def _seed(fields: object) -> Contact:
    match fields:
        case [bytes() as key, str() as host, int() as port] if len(key) == 32 and 0 < port < 65536:
            if 1 <= len(host) <= HOST_CHARS_MAX and host.isprintable():
                return Contact(PublicKey(key), Address(host, port))
        case _:
            pass
    raise RemoteProtocolError("a mesh file's seed is not [key, host, port]")
