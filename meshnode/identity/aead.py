"""The AEAD of channel records: ChaCha20-Poly1305 (RFC 8439) from OpenSSL, else from libsodium.

`cryptography` seals bulk two to four times as fast as PyNaCl, but has no wheel on every device.
Both give the same bytes, so two nodes need not use the same one.
"""

from typing import Protocol

import nacl.bindings
from nacl.exceptions import CryptoError

from meshnode.errors import RemoteProtocolError

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
except ImportError:  # pragma: no cover - the fallback itself is tested directly
    HAVE_CRYPTOGRAPHY = False
else:
    HAVE_CRYPTOGRAPHY = True

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16

Buffer = bytes | bytearray | memoryview


class Cipher(Protocol):
    """One 32-byte key. The caller never uses a nonce twice."""

    def seal_into(self, nonce: bytes, plaintext: Buffer, out: memoryview) -> None:
        """Write ciphertext and tag; `out` is exactly 16 bytes longer than the plaintext."""
        ...

    def open_into(self, nonce: bytes, sealed: Buffer, out: memoryview) -> None:
        """Write the plaintext, or raise RemoteProtocolError; then `out` must not be read."""
        ...


class OpenSslCipher:
    """Through `cryptography`; from its version 47 on without a copy."""

    def __init__(self, key: bytes) -> None:
        self._aead = ChaCha20Poly1305(key)
        self._in_place = hasattr(self._aead, "encrypt_into")

    def seal_into(self, nonce: bytes, plaintext: Buffer, out: memoryview) -> None:
        """See `Cipher.seal_into`."""
        if self._in_place:
            self._aead.encrypt_into(nonce, plaintext, None, out)
        else:
            out[:] = self._aead.encrypt(nonce, plaintext, None)

    def open_into(self, nonce: bytes, sealed: Buffer, out: memoryview) -> None:
        """See `Cipher.open_into`."""
        try:
            if self._in_place:
                self._aead.decrypt_into(nonce, sealed, None, out)
            else:
                out[:] = self._aead.decrypt(nonce, sealed, None)
        except InvalidTag:
            raise RemoteProtocolError("a record's tag does not match") from None


class SodiumCipher:
    """Through PyNaCl, which takes and gives `bytes` only: one copy each way."""

    def __init__(self, key: bytes) -> None:
        self._key = bytes(key)

    def seal_into(self, nonce: bytes, plaintext: Buffer, out: memoryview) -> None:
        """See `Cipher.seal_into`."""
        out[:] = nacl.bindings.crypto_aead_chacha20poly1305_ietf_encrypt(
            bytes(plaintext), None, nonce, self._key
        )

    def open_into(self, nonce: bytes, sealed: Buffer, out: memoryview) -> None:
        """See `Cipher.open_into`."""
        try:
            out[:] = nacl.bindings.crypto_aead_chacha20poly1305_ietf_decrypt(
                bytes(sealed), None, nonce, self._key
            )
        except CryptoError:
            raise RemoteProtocolError("a record's tag does not match") from None


def make_cipher(key: bytes) -> Cipher:
    """Return the fastest cipher that is installed."""
    if len(key) != KEY_BYTES:
        raise ValueError(f"a record key has {KEY_BYTES} bytes, not {len(key)}")
    return OpenSslCipher(key) if HAVE_CRYPTOGRAPHY else SodiumCipher(key)
