"""Sizes: what control messages take on the wire, as the shipped codec encodes them.

Sealed datagrams and sealed frames are counted, headers of IP are not.
"""

from meshnode.errors import LocalProtocolError
from meshnode.identity.sealing import OVERHEAD_BYTES
from meshnode.wire.codec import Envelope, encode_call, encode_datagram
from meshnode.wire.messages import (
    UNNAMED,
    Failure,
    Gossip,
    IdleCall,
    LoadRecord,
    StreamMessage,
)
from meshnode.wire.packed_load import SpokenLoadField

FRAME_BYTES = 29
"""A record's length and tag, and a frame's head: docs/protocol-channel.md section 2."""
TERMS_BYTES = 8
"""The price on a request, and what was made of it so far: `wire/terms.py`."""
PING_BYTES = OVERHEAD_BYTES + 40
SHORT_BYTES = 24
"""A byte string in CBOR that is shorter has a head of one byte, else of two."""
_FIELD = SpokenLoadField()
_NONE = LoadRecord(
    node=UNNAMED,
    sequence=0,
    age_ms=0,
    wait=0,
    wait_mean=0,
    wait_sigma=0,
    in_flight=0,
    draining=False,
    speed=0,
)


def gossip_bytes(records: tuple[LoadRecord, ...]) -> int:
    """Return the size of one round's datagram to one peer; 0 if it does not fit."""
    envelope = Envelope(message=Gossip(updates=(), loads=records), returned=bytes(8))
    try:
        return len(encode_datagram(envelope)) + OVERHEAD_BYTES
    except LocalProtocolError:
        return 0


def record_bytes(said: LoadRecord) -> int:
    """Return what a load record takes in a call."""
    packed = _FIELD.pack(said)
    assert isinstance(packed, bytes), "a load record is a byte string"
    return len(packed) + (1 if len(packed) < SHORT_BYTES else 2)


def refusal_bytes(said: LoadRecord) -> int:
    """Return the size of a refusal with its words and a load record."""
    return _REFUSAL_BYTES + record_bytes(said)


def idle_bytes(said: LoadRecord) -> int:
    """Return the size of an idle call, or of its answer, which differs by a byte."""
    return _IDLE_BYTES + record_bytes(said)


def _length(message: StreamMessage) -> int:
    return len(encode_call(message)[0]) + FRAME_BYTES


_REFUSAL_BYTES = _length(
    Failure(code="MN-506", message="it would take 120 ms here, 90 ms at another node")
)
_IDLE_BYTES = _length(IdleCall(load=_NONE, room=8)) - record_bytes(_NONE)
