"""The X25519 keys of channels, and the signatures by which identities vouch for them.

A node uses one such key for many handshakes: each of them has a fresh ephemeral key, so what an
old static key opens is nothing. A signature that was good stays good, so that of a peer that comes
back is not verified again.
"""

from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256

from meshnode.identity.keys import Identity, random_bytes, verify
from meshnode.identity.noise import DH_BYTES, public_of

STATIC_DOMAIN = b"noise-static"
HANDSHAKES_MAX = 1024
"""Then another key is made: what is in use does not lie in memory for months."""
VOUCHED_MAX = 1024
"""Peers whose signature is known to be good: 0.2 MB."""


@dataclass(frozen=True, slots=True)
class StaticKey:
    """An X25519 key pair, and the identity's signature over the public half."""

    secret: bytes
    public: bytes
    signature: bytes

    def __repr__(self) -> str:
        return f"StaticKey({self.public.hex()})"


class StaticKeys:
    """The static key of the own side, and the peers' that were found good."""

    def __init__(self) -> None:
        self._own: StaticKey | None = None
        self._signer = b""
        self._used = 0
        self._vouched: OrderedDict[bytes, None] = OrderedDict()

    def own(self, identity: Identity) -> StaticKey:
        """Return the key for one more handshake; a new one is made when it was used enough."""
        signer = identity.public_key
        if self._own is None or self._used >= HANDSHAKES_MAX or signer != self._signer:
            self._own, self._signer = signed(identity, random_bytes(DH_BYTES)), signer
            self._used = 0
        self._used += 1
        return self._own

    def vouches(self, key: bytes, static: bytes, signature: bytes) -> bool:
        """Return whether `key` signed this static key; only what is good is remembered."""
        digest = sha256(key + static + signature).digest()
        if digest in self._vouched:
            self._vouched.move_to_end(digest)
            return True
        if not verify(key, static, signature, domain=STATIC_DOMAIN):
            return False
        self._vouched[digest] = None
        if len(self._vouched) > VOUCHED_MAX:
            self._vouched.popitem(last=False)
        return True


def signed(identity: Identity, secret: bytes) -> StaticKey:
    """Return the static key of this X25519 secret, vouched for by an identity."""
    public = public_of(secret)
    return StaticKey(secret, public, identity.sign(public, domain=STATIC_DOMAIN))
