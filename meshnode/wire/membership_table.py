"""The layout of membership's messages: the part of `table` that belongs to `wire.membership`."""

from dataclasses import dataclass

from meshnode.labels import KEY_CHARS_MAX, LABELS_MAX, VALUE_CHARS_MAX, Labels, Traits, labels_of
from meshnode.wire import limits, membership
from meshnode.wire.cbor import Plain
from meshnode.wire.packed_load import LoadField
from meshnode.wire.schema import (
    U32,
    U64,
    Bytes,
    CapsField,
    ContactField,
    Flag,
    ListOf,
    Misfit,
    Pair,
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


class LabelsField:
    """Labels as a list of pairs of text, in the one order that they have."""

    _pairs = ListOf(Pair(Text(KEY_CHARS_MAX, 1), Text(VALUE_CHARS_MAX, 1)), LABELS_MAX)

    def pack(self, value: Value) -> Plain:
        """As they are, if they are labels."""
        return self._pairs.pack(_checked(value)) if value else []

    def unpack(self, plain: Plain) -> Value:
        """What is not in order was not packed by us."""
        return _checked(self._pairs.unpack(plain)) if plain != [] else ()


def _checked(pairs: Labels) -> Labels:
    try:
        ordered = labels_of(pairs)
    except ValueError as error:
        raise Misfit(str(error)) from error
    if ordered != pairs:
        raise Misfit("is not in the order of the keys")
    return ordered


TAG = exactly(TAG_BYTES)
CONTACT = ContactField()
NAME = Text(limits.NAME_CHARS_MAX)
SIGNATURE = exactly(membership.SIGNATURE_BYTES)
LOAD = LoadField()
LABELS = LabelsField()
TRAITS = Record(Traits, labels=LABELS, memory_mib=U32, memory_pages=U32)
UPDATE = Record(
    membership.MemberUpdate,
    contact=CONTACT,
    state=Uint(STATE_MAX),
    incarnation=U64,
    name=NAME,
    caps=CapsField(),
    traits=TRAITS,
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
