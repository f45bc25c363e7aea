"""A node's Ed25519 key pair, its id, signing and verifying."""

import nacl.bindings
import nacl.utils
from nacl.exceptions import BadSignatureError, CryptoError
from nacl.signing import SigningKey, VerifyKey

from meshnode.ids import NodeId, PublicKey, node_id_of, short

SEED_BYTES = 32
SIGNATURE_BYTES = 64


class Identity:
    """A secret Ed25519 key and everything derived from it. Its repr shows no secret."""

    __slots__ = ("_signing", "_x25519", "public_key")

    def __init__(self, signing: SigningKey) -> None:
        self._signing = signing
        self.public_key = PublicKey(bytes(signing.verify_key))
        self._x25519: bytes = nacl.bindings.crypto_sign_ed25519_sk_to_curve25519(
            bytes(signing) + self.public_key
        )

    @classmethod
    def generate(cls) -> "Identity":
        """Return a fresh identity."""
        return cls(SigningKey.generate())

    @classmethod
    def from_seed(cls, seed: bytes) -> "Identity":
        """Return the identity of a 32-byte seed."""
        if len(seed) != SEED_BYTES:
            raise ValueError(f"a seed has {SEED_BYTES} bytes, not {len(seed)}")
        return cls(SigningKey(seed))

    @property
    def seed(self) -> bytes:
        """The 32 secret bytes to keep on disk."""
        return bytes(self._signing)

    @property
    def node_id(self) -> NodeId:
        """The public id peers know this node by."""
        return node_id_of(self.public_key)

    @property
    def x25519_secret(self) -> bytes:
        """The secret of the X25519 key that belongs to this Ed25519 key."""
        return self._x25519

    def sign(self, data: bytes, *, domain: bytes) -> bytes:
        """Sign `data` for one purpose; a signature for one domain is invalid in another."""
        return self.sign_raw(_in_domain(data, domain))

    def sign_raw(self, data: bytes) -> bytes:
        """Sign exactly these bytes, for formats with domains of their own (COSE, wasmsig)."""
        return bytes(self._signing.sign(data).signature)

    def __repr__(self) -> str:
        return f"Identity({short(self.node_id)})"


def verify(public_key: bytes, data: bytes, signature: bytes, *, domain: bytes) -> bool:
    """Return whether `signature` is good for this purpose. Never raises on bad input."""
    return verify_raw(public_key, _in_domain(data, domain), signature)


def verify_raw(public_key: bytes, data: bytes, signature: bytes) -> bool:
    """Return whether `signature` is good over exactly these bytes. Never raises on bad input."""
    try:
        VerifyKey(bytes(public_key)).verify(bytes(data), bytes(signature))
    except (BadSignatureError, CryptoError, ValueError, TypeError):
        return False
    return True


def x25519_public(public_key: bytes) -> bytes | None:
    """Return the X25519 key that belongs to an Ed25519 key, or None if it is not a valid point."""
    try:
        converted: bytes = nacl.bindings.crypto_sign_ed25519_pk_to_curve25519(bytes(public_key))
    except (CryptoError, ValueError, TypeError):
        return None
    return converted


def random_bytes(count: int) -> bytes:
    """Return bytes from the operating system's generator."""
    return bytes(nacl.utils.random(count))


def _in_domain(data: bytes, domain: bytes) -> bytes:
    return b"meshnode/" + domain + b"\0" + data
