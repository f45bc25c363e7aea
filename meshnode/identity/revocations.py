"""Revocations: an admin's signed word that a key is no member of the mesh any more.

Each is signed alone, and a list only ever grows: two lists are merged by taking all of both. So
an older list can take nothing back, two admins on the two sides of a partition need no agreement,
and the order of arrival does not matter.

Who may revoke whom: the revoker's certificate has the role admin, and the revoked key is not one
that the revoker's own power comes from; the founder is above everybody. The word of an admin that
is revoked itself counts no more, whenever it was given: else whoever was expelled could still
expel others through a member that has not heard of it. What it had revoked rightly is taken over
by the admin that revokes it (`taken_over`). Revocations are weighed from the root downwards, so
every node comes to the same result from the same set.

A revoked key, and everything certified below it, is refused for ever; the device comes back with
a new key and a new invite.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from meshnode.errors import NotAMember, RemoteProtocolError, RoleMissing, UsageError
from meshnode.identity.certificates import TIME_MAX, is_name, read
from meshnode.identity.cose import sign1, verify1
from meshnode.identity.keys import Identity
from meshnode.identity.mesh import shown
from meshnode.identity.orders import MeshRules, admin_line, check_admin
from meshnode.ids import NetworkId, PublicKey
from meshnode.wire import cbor
from meshnode.wire.limits import CERTIFICATE_CHAIN_MAX, KIB, NAME_CHARS_MAX

AAD = b"meshnode/revocation/1"
REVOCATION_BYTES_MAX = 768
"""A name and a reason of 64 characters with 4 bytes each, a key, a signature."""
REVOCATIONS_MAX = 1024
"""About 0.3 MB on the wire; a mesh that expelled more has its root key to start anew with."""
REVOCATIONS_PER_ADMIN_MAX = 256
"""So that one admin that turned bad cannot fill the list."""
LIST_BYTES_MAX = 900 * KIB
"""All of them, with each admin's certificates once, fit the body of one message."""
REASON_CHARS_MAX = NAME_CHARS_MAX
DIGEST_BYTES = 16
FIELD_BYTES = 5
"""At most what CBOR puts before a byte string or a list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """One key that is expelled."""

    subject: PublicKey
    name: str
    """What people called it; for people only."""
    reason: str
    at: int
    """When, by the admin's clock, in unix seconds; for people only."""
    signed: bytes
    chain: tuple[bytes, ...]
    """The admin's certificates, the root's first."""

    @property
    def by(self) -> str:
        """The admin's name."""
        return read(self.chain[-1]).name

    @property
    def line(self) -> tuple[PublicKey, ...]:
        """The keys that the admin's power comes from, its own last."""
        return tuple(read(c).subject for c in self.chain)


def revoke(
    admin: Identity,
    chain: Sequence[bytes],
    network: NetworkId,
    subject: PublicKey,
    *,
    name: str,
    reason: str,
    now_unix: float,
) -> Revocation:
    """Return a signed revocation, or raise RoleMissing or UsageError where none may be made."""
    check_admin(chain)
    if subject == admin.public_key:
        raise UsageError("a node cannot revoke itself", try_="do it on another admin's node")
    if subject in {read(c).subject for c in chain} | {read(chain[0]).issuer}:
        raise RoleMissing("this node's own membership comes from that device")
    if not reason.strip():
        raise UsageError("a revocation needs a reason", try_='--reason "stolen"')
    name, reason, at = shown(name), shown(reason), int(now_unix)
    payload = cbor.dumps([network, subject, name, reason, at])
    signed = sign1(admin, payload, aad=AAD)
    return Revocation(
        subject=subject, name=name, reason=reason, at=at, signed=signed, chain=tuple(chain)
    )


def taken_over(
    revocations: Iterable[Revocation],
    fallen: PublicKey,
    admin: Identity,
    chain: Sequence[bytes],
    network: NetworkId,
) -> list[Revocation]:
    """Return what an admin that is about to be revoked had revoked, in the revoker's own name."""
    return [
        revoke(admin, chain, network, r.subject, name=r.name, reason=r.reason, now_unix=float(r.at))
        for r in revocations
        if fallen in r.line
        and r.subject not in {read(c).subject for c in chain}
        and r.subject != admin.public_key
    ]


class Revocations:
    """All revocations that a node knows: a set that only grows. No clock, no I/O."""

    def __init__(self, known: Iterable[Revocation] = ()) -> None:
        """`known` were verified before: they are this node's own file."""
        self._known: dict[bytes, Revocation] = {}
        for revocation in known:
            self._known[_tag(revocation.signed)] = revocation
        self._refresh()

    @property
    def keys(self) -> frozenset[PublicKey]:
        """The revoked keys."""
        return self._keys

    def __len__(self) -> int:
        return len(self._known)

    def listed(self) -> list[Revocation]:
        """Return those that count, by their time."""
        return sorted(self._counted, key=lambda r: (r.at, r.signed))

    def digest(self) -> bytes:
        """Return what two nodes compare: equal if they know the same revocations."""
        tags = b"".join(sorted(self._known))
        return blake2b(tags, digest_size=DIGEST_BYTES, person=b"meshnode-revoked").digest()

    def add(self, revocations: Iterable[Revocation]) -> list[Revocation]:
        """Take verified revocations; return those that are new and were kept.

        More than a list holds are cut by a rule that does not depend on the order in which they
        came, so that all nodes keep the same ones: those of admins nearer to the root first.
        """
        before = set(self._known)
        for revocation in revocations:
            self._known.setdefault(_tag(revocation.signed), revocation)
        self._known = _bounded(self._known)
        self._refresh()
        return [r for tag, r in self._known.items() if tag not in before]

    def knows(self, signed: bytes) -> bool:
        """Return whether this very revocation is known, so that it need not be verified again."""
        return _tag(signed) in self._known

    def plain(self) -> list[cbor.Plain]:
        """Return all as plain values, gathered by admin: [[chain, [signed, ...]], ...]."""
        groups: dict[tuple[bytes, ...], list[bytes]] = {}
        for _, revocation in sorted(self._known.items()):
            groups.setdefault(revocation.chain, []).append(revocation.signed)
        return [[list(chain), signed] for chain, signed in groups.items()]

    def read_new(self, plain: object, rules: MeshRules) -> list[Revocation]:
        """Return the verified revocations in another node's `plain` that are not known here.

        Raises RemoteProtocolError or NotAMember if one is not genuine: whoever sends such a list
        has not checked it, so nothing of it is taken. Whether the admin is revoked itself is
        weighed later, by all nodes alike.
        """
        groups = plain if isinstance(plain, list) else [None]
        if len(groups) > REVOCATIONS_MAX:
            raise RemoteProtocolError("more revocations than a mesh may have")
        found: list[Revocation] = []
        for group in groups:
            chain, signed = _group(group)
            fresh = [s for s in signed if not self.knows(s)]
            if fresh:
                found += _verified(chain, fresh, rules)
        if len(found) > REVOCATIONS_MAX:
            raise RemoteProtocolError("more revocations than a mesh may have")
        return found

    def _refresh(self) -> None:
        """Weigh what is known, from the root downwards."""
        revoked: set[PublicKey] = set()
        counted: list[Revocation] = []
        for _, revocation in sorted(self._known.items(), key=_weight):
            if not revoked.intersection(revocation.line):
                revoked.add(revocation.subject)
                counted.append(revocation)
        self._keys, self._counted = frozenset(revoked), counted


def _verified(chain: tuple[bytes, ...], signed: list[bytes], rules: MeshRules) -> list[Revocation]:
    # Judged at its own time: an admin's revocations outlive its certificate.
    newest = max((read(c).not_before for c in chain), default=0)
    line = admin_line(
        chain,
        MeshRules(root_key=rules.root_key, network=rules.network, now_unix=newest),
    )
    above = {rules.root_key} | {certificate.subject for certificate in line}
    return [_read(s, line[-1].subject, chain, above, rules.network) for s in signed]


def _read(
    signed: bytes,
    signer: PublicKey,
    chain: tuple[bytes, ...],
    above: set[PublicKey],
    network: NetworkId,
) -> Revocation:
    if len(signed) > REVOCATION_BYTES_MAX:
        raise RemoteProtocolError("a revocation is too long")
    payload = verify1(signed, signer, aad=AAD)
    match cbor.loads(payload, bytes_max=REVOCATION_BYTES_MAX):
        case [bytes() as mesh, bytes() as subject, str() as name, str() as reason, int() as at]:
            if mesh != network:
                raise RemoteProtocolError("a revocation in another mesh")
            if len(subject) != 32 or not 0 <= at < TIME_MAX:
                raise RemoteProtocolError("a revocation with an impossible key or time")
            if not is_name(name) or not is_name(reason):
                raise RemoteProtocolError("a revocation's words are not short printable texts")
            if subject in above:
                raise NotAMember("an admin revoked what its own power comes from")
            return Revocation(
                subject=PublicKey(subject),
                name=name,
                reason=reason,
                at=at,
                signed=signed,
                chain=chain,
            )
        case _:
            pass
    raise RemoteProtocolError("a revocation does not have the form of one")


def _group(plain: object) -> tuple[tuple[bytes, ...], list[bytes]]:
    match plain:
        case [list() as chain, list() as signed] if 1 <= len(chain) <= CERTIFICATE_CHAIN_MAX:
            if len(signed) <= REVOCATIONS_MAX and all(
                isinstance(part, bytes) for part in (*chain, *signed)
            ):
                return tuple(chain), signed
        case _:
            pass
    raise RemoteProtocolError("a list of revocations does not have the form of one")


def _bounded(known: dict[bytes, Revocation]) -> dict[bytes, Revocation]:
    """Keep what fits: of each admin so many, then those of admins nearest to the root.

    What is kept is the beginning of a total order, up to the first that does not fit, so it is the
    same set whichever way two sets were merged.
    """
    if len(known) <= REVOCATIONS_PER_ADMIN_MAX:
        return known
    of_chain: dict[tuple[bytes, ...], int] = {}
    kept: dict[bytes, Revocation] = {}
    size = 0
    for tag, revocation in sorted(known.items(), key=_weight):
        chain = revocation.chain
        of_chain[chain] = of_chain.get(chain, 0) + 1
        if of_chain[chain] > REVOCATIONS_PER_ADMIN_MAX:
            continue
        certificates = sum(map(len, chain)) if of_chain[chain] == 1 else 0
        size += len(revocation.signed) + certificates + 8 * FIELD_BYTES
        if size > LIST_BYTES_MAX or len(kept) >= REVOCATIONS_MAX:
            break
        kept[tag] = revocation
    return kept


def _weight(pair: tuple[bytes, Revocation]) -> tuple[int, bytes]:
    """Order revocations: by how far from the root their admin is, then by a hash."""
    return len(pair[1].chain), pair[0]


def _tag(signed: bytes) -> bytes:
    return blake2b(signed, digest_size=DIGEST_BYTES, person=b"meshnode-revtag").digest()
