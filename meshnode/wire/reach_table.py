"""The layouts of the messages in `reach`, as `table` has those of the others.

Their numbers begin at 32.
"""

from meshnode.wire import limits, reach
from meshnode.wire.schema import (
    U16,
    U32,
    U64,
    ContactField,
    Flag,
    ListOf,
    OptionalOf,
    Record,
    Words,
    exactly,
)

ID = exactly(32)
CONTACT = ContactField()
DIGEST = exactly(16)

CARRY, COMPARE_EXPELLED, EXPELLED_COMPARED = 42, 43, 44

REACH: dict[int, Record] = {
    32: Record(reach.Reserve, contact=CONTACT),
    33: Record(
        reach.Reserved,
        ttl_s=U16,
        relay=Flag(),
        present=ListOf(CONTACT, limits.CONTACTS_PER_REPLY_MAX),
    ),
    34: Record(reach.CallBack, target=ID, port=U16),
    35: Record(reach.Passed),
    36: Record(reach.DialBack, contact=CONTACT),
    37: Record(reach.OpenCircuit, target=ID),
    38: Record(reach.Circuit, token=ID),
    39: Record(reach.OfferCircuit, token=ID, caller=ID),
    40: Record(reach.Examine, port=U16, token=ID),
    41: Record(
        reach.Examined,
        reached=Flag(),
        because=Words(limits.REASON_CHARS_MAX),
        host=Words(limits.NAME_CHARS_MAX),
        heard_ms=OptionalOf(U32),
        unix_ms=U64,
        version=Words(limits.NAME_CHARS_MAX),
    ),
    CARRY: Record(reach.Carry, contact=CONTACT),
    COMPARE_EXPELLED: Record(reach.CompareExpelled, revocations=DIGEST),
    EXPELLED_COMPARED: Record(reach.ExpelledCompared, revocations=DIGEST),
    45: Record(reach.Meet, target=ID),
    46: Record(reach.OfferMeeting, token=ID, caller=ID),
    47: Record(reach.WhereIs, token=ID),
    48: Record(reach.Seen, contact=CONTACT),
}
BODY_BYTES_MAX = {
    CARRY: limits.DATAGRAM_BYTES_MAX,
    COMPARE_EXPELLED: limits.REVOKED_BYTES_MAX,
    EXPELLED_COMPARED: limits.REVOKED_BYTES_MAX,
}
"""Which of them have a body, and the most bytes of it."""
