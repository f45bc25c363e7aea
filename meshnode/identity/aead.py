"""The AEADs: ChaCha20-Poly1305 (RFC 8439) of channel records, XChaCha20-Poly1305 of datagrams.

From OpenSSL, else from libsodium. `cryptography` seals bulk two to four times as fast as PyNaCl,
but has no wheel on every device. Both give the same bytes, so two nodes need not use the same one.
"""

from struct import Struct
from typing import Protocol

import nacl.bindings
from nacl.exceptions import CryptoError

from meshnode.errors import RemoteProtocolError

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers import Cipher as StreamCipher
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
    from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
except ImportError:  # pragma: no cover - the fallback itself is tested directly
    HAVE_CRYPTOGRAPHY = False
else:
    HAVE_CRYPTOGRAPHY = True

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16

_ZEROS = bytes(4)
_SIGMA = b"expand 32-byte k"
_WORDS = Struct("<8I")

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


class XChaCha:
    """XChaCha20-Poly1305 under one key and the first 16 bytes of the nonce.

    These 16 bytes choose a key for plain ChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03, section
    2.3), so for a sender that only counts in the last 8 it is made once: a fifth of the price.
    """

    def __init__(self, key: bytes, start: bytes) -> None:
        self.start = start
        self._key = key
        self._aead = ChaCha20Poly1305(hchacha20(key, start)) if HAVE_CRYPTOGRAPHY else None

    def seal(self, number: bytes, plaintext: bytes, ad: bytes) -> bytes:
        """Return ciphertext and tag. `number`, the nonce's last 8 bytes, is never used twice."""
        if self._aead is not None:
            return self._aead.encrypt(_ZEROS + number, plaintext, ad)
        sealed: bytes = nacl.bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
            plaintext, ad, self.start + number, self._key
        )
        return sealed

    def open(self, number: bytes, sealed: bytes, ad: bytes) -> bytes:
        """Return the plaintext, or raise RemoteProtocolError."""
        if self._aead is None:
            return self._open_with_sodium(number, sealed, ad)
        try:
            return self._aead.decrypt(_ZEROS + number, sealed, ad)
        except InvalidTag:
            raise RemoteProtocolError("a datagram that does not open") from None

    def _open_with_sodium(self, number: bytes, sealed: bytes, ad: bytes) -> bytes:
        try:
            plain: bytes = nacl.bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
                sealed, ad, self.start + number, self._key
            )
        except (CryptoError, ValueError):  # the latter if it is shorter than a tag
            raise RemoteProtocolError("a datagram that does not open") from None
        return plain


def seal_once(key: bytes, nonce: bytes, plaintext: bytes, ad: bytes) -> bytes:
    """Return ciphertext and tag of ChaCha20-Poly1305 under a key that is used once or twice."""
    if HAVE_CRYPTOGRAPHY:
        return ChaCha20Poly1305(key).encrypt(nonce, plaintext, ad)
    sealed: bytes = nacl.bindings.crypto_aead_chacha20poly1305_ietf_encrypt(
        plaintext, ad, nonce, key
    )
    return sealed


def open_once(key: bytes, nonce: bytes, sealed: bytes, ad: bytes) -> bytes | None:
    """Undo `seal_once`; None if it does not open."""
    if HAVE_CRYPTOGRAPHY:
        try:
            return ChaCha20Poly1305(key).decrypt(nonce, sealed, ad)
        except InvalidTag:
            return None
    try:
        plain: bytes = nacl.bindings.crypto_aead_chacha20poly1305_ietf_decrypt(
            sealed, ad, nonce, key
        )
    except (CryptoError, ValueError):  # the latter if it is shorter than a tag
        return None
    return plain


def hchacha20(key: bytes, start: bytes) -> bytes:
    """Return HChaCha20(key, start), from a block of ChaCha20 without its final addition.

    A block is the permuted state plus the state it began with; HChaCha20 wants words 0-3 and
    12-15 of the permuted one, which began as the constants and `start`.
    """
    block = StreamCipher(ChaCha20(key, start), mode=None).encryptor().update(bytes(64))
    words = zip(_WORDS.unpack(block[:16] + block[48:]), _WORDS.unpack(_SIGMA + start), strict=True)
    return _WORDS.pack(*((after - before) % 2**32 for after, before in words))


def make_cipher(key: bytes) -> Cipher:
    """Return the fastest cipher that is installed."""
    if len(key) != KEY_BYTES:
        raise ValueError(f"a record key has {KEY_BYTES} bytes, not {len(key)}")
    return OpenSslCipher(key) if HAVE_CRYPTOGRAPHY else SodiumCipher(key)
