"""Independent implementations of Noise under one face, each where its package is installed.

`pip install -e '.[interop]'` brings them; the tests that need one skip without it.
"""

from typing import Protocol

import pytest

from meshnode.identity.noise import NAME_XXPSK0

STATIC = b"s" * 32


class Oracle(Protocol):
    """One side of Noise_XXpsk0_25519_ChaChaPoly_SHA256, its static secret `STATIC`."""

    def write(self, payload: bytes) -> bytes: ...

    def read(self, message: bytes) -> bytes: ...

    def hash(self) -> bytes: ...

    def encrypt(self, plaintext: bytes) -> bytes: ...

    def decrypt(self, ciphertext: bytes) -> bytes: ...


class NoiseProtocol:
    """The package `noiseprotocol`."""

    def __init__(self, *, initiator: bool, psk: bytes, prologue: bytes) -> None:
        connection = pytest.importorskip("noise.connection", reason="needs noiseprotocol")
        self.noise = connection.NoiseConnection.from_name(NAME_XXPSK0)
        (self.noise.set_as_initiator if initiator else self.noise.set_as_responder)()
        self.noise.set_psks(psk)
        self.noise.set_prologue(prologue)
        self.noise.set_keypair_from_private_bytes(connection.Keypair.STATIC, STATIC)
        self.noise.start_handshake()

    def write(self, payload: bytes) -> bytes:
        return bytes(self.noise.write_message(payload))

    def read(self, message: bytes) -> bytes:
        return bytes(self.noise.read_message(message))

    def hash(self) -> bytes:
        return bytes(self.noise.get_handshake_hash())

    def encrypt(self, plaintext: bytes) -> bytes:
        return bytes(self.noise.encrypt(plaintext))

    def decrypt(self, ciphertext: bytes) -> bytes:
        return bytes(self.noise.decrypt(ciphertext))


class Dissononce:
    """The package `dissononce`."""

    def __init__(self, *, initiator: bool, psk: bytes, prologue: bytes) -> None:
        pytest.importorskip("dissononce", reason="needs dissononce")
        from dissononce.cipher.chachapoly import ChaChaPolyCipher
        from dissononce.dh.x25519.private import PrivateKey
        from dissononce.dh.x25519.x25519 import X25519DH
        from dissononce.hash.sha256 import SHA256Hash
        from dissononce.processing.handshakepatterns.interactive.XX import XXHandshakePattern
        from dissononce.processing.impl.cipherstate import CipherState
        from dissononce.processing.impl.handshakestate import HandshakeState
        from dissononce.processing.impl.symmetricstate import SymmetricState
        from dissononce.processing.modifiers.psk import PSKPatternModifier

        symmetric = SymmetricState(CipherState(ChaChaPolyCipher()), SHA256Hash())
        dh = X25519DH()
        self.symmetric, self.initiator = symmetric, initiator
        self.state = HandshakeState(symmetric, dh)
        self.pair = None
        pattern = PSKPatternModifier(0).modify(XXHandshakePattern())
        own = dh.generate_keypair(PrivateKey(STATIC))
        self.state.initialize(pattern, initiator, prologue, s=own, psks=[psk])

    def write(self, payload: bytes) -> bytes:
        message = bytearray()
        self.pair = self.state.write_message(payload, message)
        return bytes(message)

    def read(self, message: bytes) -> bytes:
        payload = bytearray()
        self.pair = self.state.read_message(message, payload)
        return bytes(payload)

    def hash(self) -> bytes:
        return bytes(self.symmetric.get_handshake_hash())

    def encrypt(self, plaintext: bytes) -> bytes:
        return bytes(self.pair[0 if self.initiator else 1].encrypt_with_ad(b"", plaintext))

    def decrypt(self, ciphertext: bytes) -> bytes:
        return bytes(self.pair[1 if self.initiator else 0].decrypt_with_ad(b"", ciphertext))


ORACLES = [NoiseProtocol, Dissononce]
