"""Tags that show whether a file of our own was changed: a MAC for megabytes, in microseconds.

AEGIS-128L (draft-irtf-cfrg-aegis-aead) without a message, the file as what it authenticates: ten
times as fast as SHA-256. A PyNaCl older than 1.6 does not have it; there HMAC-SHA256 does the same.
Tags of one are not tags of the other, so a file changes hands as if it were damaged.
"""

import hmac
from hashlib import sha256

import nacl.bindings

SALT_BYTES = 16
TAG_BYTES = 32
_KEY_BYTES = _NONCE_BYTES = 16
_aegis = getattr(nacl.bindings, "crypto_aead_aegis128l_encrypt", None)


def tag(secret: bytes, salt: bytes, context: bytes, data: bytes) -> bytes:
    """Return the tag of `data`, for a file that is written once with a salt of its own.

    `context` says which file it is: no file can then stand in for another.
    """
    key = hmac.digest(secret, b"meshnode file tag" + salt + context, sha256)
    if _aegis is None:
        return hmac.digest(key, data, sha256)
    # The salt makes a key that is used for nothing else, so the nonce may be the same.
    made = bytes(_aegis(b"", data, bytes(_NONCE_BYTES), key[:_KEY_BYTES]))
    assert len(made) == TAG_BYTES, "without a message there is only the tag"
    return made


def is_tag(given: bytes, secret: bytes, salt: bytes, context: bytes, data: bytes) -> bool:
    """Return whether this is the tag of `data`, in a time that tells nothing."""
    return hmac.compare_digest(given, tag(secret, salt, context, data))
