"""The channel between a member and a seed, which holds no mesh's secret.

The psk is a hash of the seed's key: a seed says nothing to those who do not know who it is. The
member shows its certificate chain, which anybody can verify, so a seed knows of which mesh it is a
member and leads nobody elsewhere. The seed shows nothing: its key is known.
"""

from collections.abc import Callable, Container
from hashlib import blake2b

from meshnode.errors import RemoteProtocolError
from meshnode.identity.certificates import Certificate, Role, network_of, read, verify_member
from meshnode.identity.keys import Identity
from meshnode.identity.mesh import Mesh
from meshnode.identity.sealing import SEED_NETWORK
from meshnode.identity.static_keys import StaticKeys
from meshnode.ids import NetworkId, PublicKey
from meshnode.net.channel import Standing, prologue_of, read_payload, write_payload


def seed_psk(seed_key: PublicKey) -> bytes:
    """Return the psk of channels to a seed."""
    return blake2b(b"seed", key=seed_key, digest_size=32, person=b"meshnode").digest()


def _nobody(network: NetworkId) -> frozenset[PublicKey]:
    return frozenset()


class ToSeedChannel:
    """A member's channel to one seed."""

    def __init__(self, identity: Identity, mesh: Mesh, seed_key: PublicKey) -> None:
        self.identity = identity
        self.statics = StaticKeys()
        self._mesh = mesh
        self._seed_key = seed_key

    def prologue(self) -> bytes:
        """See `ChannelKeys.prologue`."""
        return prologue_of(SEED_NETWORK)

    def psks(self) -> list[bytes]:
        """See `ChannelKeys.psks`."""
        return [seed_psk(self._seed_key)]

    def offers(self) -> tuple[bytes, ...]:
        """See `ChannelKeys.offers`."""
        return (seed_psk(self._seed_key),)

    def payload(self) -> bytes:
        """See `ChannelKeys.payload`: sent in message 3, when the seed's key is verified."""
        return write_payload(self._mesh.root_key, self._mesh.chain)

    def check(self, peer_key: PublicKey, payload: bytes, psk: bytes) -> Standing:
        """See `ChannelKeys.check`: a seed is known by its key; it has no role in any mesh."""
        if peer_key != self._seed_key or payload:
            raise RemoteProtocolError("this is not the seed that was expected")
        standing = Certificate(
            network=self._mesh.network,
            subject=peer_key,
            issuer=peer_key,
            roles=Role(0),
            name="seed",
            not_before=0,
            not_after=0,
        )
        return Standing(certificate=standing, invite=None)


class SeedChannel:
    """A seed's channels to members of any mesh."""

    def __init__(
        self,
        identity: Identity,
        *,
        unix_now: Callable[[], float],
        expelled: Callable[[NetworkId], Container[PublicKey]] = _nobody,
    ) -> None:
        """`expelled` gives the keys that no certificate chain of a mesh may contain."""
        self.identity = identity
        self.statics = StaticKeys()
        self._unix_now = unix_now
        self._expelled = expelled

    def prologue(self) -> bytes:
        """See `ChannelKeys.prologue`."""
        return prologue_of(SEED_NETWORK)

    def psks(self) -> list[bytes]:
        """See `ChannelKeys.psks`."""
        return [seed_psk(self.identity.public_key)]

    def offers(self) -> tuple[bytes, ...]:
        """See `ChannelKeys.offers`: a seed calls nobody first."""
        return (seed_psk(self.identity.public_key),)

    def payload(self) -> bytes:
        """See `ChannelKeys.payload`."""
        return b""

    def check(self, peer_key: PublicKey, payload: bytes, psk: bytes) -> Standing:
        """See `ChannelKeys.check`: any mesh, but a good chain to its root."""
        root_key, chain = read_payload(payload)
        network = network_of(root_key)
        leaf = verify_member(
            chain,
            subject=peer_key,
            root_key=root_key,
            network=network,
            now_unix=self._unix_now(),
            revoked=self._expelled(network),
        )
        return Standing(
            certificate=leaf, invite=None, line=tuple(read(each).subject for each in chain)
        )
