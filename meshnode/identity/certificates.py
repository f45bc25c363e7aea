"""Membership certificates: who may speak in a mesh, admit others, and publish modules.

A chain starts at the mesh's root key. Each certificate is signed by the subject of the one
before it and never has a role that its issuer lacks, so power only shrinks along a chain. The
rules, in the order they are checked, are in `docs/protocol-security.md`.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from enum import IntFlag
from functools import lru_cache
from hashlib import sha256

from meshnode.errors import LocalProtocolError, NotAMember, RemoteProtocolError, Revoked
from meshnode.identity.cose import sign1, split1, verify1
from meshnode.identity.keys import Identity
from meshnode.ids import NetworkId, PublicKey, short
from meshnode.wire import cbor
from meshnode.wire.limits import CERTIFICATE_BYTES_MAX, CERTIFICATE_CHAIN_MAX, NAME_CHARS_MAX

AAD = b"meshnode/certificate/1"
NETWORK_BYTES = 16
TIME_MAX = 2**40
"""Far past any date, and small enough that sums with it stay exact."""
CLOCK_SLACK_S = 300
"""A certificate is accepted this long before it starts: devices without a clock battery differ."""


class Role(IntFlag):
    """What a certificate allows."""

    WORKER = 1
    """Take part and run modules."""
    ADMIT = 2
    """Invite and certify nodes."""
    PUBLISH = 4
    """Certify publisher keys; in a publisher's certificate: sign modules."""
    ADMIN = 8
    """Revoke and promote; the founder has it."""


MEMBER = Role.WORKER | Role.ADMIT | Role.PUBLISH
ALL_ROLES = MEMBER | Role.ADMIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A signed claim: `issuer` gives `subject` these roles in this mesh for this time."""

    network: NetworkId
    subject: PublicKey
    issuer: PublicKey
    roles: Role
    name: str
    not_before: int
    """Unix seconds."""
    not_after: int


@lru_cache(maxsize=64)
def network_of(root_key: PublicKey) -> NetworkId:
    """Return the network id of the mesh with this root key."""
    return NetworkId(sha256(root_key).digest()[:NETWORK_BYTES])


def issue(issuer: Identity, certificate: Certificate) -> bytes:
    """Return the signed certificate, at most `CERTIFICATE_BYTES_MAX` long.

    Raises ValueError if `issuer` is not the one it names, LocalProtocolError if no reader would
    accept it. Whether the issuer may issue it is not judged here: `mesh.admit` does.
    """
    if issuer.public_key != certificate.issuer:
        raise ValueError("the signer is not the issuer named in the certificate")
    c = certificate
    times_fit = all(0 <= t < TIME_MAX for t in (c.not_before, c.not_after))
    if not times_fit or not is_name(c.name) or len(c.network) != NETWORK_BYTES:
        raise LocalProtocolError("a certificate with a name or a time that nobody would accept")
    payload = cbor.dumps(
        [c.network, c.subject, c.issuer, int(c.roles), c.name, c.not_before, c.not_after]
    )
    signed = sign1(issuer, payload, aad=AAD)
    if len(signed) > CERTIFICATE_BYTES_MAX:
        raise LocalProtocolError(f"a certificate of {len(signed)} bytes is too long")
    return signed


def read(data: bytes) -> Certificate:
    """Return a certificate's claims, unverified, or raise RemoteProtocolError.

    Role bits that this version does not know are dropped: they can only ever give less.
    """
    if len(data) > CERTIFICATE_BYTES_MAX:
        raise RemoteProtocolError("a certificate is too long")
    fields = cbor.loads(split1(data)[0], bytes_max=CERTIFICATE_BYTES_MAX)
    if not isinstance(fields, list) or len(fields) != 7:
        raise RemoteProtocolError("a certificate has seven fields")
    network, subject, issuer, roles, name, not_before, not_after = fields
    keys_fit = all(isinstance(k, bytes) and len(k) == 32 for k in (subject, issuer))
    if not keys_fit or not isinstance(network, bytes) or len(network) != NETWORK_BYTES:
        raise RemoteProtocolError("a certificate's keys have the wrong length")
    if not isinstance(name, str) or not is_name(name):
        raise RemoteProtocolError("a certificate's name is not a short printable text")
    if not all(_is_uint(n, TIME_MAX) for n in (not_before, not_after)) or not _is_uint(roles, 256):
        raise RemoteProtocolError("a certificate's times or roles are out of range")
    return Certificate(
        network=NetworkId(network),
        subject=PublicKey(subject),
        issuer=PublicKey(issuer),
        roles=Role(roles & int(ALL_ROLES)),
        name=name,
        not_before=not_before,
        not_after=not_after,
    )


def verify_line(
    chain: Sequence[bytes],
    *,
    root_key: PublicKey,
    network: NetworkId,
    now_unix: float,
    revoked: Container[PublicKey] = frozenset(),
) -> tuple[Certificate, ...]:
    """Return the certificates of a good chain, the root's first, or raise NotAMember.

    A chain in which any subject is among `revoked` is refused (Revoked): whoever holds a revoked
    key could give out certificates with any date, so everything below it falls with it.
    """
    if not 1 <= len(chain) <= CERTIFICATE_CHAIN_MAX:
        raise NotAMember(
            f"a certificate chain has 1 to {CERTIFICATE_CHAIN_MAX} links, this has {len(chain)}"
        )
    signer, allowed = root_key, ALL_ROLES
    line: list[Certificate] = []
    for depth, data in enumerate(chain):
        try:
            certificate = read(data)
            _check_signer(certificate, data, signer=signer, network=network)
        except RemoteProtocolError as error:
            raise NotAMember(f"certificate {depth + 1} is not genuine: {error}") from error
        _check_roles(certificate, allowed)
        _check_time(certificate, now_unix)
        _check_revoked(certificate, revoked, is_leaf=depth == len(chain) - 1)
        signer, allowed = certificate.subject, certificate.roles
        line.append(certificate)
    return tuple(line)


def check_present(
    line: Sequence[Certificate], *, now_unix: float, revoked: Container[PublicKey]
) -> None:
    """Raise NotAMember unless a line that `verify_line` returned once is good now as well.

    Signatures and roles cannot have changed; times pass, and keys are revoked.
    """
    for certificate in line:
        _check_time(certificate, now_unix)
        _check_revoked(certificate, revoked, is_leaf=certificate is line[-1])


def verify_chain(
    chain: Sequence[bytes],
    *,
    root_key: PublicKey,
    network: NetworkId,
    now_unix: float,
    revoked: Container[PublicKey] = frozenset(),
) -> Certificate:
    """Return the last certificate of a good chain, or raise NotAMember with the reason.

    The caller still compares the leaf's subject and roles with what it needs; for a peer on a
    channel `verify_member` does.
    """
    return verify_line(
        chain, root_key=root_key, network=network, now_unix=now_unix, revoked=revoked
    )[-1]


def verify_member(
    chain: Sequence[bytes],
    *,
    subject: PublicKey,
    root_key: PublicKey,
    network: NetworkId,
    now_unix: float,
    revoked: Container[PublicKey] = frozenset(),
) -> Certificate:
    """Return the leaf if the chain makes `subject` a node of this mesh, or raise NotAMember."""
    leaf = verify_chain(
        chain, root_key=root_key, network=network, now_unix=now_unix, revoked=revoked
    )
    check_node(leaf, subject)
    return leaf


def check_node(leaf: Certificate, subject: PublicKey) -> None:
    """Raise NotAMember unless a verified leaf makes `subject` a node.

    A publisher's key has a good chain too, but it is no node: it lacks the role worker.
    """
    if leaf.subject != subject:
        raise NotAMember("the certificate was given to another device than the one showing it")
    if not leaf.roles & Role.WORKER:
        raise NotAMember(f'the certificate of "{leaf.name}" is not one of a node')


def role_needed(roles: Role) -> Role:
    """Return the role it takes to issue a certificate with these roles."""
    return Role.PUBLISH if roles == Role.PUBLISH else Role.ADMIT


def names_of(roles: Role) -> str:
    """Return roles as an operator reads them: `worker, admit`."""
    return ", ".join(str(r.name).lower() for r in Role if r & roles) or "no role"


def is_name(name: str) -> bool:
    """Return whether a name may be shown on a terminal: short, and no control characters."""
    return len(name) <= NAME_CHARS_MAX and name.isprintable()


def _check_signer(
    certificate: Certificate, data: bytes, *, signer: PublicKey, network: NetworkId
) -> None:
    # The claims are compared before the signature: they can only cause a refusal, and "another
    # mesh" is a more useful reason than a signature that does not match.
    if certificate.network != network:
        raise NotAMember("the certificate belongs to another mesh")
    if certificate.issuer != signer:
        raise NotAMember("the certificate was not issued by the one before it in the chain")
    verify1(data, signer, aad=AAD)


def _check_roles(certificate: Certificate, allowed: Role) -> None:
    if certificate.roles & ~allowed:
        raise NotAMember(f"{short(certificate.issuer)} gave a role that it does not have itself")
    if not allowed & role_needed(certificate.roles):
        raise NotAMember(f"{short(certificate.issuer)} may not issue this certificate")


def _check_time(certificate: Certificate, now_unix: float) -> None:
    if now_unix < certificate.not_before - CLOCK_SLACK_S:
        raise NotAMember(
            f'the certificate of "{certificate.name}" is not valid yet; is this clock right?'
        )
    if now_unix > certificate.not_after:
        raise NotAMember(f'the certificate of "{certificate.name}" has expired')


def _check_revoked(
    certificate: Certificate, revoked: Container[PublicKey], *, is_leaf: bool
) -> None:
    if certificate.subject in revoked:
        below = "" if is_leaf else ", which admitted this device,"
        raise Revoked(f'"{certificate.name}"{below} has been revoked in this mesh')


def _is_uint(value: object, limit: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < limit
