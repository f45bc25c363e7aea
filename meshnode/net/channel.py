"""Who may open a channel, and what each side shows: a mesh's members, or the holder of an invite.

The Noise handshake is keyed by a psk: one of the mesh's for members, an invite's for a joiner, and
what is left of a retired mesh key for a member that slept through its rotation. Inside it each side
shows a payload, [root key, certificate chain] in CBOR; a joiner, who has none, shows nothing.
`check` turns the peer's payload into what we know of the peer.
"""

from collections import OrderedDict
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Protocol

from meshnode.errors import InviteForeign, NotAMember, RemoteProtocolError, Revoked
from meshnode.identity.certificates import (
    Certificate,
    check_node,
    check_present,
    network_of,
    read,
    verify_line,
    verify_member,
)
from meshnode.identity.invites import Invite, psk_of
from meshnode.identity.keys import Identity
from meshnode.identity.mesh import Mesh
from meshnode.identity.static_keys import StaticKeys
from meshnode.ids import NetworkId, PublicKey
from meshnode.wire import cbor
from meshnode.wire.limits import CERTIFICATE_CHAIN_MAX, HANDSHAKE_BYTES_MAX

PROTOCOL = b"meshnode/channel/1"
KEY_BYTES = 32
LINES_MAX = 1024
"""Members whose chain is known to be good: 1 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a handshake showed of a peer."""

    certificate: Certificate | None
    """Its membership; None for a joiner."""
    invite: bytes | None
    """The psk of the invite that a joiner holds; None for a member."""
    lagging: Certificate | None = None
    """The membership of a peer that knows only a retired key: it may ask for the present ones."""
    line: tuple[PublicKey, ...] = ()
    """The keys that its membership comes from, its own last."""
    token: bytes | None = None
    """The token of a connection that was arranged; it carries no calls. See `tokens`."""


class MeshKeys(Protocol):
    """The keys of a mesh: a `Keyring`, or a `Mesh` whose key was never replaced."""

    def accepted_keys(self) -> tuple[bytes, ...]:
        """Return the psks of members, the one to call under first."""
        ...

    def catch_up_keys(self) -> tuple[bytes, ...]:
        """Return the psks of members that slept through a rotation."""
        ...


class ChannelKeys(Protocol):
    """The keys and rules of the channels of one node."""

    identity: Identity
    statics: StaticKeys

    def prologue(self) -> bytes:
        """Return what both sides must agree on before they start."""
        ...

    def psks(self) -> list[bytes]:
        """Return the psks to accept; an initiator uses the first."""
        ...

    def offers(self) -> tuple[bytes, ...]:
        """Return the psks to call under, one after the other while nobody answers."""
        ...

    def payload(self) -> bytes:
        """Return what to show to the peer."""
        ...

    def check(self, peer_key: PublicKey, payload: bytes, psk: bytes) -> Standing:
        """Judge a peer that knows `psk`. Raises NotAMember, InviteForeign, RemoteProtocolError."""
        ...


def _unheard(peer_key: PublicKey, fallen: bool) -> None:
    pass


class MeshChannel:
    """A member's channels: to other members, and from joiners that hold an invite of ours."""

    def __init__(
        self,
        identity: Identity,
        mesh: Mesh,
        *,
        invites: Callable[[], Sequence[bytes]] | None,
        unix_now: Callable[[], float],
        keys: MeshKeys | None = None,
        revoked: Callable[[], Container[PublicKey]] = frozenset,
        judged: Callable[[PublicKey, bool], None] = _unheard,
    ) -> None:
        """`invites` gives the psks of the invites that are out; None if there are never any.

        `keys` are the mesh's as they are now, if they may change; `revoked` gives the keys that no
        chain may contain; `judged` hears of each member that proved its key, and whether its chain
        contained one.
        """
        self.identity = identity
        self.statics = StaticKeys()
        self._mesh = mesh
        self._payload = write_payload(mesh.root_key, mesh.chain)
        self._keys: MeshKeys = keys or mesh
        self._invites = invites
        self._unix_now = unix_now
        self._revoked = revoked
        self._judged = judged
        self._lines: OrderedDict[bytes, tuple[Certificate, ...]] = OrderedDict()
        """Chains whose signatures and roles are good; their times and revocations are looked at
        each time."""

    def prologue(self) -> bytes:
        """See `ChannelKeys.prologue`."""
        return prologue_of(self._mesh.network)

    def psks(self) -> list[bytes]:
        """See `ChannelKeys.psks`."""
        invites = self._invites() if self._invites else ()
        return [*self._keys.accepted_keys(), *invites, *self._keys.catch_up_keys()]

    def offers(self) -> tuple[bytes, ...]:
        """See `ChannelKeys.offers`."""
        return self._keys.accepted_keys()

    def payload(self) -> bytes:
        """See `ChannelKeys.payload`."""
        return self._payload

    def check(self, peer_key: PublicKey, payload: bytes, psk: bytes) -> Standing:
        """See `ChannelKeys.check`."""
        lagging = psk in self._keys.catch_up_keys()
        if not lagging and psk not in self._keys.accepted_keys():
            if payload:
                raise RemoteProtocolError("a joiner that shows a membership")
            return Standing(certificate=None, invite=psk)
        standing = self.member(peer_key, payload)
        if lagging:
            return replace(standing, certificate=None, lagging=standing.certificate)
        return standing

    def member(self, peer_key: PublicKey, payload: bytes) -> Standing:
        """Return the standing of a member, whatever key it was met under, or raise NotAMember."""
        try:
            line = self._line(payload)
        except Revoked:
            if read(read_payload(payload)[1][-1]).subject == peer_key:
                self._judged(peer_key, True)
            raise
        leaf = line[-1]
        check_node(leaf, peer_key)
        self._judged(peer_key, False)
        subjects = tuple(certificate.subject for certificate in line)
        return Standing(certificate=leaf, invite=None, line=subjects)

    def _line(self, payload: bytes) -> tuple[Certificate, ...]:
        """Return the certificates of a good chain; signatures are verified at the first showing."""
        digest = sha256(payload).digest()
        now_unix, revoked = self._unix_now(), self._revoked()
        line = self._lines.get(digest)
        if line is not None:
            check_present(line, now_unix=now_unix, revoked=revoked)
            self._lines.move_to_end(digest)
            return line
        root_key, chain = read_payload(payload)
        if root_key != self._mesh.root_key:
            raise NotAMember("the certificate belongs to another mesh")
        line = verify_line(
            chain,
            root_key=root_key,
            network=self._mesh.network,
            now_unix=now_unix,
            revoked=revoked,
        )
        self._lines[digest] = line
        if len(self._lines) > LINES_MAX:
            self._lines.popitem(last=False)
        return line


class InviteChannel:
    """A joiner's channel to the sponsor of its invite."""

    def __init__(self, identity: Identity, invite: Invite) -> None:
        self.identity = identity
        self.statics = StaticKeys()
        self._invite = invite
        self._psk = psk_of(invite.secret)

    def prologue(self) -> bytes:
        """See `ChannelKeys.prologue`."""
        return prologue_of(self._invite.network)

    def psks(self) -> list[bytes]:
        """See `ChannelKeys.psks`."""
        return [self._psk]

    def offers(self) -> tuple[bytes, ...]:
        """See `ChannelKeys.offers`."""
        return (self._psk,)

    def payload(self) -> bytes:
        """See `ChannelKeys.payload`: a joiner has nothing to show yet."""
        return b""

    def check(self, peer_key: PublicKey, payload: bytes, psk: bytes) -> Standing:
        """See `ChannelKeys.check`: the sponsor's chain must lead to the root the invite names."""
        root_key, chain = read_payload(payload)
        leaf = verify_own_time(
            chain, subject=peer_key, root_key=root_key, network=self._invite.network
        )
        return Standing(certificate=leaf, invite=None)


def prologue_of(network: NetworkId) -> bytes:
    """Return the handshake prologue: protocol and version, then the network id."""
    return PROTOCOL + b"\0" + network


def write_payload(root_key: PublicKey, chain: Sequence[bytes]) -> bytes:
    """Return [root key, chain] as sent inside the handshake."""
    return cbor.dumps([root_key, list(chain)])


def read_payload(payload: bytes) -> tuple[PublicKey, tuple[bytes, ...]]:
    """Return (root key, chain), unverified, or raise RemoteProtocolError."""
    match cbor.loads(payload, bytes_max=HANDSHAKE_BYTES_MAX):
        case [bytes() as root_key, list() as chain] if len(root_key) == KEY_BYTES:
            if len(chain) <= CERTIFICATE_CHAIN_MAX and all(isinstance(c, bytes) for c in chain):
                return PublicKey(root_key), tuple(chain)
    raise RemoteProtocolError("a handshake payload is not [root key, chain]")


def verify_own_time(
    chain: Sequence[bytes], *, subject: PublicKey, root_key: PublicKey, network: NetworkId
) -> Certificate:
    """Return the leaf if the chain makes `subject` a node, judged at the chain's newest start.

    For a joiner, whose clock may be wrong until it is a member. Raises InviteForeign if the root
    is not this network's, NotAMember or RemoteProtocolError if the chain is not good.
    """
    if network_of(root_key) != network:
        raise InviteForeign("the sponsor belongs to another mesh than the invite")
    newest = max((read(certificate).not_before for certificate in chain), default=0)
    return verify_member(
        chain, subject=subject, root_key=root_key, network=network, now_unix=newest
    )
