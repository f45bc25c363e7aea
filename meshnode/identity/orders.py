"""An admin's signed order about a mesh key: what it is, and who may give it.

An order names the key by its id and never contains it, so it may be kept and shown; the key
travels beside it, and only through a channel between members.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

from meshnode.errors import NotAMember, RemoteProtocolError, RoleMissing
from meshnode.identity.certificates import Certificate, Role, read, verify_line
from meshnode.identity.cose import sign1, verify1
from meshnode.identity.keyring import EPOCH_MAX, KEY_BYTES, KEY_ID_BYTES, RingKey, Stage
from meshnode.identity.keys import Identity
from meshnode.ids import NetworkId, PublicKey, short
from meshnode.wire import cbor
from meshnode.wire.limits import CERTIFICATE_CHAIN_MAX

AAD = b"meshnode/key-order/1"
ORDER_BYTES_MAX = 256
NETWORK_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshRules:
    """What it takes to judge an admin's word: whose mesh, at what time, and who is revoked."""

    root_key: PublicKey
    network: NetworkId
    now_unix: float
    revoked: Container[PublicKey] = frozenset()


def sign_order(
    admin: Identity, chain: Sequence[bytes], network: NetworkId, key: RingKey
) -> RingKey:
    """Return the key with this admin's order for its stage, or raise RoleMissing."""
    check_admin(chain)
    payload = cbor.dumps([network, key.epoch, key.key_id, int(key.stage)])
    return replace(key, order=sign1(admin, payload, aad=AAD), chain=tuple(chain))


def check_admin(chain: Sequence[bytes]) -> None:
    """Raise RoleMissing unless this node's own chain ends in the role admin."""
    if not read(chain[-1]).roles & Role.ADMIN:
        raise RoleMissing(
            "this node may not do this: its certificate lacks the role admin",
            try_="do it on the node that founded the mesh",
        )


def verify_order(order: bytes, key: bytes, chain: Sequence[bytes], rules: MeshRules) -> RingKey:
    """Return the key that an order is about, or raise RemoteProtocolError or NotAMember."""
    if len(order) > ORDER_BYTES_MAX or len(key) != KEY_BYTES:
        raise RemoteProtocolError("a key order or its key has the wrong length")
    signer = admin_of(chain, rules)
    payload = verify1(order, signer.subject, aad=AAD)
    match cbor.loads(payload, bytes_max=ORDER_BYTES_MAX):
        case [bytes() as network, int() as epoch, bytes() as key_id, int() as stage]:
            if network != rules.network:
                raise RemoteProtocolError("a key order for another mesh")
            if not 0 < epoch < EPOCH_MAX or stage not in tuple(Stage):
                raise RemoteProtocolError("a key order with an impossible epoch or stage")
            made = RingKey(
                epoch=epoch, key=key, stage=Stage(stage), order=order, chain=tuple(chain)
            )
            if len(key_id) != KEY_ID_BYTES or made.key_id != key_id:
                raise RemoteProtocolError("a key order about another key than the one beside it")
            return made
        case _:
            pass
    raise RemoteProtocolError("a key order does not have the form of one")


def admin_of(chain: Sequence[bytes], rules: MeshRules) -> Certificate:
    """Return the admin's certificate at the end of a good chain, or raise NotAMember."""
    return admin_line(chain, rules)[-1]


def admin_line(chain: Sequence[bytes], rules: MeshRules) -> tuple[Certificate, ...]:
    """Return the certificates of an admin, the root's first, or raise NotAMember."""
    if len(chain) > CERTIFICATE_CHAIN_MAX or not all(isinstance(c, bytes) for c in chain):
        raise RemoteProtocolError("an admin's certificates do not have the form of ones")
    line = verify_line(
        chain,
        root_key=rules.root_key,
        network=rules.network,
        now_unix=rules.now_unix,
        revoked=rules.revoked,
    )
    if not line[-1].roles & Role.ADMIN:
        raise NotAMember(f"{short(line[-1].subject)} gave an order and is no admin")
    return line
