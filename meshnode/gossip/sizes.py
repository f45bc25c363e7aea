"""How much fits a datagram, estimated from above, since machines know no bytes.

The codec would refuse a datagram that is too long, so these may err only upwards; a test encodes
the largest of each kind and compares.
"""

from meshnode.ids import Contact
from meshnode.wire.limits import LOADS_PER_GOSSIP_MAX, UPDATES_PER_GOSSIP_MAX
from meshnode.wire.messages import LoadRecord, MemberUpdate

PAYLOAD_BYTES = 1100
"""What a datagram of this room may measure before sealing (88 B more); the limit is 1,128."""
ENVELOPE_BYTES = 64
"""Version, type, network id, two cookies, padding, sequence and the heads of the lists."""


def contact_bytes(contact: Contact) -> int:
    """Return an upper bound: key 34, port 3, heads 5, and the host (an IPv6 literal is 16)."""
    host = contact.address.host
    return 42 + (16 if ":" in host else len(host.encode()))


def update_bytes(update: MemberUpdate) -> int:
    """Return an upper bound: contact, name, incarnation 9, caps 5, accuser 9, state, heads."""
    return contact_bytes(update.contact) + len(update.name.encode()) + 30


def load_bytes(load: LoadRecord) -> int:
    """Return the size: tag 9, flag and heads 3, the numbers, and 11 with two more a module.

    Nearly exact, since a gossip carries nine of these; the age grows by one step at most while
    the record waits.
    """
    numbers = (load.sequence, load.wait, load.wait_mean, load.wait_sigma, load.in_flight)
    size = 12 + sum(map(_number_bytes, numbers)) + _number_bytes(load.speed) + 5
    for module in load.modules:
        size += 11 + _number_bytes(module.first) + _number_bytes(module.unit)
    return size


def _number_bytes(value: int) -> int:
    """Return what CBOR needs for a number that is not negative."""
    if value < 2**8:
        return 1 if value < 24 else 2
    if value < 2**32:
        return 3 if value < 2**16 else 5
    return 9


class Packer:
    """Gathers updates and loads for one datagram until it is full."""

    def __init__(self, room: int = PAYLOAD_BYTES - ENVELOPE_BYTES) -> None:
        self._room = room
        self._updates: list[MemberUpdate] = []
        self._loads: list[LoadRecord] = []

    def __bool__(self) -> bool:
        """Return whether anything was taken."""
        return bool(self._updates or self._loads)

    @property
    def updates(self) -> tuple[MemberUpdate, ...]:
        """What was taken."""
        return tuple(self._updates)

    @property
    def loads(self) -> tuple[LoadRecord, ...]:
        """What was taken."""
        return tuple(self._loads)

    def has_update_about(self, contact: Contact) -> bool:
        """Return whether an update about this node is in already."""
        return any(u.contact.public_key == contact.public_key for u in self._updates)

    def add_update(self, update: MemberUpdate) -> bool:
        """Take an update; False if the packet is full. One about the same node is in already."""
        if self.has_update_about(update.contact):
            return True
        size = update_bytes(update)
        if size > self._room or len(self._updates) >= UPDATES_PER_GOSSIP_MAX:
            return False
        self._room -= size
        self._updates.append(update)
        return True

    def add_load(self, load: LoadRecord) -> bool:
        """Take a load record; False if the packet is full."""
        size = load_bytes(load)
        if size > self._room or len(self._loads) >= LOADS_PER_GOSSIP_MAX:
            return False
        self._room -= size
        self._loads.append(load)
        return True
