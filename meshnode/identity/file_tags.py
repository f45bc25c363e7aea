"""Tags that show whether a file of our own was changed: a MAC for megabytes, in microseconds.

AEGIS-128L (draft-irtf-cfrg-aegis-aead) without a message, the file as what it authenticates: ten
times as fast as SHA-256. A PyNaCl older than 1.6 does not have it; there HMAC-SHA256 does the same.
Tags of one are not tags of the other, so a file changes hands as if it were damaged.
"""

import hmac
from collections.abc import Callable
from hashlib import sha256
from mmap import mmap

from nacl._sodium import ffi, lib  # type: ignore[import-not-found]  # compiled, and without stubs

Bytes = bytes | memoryview | mmap
SALT_BYTES = 16
TAG_BYTES = 32
_KEY_BYTES = _NONCE_BYTES = 16
# Not the public function: that one takes `bytes` only, so a mapped file would have to be copied,
# which takes longer than its tag.
_aegis: Callable[..., int] | None = getattr(lib, "crypto_aead_aegis128l_encrypt", None)


def tag(secret: bytes, salt: bytes, context: bytes, data: Bytes) -> bytes:
    """Return the tag of `data`, for a file that is written once with a salt of its own.

    `context` says which file it is: no file can then stand in for another.
    """
    # The salt makes a key that is used for nothing else, so the nonce may be the same.
    key = hmac.digest(secret, b"meshnode file tag" + salt + context, sha256)
    return _mac(key, data)


def is_tag(given: bytes, secret: bytes, salt: bytes, context: bytes, data: Bytes) -> bool:
    """Return whether this is the tag of `data`, in a time that tells nothing."""
    return hmac.compare_digest(given, tag(secret, salt, context, data))


def name(secret: bytes, data: Bytes) -> bytes:
    """Return a name for `data` that is its own, and means something only to who has the secret.

    Where SHA-256 would be most of the work. A MAC is no hash: whoever has the secret can make two
    things of one name (draft-irtf-cfrg-aegis-aead, on MACs), so it names what stays on this device.
    """
    return _mac(hmac.digest(secret, b"meshnode name", sha256), data)


def _mac(key: bytes, data: Bytes) -> bytes:
    if _aegis is None:
        return hmac.digest(key, data, sha256)
    made, size = ffi.new(f"unsigned char[{TAG_BYTES}]"), ffi.new("unsigned long long *")
    # AEGIS makes no distinction between nonces of MACs: one key serves any number of inputs.
    nonce, key = bytes(_NONCE_BYTES), key[:_KEY_BYTES]
    with memoryview(data) as view:
        given = ffi.from_buffer(view)
        status = _aegis(made, size, b"", 0, given, len(view), ffi.NULL, nonce, key)
        ffi.release(given)
    assert status == 0, "there is nothing that it could refuse"
    assert size[0] == TAG_BYTES, "without a message there is only the tag"
    return bytes(ffi.buffer(made))
