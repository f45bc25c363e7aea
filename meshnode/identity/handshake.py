"""Noise_XXpsk0_25519_ChaChaPoly_SHA256 without a socket (Noise specification, revision 34).

    XXpsk0:  -> psk, e      <- e, ee, s, es      -> s, se

Feed it what arrives, send what it returns, until `established`; then `keys()` are the two
transport keys. With the psk mixed first, a stranger's message 1 does not open and the responder
says nothing. Messages 2 and 3 carry the sender's Ed25519 key and its signature over the Noise
static key (as libp2p does), then the caller's payload.
"""

import hmac
from collections.abc import Sequence
from hashlib import sha256

import nacl.bindings
from nacl.exceptions import CryptoError

from meshnode.errors import LocalProtocolError, RemoteProtocolError
from meshnode.identity.keys import SIGNATURE_BYTES, Identity, random_bytes, verify
from meshnode.ids import PublicKey
from meshnode.wire.limits import HANDSHAKE_BYTES_MAX

PROTOCOL_NAME = b"Noise_XXpsk0_25519_ChaChaPoly_SHA256"
STATIC_DOMAIN = b"noise-static"
DH_BYTES = 32
TAG_BYTES = 16
PSK_BYTES = 32
PROOF_BYTES = 32 + SIGNATURE_BYTES
PAYLOAD_BYTES_MAX = HANDSHAKE_BYTES_MAX - 2 * DH_BYTES - 2 * TAG_BYTES - PROOF_BYTES
"""What is left of message 2 for the caller's payload."""
_MAX_NONCE = 2**64 - 1


class CipherState:
    """Noise section 5.1: a key and its counter. The counter does not move on a failed open."""

    def __init__(self, key: bytes | None = None) -> None:
        self.key = key
        self.nonce = 0

    def encrypt(self, ad: bytes, plaintext: bytes) -> bytes:
        """Return the ciphertext with its tag, or the plaintext before there is a key."""
        if self.key is None:
            return plaintext
        if self.nonce >= _MAX_NONCE:
            raise LocalProtocolError("a channel key is used up")
        sealed: bytes = nacl.bindings.crypto_aead_chacha20poly1305_ietf_encrypt(
            plaintext, ad, self._nonce_bytes(), self.key
        )
        self.nonce += 1
        return sealed

    def decrypt(self, ad: bytes, ciphertext: bytes) -> bytes:
        """Return the plaintext, or raise RemoteProtocolError."""
        if self.key is None:
            return ciphertext
        if self.nonce >= _MAX_NONCE:
            raise RemoteProtocolError("a channel key is used up")
        try:
            plain: bytes = nacl.bindings.crypto_aead_chacha20poly1305_ietf_decrypt(
                ciphertext, ad, self._nonce_bytes(), self.key
            )
        except CryptoError as error:
            raise RemoteProtocolError("a handshake message does not open") from error
        self.nonce += 1
        return plain

    def _nonce_bytes(self) -> bytes:
        return bytes(4) + self.nonce.to_bytes(8, "little")


class SymmetricState:
    """Noise section 5.2: the chaining key, the transcript hash and the current cipher."""

    def __init__(self, prologue: bytes) -> None:
        name = PROTOCOL_NAME
        self.hash = name.ljust(32, b"\0") if len(name) <= 32 else sha256(name).digest()
        self.chaining_key = self.hash
        self.cipher = CipherState()
        self.mix_hash(prologue)

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


class Handshake:
    """One side of the handshake.

    The X25519 static key is fresh for each handshake: it is vouched for by the identity's
    signature, so nothing of it needs to outlive the connection. An initiator that wants to know
    whom it reached before it shows itself looks at `peer_key` and `peer_payload` after
    `receive` and sends the returned message 3 only then.
    """

    def __init__(
        self,
        identity: Identity,
        *,
        initiator: bool,
        psks: Sequence[bytes],
        prologue: bytes,
        payload: bytes,
        static: bytes = b"",
        ephemeral: bytes = b"",
    ) -> None:
        """`psks`: the initiator uses the first, a responder finds the one that fits.

        `static` and `ephemeral` are X25519 secrets for test vectors; fresh ones are made if empty.
        """
        if not psks or any(len(psk) != PSK_BYTES for psk in psks):
            raise LocalProtocolError("a handshake needs psks of 32 bytes")
        if len(payload) > PAYLOAD_BYTES_MAX:
            raise LocalProtocolError(f"a handshake payload of {len(payload)} bytes is too long")
        self._identity = identity
        self._initiator = initiator
        self._psks = list(psks)
        self._prologue = prologue
        self._payload = payload
        self._static, self._static_public = static, b""
        self._ephemeral, self._ephemeral_public = ephemeral, b""
        self._state = SymmetricState(prologue)
        self._remote_ephemeral = b""
        self._step = 0
        self._broken = False
        self.established = False
        self.psk_index = 0
        """Which of `psks` the initiator used; known to the responder after message 1."""
        self.peer_key = PublicKey(b"")
        self.peer_payload = b""
        """As the peer sent it, under the channel's keys; what it means is the caller's to check."""

    def start(self) -> bytes:
        """Return the initiator's message 1."""
        if not self._initiator or self._step != 0:
            raise LocalProtocolError("only an initiator starts, and once")
        self._step = 1
        self._state.mix_key_and_hash(self._psks[0])
        self._make_keys()
        self._mix_own_ephemeral()
        return self._ephemeral_public + self._state.encrypt_and_hash(b"")

    def receive(self, message: bytes) -> bytes:
        """Advance with a received message; return the next one to send, or b"" if there is none.

        Raises RemoteProtocolError; then close without a word. Nothing more is accepted after it.
        """
        if self._broken or self.established or (self._initiator and self._step == 0):
            raise RemoteProtocolError("a handshake message out of turn")
        self._broken = True
        answer = self._on_message(message)
        self._broken = False
        return answer

    def _on_message(self, message: bytes) -> bytes:
        if len(message) > HANDSHAKE_BYTES_MAX:
            raise RemoteProtocolError("a handshake message is too long")
        if self._initiator:
            return self._on_message_2(message)
        if self._step == 0:
            return self._on_message_1(message)
        return self._on_message_3(message)

    def keys(self) -> tuple[bytes, bytes]:
        """Return (our sending key, our receiving key), 32 bytes each."""
        if not self.established:
            raise LocalProtocolError("the handshake is not done")
        first, second = self._state.split()
        return (first, second) if self._initiator else (second, first)

    @property
    def hash(self) -> bytes:
        """The transcript hash: equal on both sides, unique to this connection."""
        return self._state.hash

    def _on_message_1(self, message: bytes) -> bytes:
        if len(message) != DH_BYTES + TAG_BYTES:
            raise RemoteProtocolError("a first message of the wrong length")
        for index, psk in enumerate(self._psks):
            state = SymmetricState(self._prologue)
            state.mix_key_and_hash(psk)
            state.mix_hash(message[:DH_BYTES])
            state.mix_key(message[:DH_BYTES])
            try:
                state.decrypt_and_hash(message[DH_BYTES:])
            except RemoteProtocolError:
                continue
            self._state, self.psk_index = state, index
            self._remote_ephemeral = message[:DH_BYTES]
            self._step = 1
            self._make_keys()
            return self._write_message_2()
        raise RemoteProtocolError("a first message under no key of ours")

    def _write_message_2(self) -> bytes:
        self._mix_own_ephemeral()
        self._state.mix_key(_dh(self._ephemeral, self._remote_ephemeral))
        static = self._state.encrypt_and_hash(self._static_public)
        self._state.mix_key(_dh(self._static, self._remote_ephemeral))
        return self._ephemeral_public + static + self._state.encrypt_and_hash(self._proof())

    def _on_message_2(self, message: bytes) -> bytes:
        if len(message) < 2 * DH_BYTES + 2 * TAG_BYTES:
            raise RemoteProtocolError("a second message that is too short")
        self._remote_ephemeral = message[:DH_BYTES]
        self._state.mix_hash(self._remote_ephemeral)
        self._state.mix_key(self._remote_ephemeral)
        self._state.mix_key(_dh(self._ephemeral, self._remote_ephemeral))
        at = DH_BYTES + DH_BYTES + TAG_BYTES
        remote_static = self._state.decrypt_and_hash(message[DH_BYTES:at])
        self._state.mix_key(_dh(self._ephemeral, remote_static))
        self._check_proof(self._state.decrypt_and_hash(message[at:]), remote_static)
        static = self._state.encrypt_and_hash(self._static_public)
        self._state.mix_key(_dh(self._static, self._remote_ephemeral))
        answer = static + self._state.encrypt_and_hash(self._proof())
        self.established = True
        return answer

    def _on_message_3(self, message: bytes) -> bytes:
        if len(message) < DH_BYTES + 2 * TAG_BYTES:
            raise RemoteProtocolError("a third message that is too short")
        at = DH_BYTES + TAG_BYTES
        remote_static = self._state.decrypt_and_hash(message[:at])
        self._state.mix_key(_dh(self._ephemeral, remote_static))
        self._check_proof(self._state.decrypt_and_hash(message[at:]), remote_static)
        self.established = True
        return b""

    def _make_keys(self) -> None:
        """Make the X25519 keys; a responder does so only for those who hold a psk."""
        self._static = self._static or random_bytes(DH_BYTES)
        self._static_public = _public(self._static)
        self._ephemeral = self._ephemeral or random_bytes(DH_BYTES)
        self._ephemeral_public = _public(self._ephemeral)

    def _mix_own_ephemeral(self) -> None:
        """Section 9.2: in a psk handshake every e is mixed into the key as well."""
        self._state.mix_hash(self._ephemeral_public)
        self._state.mix_key(self._ephemeral_public)

    def _proof(self) -> bytes:
        signature = self._identity.sign(self._static_public, domain=STATIC_DOMAIN)
        return self._identity.public_key + signature + self._payload

    def _check_proof(self, proof: bytes, remote_static: bytes) -> None:
        key, signature = proof[:32], proof[32:PROOF_BYTES]
        if not verify(key, remote_static, signature, domain=STATIC_DOMAIN):
            raise RemoteProtocolError("the peer's identity did not sign its channel key")
        if key == self._identity.public_key:
            raise RemoteProtocolError("the peer is this node itself")
        self.peer_key = PublicKey(key)
        self.peer_payload = proof[PROOF_BYTES:]


def hkdf(chaining_key: bytes, material: bytes, outputs: int) -> tuple[bytes, ...]:
    """Return two or three 32-byte keys (Noise section 4.3, HMAC-SHA256)."""
    temp = hmac.digest(chaining_key, material, "sha256")
    made: list[bytes] = []
    for index in range(outputs):
        last = made[-1] if made else b""
        made.append(hmac.digest(temp, last + bytes([index + 1]), "sha256"))
    return tuple(made)


def _public(secret: bytes) -> bytes:
    public: bytes = nacl.bindings.crypto_scalarmult_base(secret)
    return public


def _dh(secret: bytes, public: bytes) -> bytes:
    try:
        shared: bytes = nacl.bindings.crypto_scalarmult(secret, public)
    except (CryptoError, RuntimeError, ValueError) as error:
        raise RemoteProtocolError("a key exchange with a bad point") from error
    return shared
