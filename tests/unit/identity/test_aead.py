"""Both ciphers give the same bytes, refuse the same damage, and match RFC 8439."""

import sys

import nacl.bindings
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.errors import RemoteProtocolError
from meshnode.identity import aead
from meshnode.identity.aead import OpenSslCipher, SodiumCipher, make_cipher

KEY, NONCE = bytes(range(32)), bytes(range(12))
BOTH = (OpenSslCipher, SodiumCipher)


class OldOpenSslCipher(OpenSslCipher):
    """As with a `cryptography` from before `encrypt_into`."""

    def __init__(self, key: bytes) -> None:
        super().__init__(key)
        self._in_place = False


def seal(kind: type[OpenSslCipher] | type[SodiumCipher], plain: bytes, key: bytes = KEY) -> bytes:
    out = bytearray(len(plain) + 16)
    kind(key).seal_into(NONCE, memoryview(plain), memoryview(out))
    return bytes(out)


def open_(kind: type[OpenSslCipher] | type[SodiumCipher], sealed: bytes, key: bytes = KEY) -> bytes:
    out = bytearray(len(sealed) - 16)
    kind(key).open_into(NONCE, memoryview(sealed), memoryview(out))
    return bytes(out)


@settings(max_examples=50, deadline=None)
@given(plain=st.binary(max_size=500), key=st.binary(min_size=32, max_size=32))
def test_all_ciphers_give_the_same_bytes_in_both_directions(plain: bytes, key: bytes) -> None:
    sealed = {seal(kind, plain, key) for kind in (*BOTH, OldOpenSslCipher)}
    assert len(sealed) == 1
    for kind in (*BOTH, OldOpenSslCipher):
        assert open_(kind, *sealed, key) == plain


@pytest.mark.parametrize("kind", [*BOTH, OldOpenSslCipher])
@pytest.mark.parametrize("at", [0, 9, 20])
def test_a_changed_byte_is_refused(kind: type[OpenSslCipher] | type[SodiumCipher], at: int) -> None:
    sealed = bytearray(seal(kind, b"hello"))
    sealed[at] ^= 1
    with pytest.raises(RemoteProtocolError):
        open_(kind, bytes(sealed))


@pytest.mark.parametrize("kind", BOTH)
def test_rfc_8439_keystream_and_tag(kind: type[OpenSslCipher] | type[SodiumCipher]) -> None:
    """The tag of an empty plaintext under a zero key and nonce, from an independent computation."""
    out = bytearray(16)
    kind(bytes(32)).seal_into(bytes(12), b"", memoryview(out))
    assert out.hex() == "4eb972c9a8fb3a1b382bb4d36f5ffad1"


def test_the_fallback_is_chosen_when_cryptography_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert isinstance(make_cipher(KEY), OpenSslCipher)
    monkeypatch.setattr(aead, "HAVE_CRYPTOGRAPHY", False)
    assert isinstance(make_cipher(KEY), SodiumCipher)


def test_the_module_loads_without_cryptography(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    for name in [n for n in sys.modules if n.split(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    spec = importlib.util.spec_from_file_location("aead_alone", aead.__file__)
    assert spec is not None
    assert spec.loader is not None
    alone = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(alone)
    assert not alone.HAVE_CRYPTOGRAPHY
    out = bytearray(21)
    alone.make_cipher(KEY).seal_into(NONCE, b"hello", memoryview(out))
    assert bytes(out) == seal(OpenSslCipher, b"hello")


def test_a_key_of_the_wrong_length_is_a_bug() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        make_cipher(b"short")


def test_hchacha20_is_the_drafts() -> None:
    # draft-irtf-cfrg-xchacha-03, section 2.2.1
    key = bytes(range(32))
    start = bytes.fromhex("000000090000004a0000000031415927")
    found = "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc"
    assert aead.hchacha20(key, start).hex() == found


@pytest.mark.parametrize("have", [True, False])
def test_xchacha_is_libsodiums_with_either_library(
    monkeypatch: pytest.MonkeyPatch, have: bool
) -> None:
    monkeypatch.setattr(aead, "HAVE_CRYPTOGRAPHY", have)
    key, start, number = b"k" * 32, bytes(range(16)), (2**63 + 7).to_bytes(8, "big")
    cipher = aead.XChaCha(key, start)
    for plain in (b"", b"a" * 100, bytes(1100)):
        sealed = cipher.seal(number, plain, b"ad")
        assert sealed == nacl.bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
            plain, b"ad", start + number, key
        )
        assert cipher.open(number, sealed, b"ad") == plain
        for bad in (sealed[:-1], sealed[:-1] + bytes([sealed[-1] ^ 1]), b"", bytes(15)):
            with pytest.raises(RemoteProtocolError):
                cipher.open(number, bad, b"ad")
        with pytest.raises(RemoteProtocolError):
            cipher.open(number, sealed, b"other")


@pytest.mark.parametrize("have", [True, False])
def test_what_is_sealed_once_is_libsodiums_with_either_library(
    monkeypatch: pytest.MonkeyPatch, have: bool
) -> None:
    monkeypatch.setattr(aead, "HAVE_CRYPTOGRAPHY", have)
    for plain in (b"", b"a" * 100):
        sealed = aead.seal_once(KEY, NONCE, plain, b"ad")
        assert sealed == nacl.bindings.crypto_aead_chacha20poly1305_ietf_encrypt(
            plain, b"ad", NONCE, KEY
        )
        assert aead.open_once(KEY, NONCE, sealed, b"ad") == plain
        assert aead.open_once(KEY, NONCE, sealed, b"other") is None
        for bad in (sealed[:-1], sealed[:-1] + bytes([sealed[-1] ^ 1]), b"", bytes(15)):
            assert aead.open_once(KEY, NONCE, bad, b"ad") is None
