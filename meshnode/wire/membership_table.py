"""The layout of membership's messages: the part of `table` that belongs to `wire.membership`."""

from dataclasses import dataclass

from meshnode.wire import limits, membership
from meshnode.wire.cbor import Plain
from meshnode.wire.schema import (
    U16,
    U32,
    U64,
    Bytes,
    CapsField,
    ContactField,
    Flag,
    ListOf,
    Misfit,
    Record,
    Text,
    Uint,
    Value,
    exactly,
)

STATE_MAX = 3
"""alive, suspect, dead, left: `gossip.member.MemberState`."""
TAG_BYTES = 8
PARTS = 64
"""Parts of the table that a digest tells apart: 31 members each in a mesh of 2,000."""
PART_BYTES = 4
ENTRY_BYTES = 16
"""A tag and an incarnation, in a summary."""
GLIMPSE_BYTES = 30


@dataclass(frozen=True, slots=True)
class Rows:
    """At most `most` entries of `size` bytes each, as one byte string."""

    size: int
    most: int

    def unpack(self, plain: Plain) -> Value:
        """As it is."""
        if type(plain) is not bytes or len(plain) % self.size or len(plain) > self.size * self.most:
            raise Misfit(f"is not a byte string of up to {self.most} entries of {self.size} bytes")
        return plain

    pack = unpack


TAG = exactly(TAG_BYTES)
CONTACT = ContactField()
NAME = Text(limits.NAME_CHARS_MAX)
SIGNATURE = exactly(membership.SIGNATURE_BYTES)
MODULE_LOAD = Record(membership.ModuleLoad, module=TAG, warm=Flag(), first=U32, unit=U32)
LOAD = Record(
    membership.LoadRecord,
    node=TAG,
    sequence=U64,
    age_ms=U32,
    wait=U32,
    wait_mean=U32,
    wait_sigma=U32,
    in_flight=U16,
    draining=Flag(),
    speed=U32,
    modules=ListOf(MODULE_LOAD, limits.MODULES_PER_LOAD_MAX),
)
UPDATE = Record(
    membership.MemberUpdate,
    contact=CONTACT,
    state=Uint(STATE_MAX),
    incarnation=U64,
    name=NAME,
    caps=CapsField(),
    signature=SIGNATURE,
)
ACCUSATION = Record(
    membership.Accusation, suspect=TAG, incarnation=U64, accuser=TAG, signature=SIGNATURE
)
RIDING = {
    "updates": ListOf(UPDATE, limits.UPDATES_PER_GOSSIP_MAX),
    "accusations": ListOf(ACCUSATION, limits.ACCUSATIONS_PER_GOSSIP_MAX),
    "loads": ListOf(LOAD, limits.LOADS_PER_GOSSIP_MAX),
}
"""What every ping, ack and gossip carries, in this order."""

MEMBERSHIP: dict[int, Record] = {
    1: Record(membership.Ping, None, sequence=U64, **RIDING),
    2: Record(membership.Ack, None, sequence=U64, **RIDING),
    3: Record(membership.PingRequest, sequence=U64, target=CONTACT),
    4: Record(membership.Gossip, None, **RIDING),
    32: Record(membership.Nack, sequence=U64),
    33: Record(membership.Digest, parts=exactly(PARTS * PART_BYTES)),
    34: Record(
        membership.Summary,
        parts=Bytes(0, PARTS),
        entries=Rows(ENTRY_BYTES, limits.SUMMARY_ENTRIES_MAX),
    ),
    35: Record(membership.Want, tags=Rows(TAG_BYTES, limits.WANTED_MAX)),
    36: Record(membership.Glimpses, entries=Rows(GLIMPSE_BYTES, limits.GLIMPSES_MAX)),
    37: Record(membership.Subscribe, sequence=U64, wanted=Flag()),
}
"""Numbers from 32 on, so that the DHT's next ones stay beside its first."""
