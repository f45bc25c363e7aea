"""The control protocol's frames: how a client on this device speaks to the node beside it.

A frame is a u32 (big-endian) header length, a JSON object, and as many bytes of body as the
object's "body" says. Both ends are on one machine under one user (the socket is 0600), so this is
JSON, readable and without dependencies; the mesh's own wire is elsewhere and strict CBOR.
"""

import json
import struct
from collections.abc import Mapping
from typing import Any

from meshnode.errors import MeshnodeError, RemoteProtocolError, from_wire
from meshnode.wire.limits import BODY_BYTES_MAX, KIB, MIB

VERSION = 1
PREFIX_BYTES = 4
REQUEST_HEADER_BYTES_MAX = 256 * KIB
ANSWER_HEADER_BYTES_MAX = 8 * MIB
"""An answer lists every peer or module of a mesh; a request never needs as much."""
PUBLISH_BYTES_MAX = 512 * MIB
"""A module and its weights: held in memory by both ends while it is published."""

Fields = dict[str, Any]
"""A JSON object. Its values are checked where they are read."""

OPS: dict[str, int] = {
    "ping": 0,
    "status": 0,
    "peers": 0,
    "modules": 0,
    "describe": 0,
    "predict": BODY_BYTES_MAX,
    "explain": 0,
    "publish": PUBLISH_BYTES_MAX,
    "invite": 0,
    "trust": 0,
    "revoke": 0,
    "revocations": 0,
    "rotate": 0,
    "doctor": 0,
    "pin": 0,
    "stop": 0,
}
"""Each operation, and the most bytes its request's body may have."""


def frame(fields: Mapping[str, Any], body_bytes: int = 0) -> bytes:
    """Return a frame's prefix and header; the body follows as it is."""
    header = json.dumps({**fields, "body": body_bytes}, separators=(",", ":")).encode()
    return struct.pack(">I", len(header)) + header


def header_bytes(prefix: bytes, *, bytes_max: int) -> int:
    """Return the header's length from a frame's first four bytes, or raise RemoteProtocolError."""
    (length,) = struct.unpack(">I", prefix)
    if not 2 <= length <= bytes_max:
        raise RemoteProtocolError(f"a control header of {length} bytes, limit {bytes_max}")
    return int(length)


def parse_header(raw: bytes | bytearray) -> tuple[Fields, int]:
    """Return a header's fields and the body's length, or raise RemoteProtocolError."""
    try:
        fields = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise RemoteProtocolError("a control header that is not JSON") from error
    if not isinstance(fields, dict):
        raise RemoteProtocolError("a control header that is not an object")
    body = fields.pop("body", 0)
    if not isinstance(body, int) or isinstance(body, bool) or body < 0:
        raise RemoteProtocolError("a control header with a body of impossible length")
    return fields, body


def error_fields(error: MeshnodeError) -> Fields:
    """Return an error as every door shows it: code, message, because, try."""
    retry = {} if error.retry_after_ms is None else {"retry_after_ms": error.retry_after_ms}
    return {
        "code": error.code,
        "message": error.message,
        "because": list(error.because),
        "try": error.try_,
        **retry,
    }


def error_from(fields: object) -> MeshnodeError:
    """Return the error that `error_fields` described."""
    if not isinstance(fields, dict):
        raise RemoteProtocolError("an error that is not an object")
    because = fields.get("because")
    error = from_wire(
        str(fields.get("code", "")),
        str(fields.get("message", "")),
        [str(line) for line in because] if isinstance(because, list) else [],
        str(fields.get("try", "")),
    )
    retry = fields.get("retry_after_ms")
    error.retry_after_ms = retry if type(retry) is int and retry >= 0 else None
    return error
