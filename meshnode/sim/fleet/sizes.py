"""Sizes: what control messages take on the wire, as the shipped codec encodes them.

Sealed datagrams and sealed frames are counted, headers of IP are not. A call's size depends on
its record by a few bytes only, so those are measured once for each number of modules.
"""

from functools import lru_cache

from meshnode.errors import LocalProtocolError
from meshnode.identity.sealing import OVERHEAD_BYTES
from meshnode.ids import NodeTag
from meshnode.wire.codec import Envelope, encode_call, encode_datagram
from meshnode.wire.messages import Failure, Gossip, IdleCall, LoadRecord, ModuleLoad

FRAME_BYTES = 29
"""A record's length and tag, and a frame's head: docs/protocol-channel.md section 2."""
TERMS_BYTES = 8
"""The price on a request, and what was made of it so far: `wire/terms.py`."""
PING_BYTES = OVERHEAD_BYTES + 40


def gossip_bytes(records: tuple[LoadRecord, ...]) -> int:
    """Return the size of one round's datagram to one peer; 0 if it does not fit."""
    envelope = Envelope(message=Gossip(updates=(), loads=records), returned=bytes(8))
    try:
        return len(encode_datagram(envelope)) + OVERHEAD_BYTES
    except LocalProtocolError:
        return 0


@lru_cache(maxsize=64)
def refusal_bytes(modules: int) -> int:
    """Return the size of a refusal with its words and a load record."""
    failure = Failure(
        code="MN-506",
        message="it would take 120 ms here, 90 ms at another node",
        load=_typical(modules),
    )
    header, _ = encode_call(failure)
    return len(header) + FRAME_BYTES


@lru_cache(maxsize=64)
def idle_bytes(modules: int) -> int:
    """Return the size of an idle call, or of its answer, which differs by a byte."""
    return len(encode_call(IdleCall(load=_typical(modules), room=8))[0]) + FRAME_BYTES


@lru_cache(maxsize=64)
def record_bytes(modules: int) -> int:
    """Return what a load record adds to a request or an answer."""
    bare = Failure(code="MN-506", message="", load=None)
    laden = Failure(code="MN-506", message="", load=_typical(modules))
    return len(encode_call(laden)[0]) - len(encode_call(bare)[0])


def _typical(modules: int) -> LoadRecord:
    each = ModuleLoad(module=NodeTag(bytes([255] * 8)), warm=True, first=620, unit=620, each=100)
    return LoadRecord(
        node=NodeTag(bytes([255] * 8)),
        sequence=1_700_000_000 << 18,
        age_ms=0,
        wait=800,
        wait_mean=700,
        wait_sigma=300,
        in_flight=3,
        draining=False,
        speed=100,
        modules=(each,) * modules,
    )
