"""COSE_Sign1 (RFC 9052 section 4.2) with EdDSA, in the one form that records use.

Untagged, the protected header is exactly {1: -8}, the unprotected one empty. What is signed is
the bytes as sent: nothing is ever re-encoded to be verified.
"""

from meshnode.errors import LocalProtocolError, RemoteProtocolError
from meshnode.identity.keys import SIGNATURE_BYTES, Identity, verify_raw
from meshnode.wire import cbor
from meshnode.wire.limits import RECORD_PAYLOAD_BYTES_MAX

PROTECTED = bytes.fromhex("a10127")
"""{1: -8}: algorithm EdDSA. Compared as bytes, never parsed."""
SIGN1_BYTES_MAX = RECORD_PAYLOAD_BYTES_MAX + 96


def sign1(identity: Identity, payload: bytes, *, aad: bytes) -> bytes:
    """Return the COSE_Sign1 of `payload`; `aad` names the purpose and is not sent.

    Raises LocalProtocolError for a payload that no reader would accept.
    """
    if len(payload) > RECORD_PAYLOAD_BYTES_MAX:
        raise LocalProtocolError(f"a record of {len(payload)} bytes is too long")
    signature = identity.sign_raw(_to_be_signed(payload, aad))
    return cbor.dumps([PROTECTED, {}, payload, signature])


def split1(data: bytes) -> tuple[bytes, bytes]:
    """Return (payload, signature), unverified, or raise RemoteProtocolError."""
    parts = cbor.loads(data, bytes_max=SIGN1_BYTES_MAX)
    if not isinstance(parts, list) or len(parts) != 4:
        raise RemoteProtocolError("a signed record has four parts")
    protected, unprotected, payload, signature = parts
    if protected != PROTECTED or unprotected != {}:
        raise RemoteProtocolError("a signed record has other headers than EdDSA's")
    if not isinstance(payload, bytes) or len(payload) > RECORD_PAYLOAD_BYTES_MAX:
        raise RemoteProtocolError("a signed record's payload is not bytes, or too long")
    if not isinstance(signature, bytes) or len(signature) != SIGNATURE_BYTES:
        raise RemoteProtocolError("a signed record's signature has the wrong length")
    return payload, signature


def verify1(data: bytes, public_key: bytes, *, aad: bytes) -> bytes:
    """Return the payload if `public_key` signed it for this, or raise RemoteProtocolError."""
    payload, signature = split1(data)
    if not verify_raw(public_key, _to_be_signed(payload, aad), signature):
        raise RemoteProtocolError("a signed record's signature does not match")
    return payload


def _to_be_signed(payload: bytes, aad: bytes) -> bytes:
    return cbor.dumps(["Signature1", PROTECTED, aad, payload])
