"""The Noise XX pattern and its states, with or without a psk (Noise specification, revision 34).

    XX:      -> e           <- e, ee, s, es      -> s, se
    XXpsk0:  -> psk, e      <- e, ee, s, es      -> s, se

Payloads are the caller's; `handshake` says what meshnode puts into them. Named 25519, ChaChaPoly,
SHA256, and held against the published vectors of other implementations.
"""

from functools import lru_cache
from hashlib import sha256
from typing import Self

import nacl.bindings
from nacl.exceptions import CryptoError

from meshnode.errors import LocalProtocolError, RemoteProtocolError
from meshnode.identity.aead import open_once, seal_once
from meshnode.identity.keys import random_bytes

NAME_XX = b"Noise_XX_25519_ChaChaPoly_SHA256"
NAME_XXPSK0 = b"Noise_XXpsk0_25519_ChaChaPoly_SHA256"
DH_BYTES = 32
TAG_BYTES = 16
PSK_BYTES = 32
NONCE_MAX = 2**64 - 1
BEGINNINGS_MAX = 16
"""The keys of a mesh in rotation, and some invites. What is kept is no more than the psks tell."""
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))
_INNER_REST, _OUTER_REST = bytes([0x36]) * 32, bytes([0x5C]) * 32
_COUNTERS = (b"\1", b"\2", b"\3")


class CipherState:
    """Noise section 5.1: a key and its counter. The counter does not move on a failed open."""

    def __init__(self, key: bytes | None = None) -> None:
        self.key = key
        self.nonce = 0

    def encrypt(self, ad: bytes, plaintext: bytes) -> bytes:
        """Return the ciphertext with its tag, or the plaintext before there is a key."""
        if self.key is None:
            return plaintext
        if self.nonce >= NONCE_MAX:
            raise LocalProtocolError("a channel key is used up")
        sealed = seal_once(self.key, self._nonce_bytes(), plaintext, ad)
        self.nonce += 1
        return sealed

    def decrypt(self, ad: bytes, ciphertext: bytes) -> bytes:
        """Return the plaintext, or raise RemoteProtocolError."""
        if self.key is None:
            return ciphertext
        if self.nonce >= NONCE_MAX:
            raise RemoteProtocolError("a channel key is used up")
        plain = open_once(self.key, self._nonce_bytes(), ciphertext, ad)
        if plain is None:
            raise RemoteProtocolError("a handshake message does not open")
        self.nonce += 1
        return plain

    def _nonce_bytes(self) -> bytes:
        return bytes(4) + self.nonce.to_bytes(8, "little")


class SymmetricState:
    """Noise section 5.2: the chaining key, the transcript hash and the current cipher."""

    def __init__(self, chaining_key: bytes, transcript: bytes, key: bytes | None = None) -> None:
        self.chaining_key = chaining_key
        self.hash = transcript
        self.cipher = CipherState(key)

    @classmethod
    def named(cls, name: bytes) -> Self:
        """Return the state that a protocol begins with."""
        first = name.ljust(32, b"\0") if len(name) <= 32 else sha256(name).digest()
        return cls(first, first)

    def mix_hash(self, data: bytes) -> None:
        """Take data into the transcript."""
        self.hash = sha256(self.hash + data).digest()

    def mix_key(self, material: bytes) -> None:
        """Take a shared secret into the key."""
        self.chaining_key, key = hkdf(self.chaining_key, material, 2)
        self.cipher = CipherState(key)

    def mix_key_and_hash(self, material: bytes) -> None:
        """Take a pre-shared key into both."""
        self.chaining_key, for_hash, key = hkdf(self.chaining_key, material, 3)
        self.mix_hash(for_hash)
        self.cipher = CipherState(key)

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        """Seal under the current key with the transcript as associated data."""
        sealed = self.cipher.encrypt(self.hash, plaintext)
        self.mix_hash(sealed)
        return sealed

    def decrypt_and_hash(self, ciphertext: bytes) -> bytes:
        """Undo `encrypt_and_hash`, or raise RemoteProtocolError leaving the state as it was."""
        plain = self.cipher.decrypt(self.hash, ciphertext)
        self.mix_hash(ciphertext)
        return plain

    def split(self) -> tuple[bytes, bytes]:
        """Return the initiator's and the responder's sending key."""
        first, second = hkdf(self.chaining_key, b"", 2)
        return first, second


class NoiseXX:
    """One side of the pattern: reads and writes its three messages in turn.

    `psk=None` is plain XX. A message that does not open leaves the object of no further use.
    """

    def __init__(
        self, *, psk: bytes | None, prologue: bytes, static: bytes = b"", ephemeral: bytes = b""
    ) -> None:
        """`static` and `ephemeral` are X25519 secrets for vectors; fresh ones if empty."""
        self._has_psk = psk is not None
        self.state = SymmetricState(*_beginning(psk, prologue))
        self._static, self._static_public = static, b""
        self._ephemeral, self._ephemeral_public = ephemeral, b""
        self.remote_ephemeral = b""
        self.remote_static = b""

    def write_1(self, payload: bytes) -> bytes:
        """Return the initiator's message 1."""
        self._mix_own_ephemeral()
        return self._ephemeral_public + self.state.encrypt_and_hash(payload)

    def read_1(self, message: bytes) -> bytes:
        """Return message 1's payload. With a psk this costs hashes and no public-key work."""
        self._take_ephemeral(message)
        return self.state.decrypt_and_hash(message[DH_BYTES:])

    def write_2(self, payload: bytes) -> bytes:
        """Return the responder's message 2."""
        self._mix_own_ephemeral()
        self.state.mix_key(dh(self._ephemeral, self.remote_ephemeral))
        static = self._sealed_static()
        self.state.mix_key(dh(self._static, self.remote_ephemeral))
        return self._ephemeral_public + static + self.state.encrypt_and_hash(payload)

    def read_2(self, message: bytes) -> bytes:
        """Return message 2's payload; `remote_static` is known then."""
        self._take_ephemeral(message)
        self.state.mix_key(dh(self._ephemeral, self.remote_ephemeral))
        at = DH_BYTES + DH_BYTES + TAG_BYTES
        self.remote_static = self.state.decrypt_and_hash(message[DH_BYTES:at])
        self.state.mix_key(dh(self._ephemeral, self.remote_static))
        return self.state.decrypt_and_hash(message[at:])

    def write_3(self, payload: bytes) -> bytes:
        """Return the initiator's message 3."""
        static = self._sealed_static()
        self.state.mix_key(dh(self._static, self.remote_ephemeral))
        return static + self.state.encrypt_and_hash(payload)

    def read_3(self, message: bytes) -> bytes:
        """Return message 3's payload."""
        at = DH_BYTES + TAG_BYTES
        self.remote_static = self.state.decrypt_and_hash(message[:at])
        self.state.mix_key(dh(self._ephemeral, self.remote_static))
        return self.state.decrypt_and_hash(message[at:])

    def _take_ephemeral(self, message: bytes) -> None:
        self.remote_ephemeral = message[:DH_BYTES]
        self._mix_ephemeral(self.remote_ephemeral)

    def use_static(self, secret: bytes, public: bytes) -> None:
        """Set the static key; none is needed before the first message that shows it."""
        self._static, self._static_public = secret, public

    def _sealed_static(self) -> bytes:
        if not self._static_public:
            self._static = self._static or random_bytes(DH_BYTES)
            self._static_public = public_of(self._static)
        return self.state.encrypt_and_hash(self._static_public)

    def _mix_own_ephemeral(self) -> None:
        """Make the ephemeral key; a responder does so only for those who hold the psk."""
        self._ephemeral = self._ephemeral or random_bytes(DH_BYTES)
        self._ephemeral_public = public_of(self._ephemeral)
        self._mix_ephemeral(self._ephemeral_public)

    def _mix_ephemeral(self, public: bytes) -> None:
        """Section 9.2: in a psk handshake every e is mixed into the key as well."""
        self.state.mix_hash(public)
        if self._has_psk:
            self.state.mix_key(public)


@lru_cache(maxsize=BEGINNINGS_MAX)
def _beginning(psk: bytes | None, prologue: bytes) -> tuple[bytes, bytes, bytes | None]:
    """Return chaining key, transcript and key before message 1: the same for every handshake of a
    mesh, and a tenth of what the hashes of one cost."""
    state = SymmetricState.named(NAME_XX if psk is None else NAME_XXPSK0)
    state.mix_hash(prologue)
    if psk is not None:
        state.mix_key_and_hash(psk)
    return state.chaining_key, state.hash, state.cipher.key


def hkdf(chaining_key: bytes, material: bytes, outputs: int) -> tuple[bytes, ...]:
    """Return two or three 32-byte keys (Noise section 4.3, HMAC-SHA256).

    HMAC is written out (RFC 2104): for so few bytes OpenSSL's takes twice as long as the hashes.
    """
    inner, outer = _pads(chaining_key)
    inner, outer = _pads(sha256(outer + sha256(inner + material).digest()).digest())
    made: list[bytes] = []
    last = b""
    for index in range(outputs):
        last = sha256(outer + sha256(inner + last + _COUNTERS[index]).digest()).digest()
        made.append(last)
    return tuple(made)


def _pads(key: bytes) -> tuple[bytes, bytes]:
    """Return what HMAC hashes before the message, inside and outside, for a key of 32 bytes."""
    return key.translate(_INNER) + _INNER_REST, key.translate(_OUTER) + _OUTER_REST


def public_of(secret: bytes) -> bytes:
    """Return the X25519 public key of a secret."""
    public: bytes = nacl.bindings.crypto_scalarmult_base(secret)
    return public


def dh(secret: bytes, public: bytes) -> bytes:
    """Return the shared secret, or raise RemoteProtocolError for a point of low order."""
    try:
        shared: bytes = nacl.bindings.crypto_scalarmult(secret, public)
    except (CryptoError, RuntimeError, ValueError) as error:
        raise RemoteProtocolError("a key exchange with a bad point") from error
    return shared
