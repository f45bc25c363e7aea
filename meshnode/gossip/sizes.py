"""How much fits a datagram, estimated from above, since machines know no bytes.

The codec would refuse a datagram that is too long, so these may err only upwards; a test encodes
the largest of each kind and compares.
"""

from meshnode.gossip.words import packed_host
from meshnode.ids import Contact
from meshnode.wire.limits import (
    ACCUSATIONS_PER_GOSSIP_MAX,
    LOADS_PER_GOSSIP_MAX,
    SEALING_BYTES,
    UPDATES_PER_GOSSIP_MAX,
)
from meshnode.wire.messages import (
    Accusation,
    Ack,
    Datagram,
    Digest,
    Glimpses,
    Gossip,
    LoadRecord,
    MemberUpdate,
    Ping,
    PingRequest,
    Summary,
    Want,
)

PAYLOAD_BYTES = 1100
"""What a datagram of this room may measure before sealing (88 B more); the limit is 1,128."""
ENVELOPE_BYTES = 64
"""Of that: version, type, network id, two cookies, padding, sequence and the heads of the lists."""
AROUND_BYTES = 40 + SEALING_BYTES
"""The same between members, who name no network, sealed. Padded are only first pings, to less."""
IPV4_UDP_BYTES, IPV6_UDP_BYTES = 28, 48
"""Headers of each datagram."""


REST_BYTES = 5
"""What an excerpt says of all modules: their list and a place, and two bits for each of eight."""


def headers_bytes(host: str) -> int:
    """Return what UDP and IP add to each datagram of a node at this address."""
    return IPV6_UDP_BYTES if ":" in host else IPV4_UDP_BYTES


def contact_bytes(contact: Contact) -> int:
    """Return an upper bound: key 34, port 3, heads 4, and the host: 4, 16 or the name's bytes."""
    return 41 + len(packed_host(contact.address.host))


def update_bytes(update: MemberUpdate) -> int:
    """Return an upper bound: contact, name, incarnation, caps 5, signature 66, memory 10, state,
    heads, and two more and its text for each half of a label.
    """
    labels = sum(4 + len(key) + len(value) for key, value in update.traits.labels)
    size = contact_bytes(update.contact) + len(update.name.encode()) + labels + 87
    return size + _number_bytes(update.incarnation)


def accusation_bytes(accusation: Accusation) -> int:
    """Return an upper bound: two tags of 9, the incarnation, the signature of 66, a head."""
    return 86 + _number_bytes(accusation.incarnation)


def load_bytes(load: LoadRecord) -> int:
    """Return the size: tag 8, head 3, the numbers, and of each module told 9 and two numbers.

    Nearly exact, since a gossip carries nine of these; the age, of which 5 bytes are kept, grows
    while the record waits. See `wire/packed_load.py`.
    """
    busy = load.in_flight * 4 + load.draining * 2
    numbers = (load.sequence, load.wait, load.wait_mean, load.wait_sigma, load.speed, busy)
    size = 16 + sum(map(_packed_bytes, numbers))
    for module in load.modules:
        size += 9 + _packed_bytes(module.first * 4 + 3) + _packed_bytes(module.unit)
    return size if load.rest is None else size + REST_BYTES


def _packed_bytes(value: int) -> int:
    """Return what a packed number takes, seven bits a byte."""
    return max(1, -(-value.bit_length() // 7))


def _number_bytes(value: int) -> int:
    """Return what CBOR needs for a number that is not negative."""
    if value < 2**8:
        return 1 if value < 24 else 2
    if value < 2**32:
        return 3 if value < 2**16 else 5
    return 9


def datagram_bytes(message: Datagram) -> int:
    """Return what a message of this room takes on the wire from above: sealed, without headers."""
    around = AROUND_BYTES
    match message:
        case Ping() | Ack() | Gossip():
            for update in message.updates:
                around += update_bytes(update)
            for accusation in message.accusations:
                around += accusation_bytes(accusation)
            for load in message.loads:
                around += load_bytes(load)
            return around
        case PingRequest():
            return around + contact_bytes(message.target)
        case Digest():
            return around + len(message.parts)
        case Summary():
            return around + len(message.parts) + len(message.entries)
        case Want():
            return around + len(message.tags)
        case Glimpses():
            return around + len(message.entries)
        case _:
            return around


class Packer:
    """Gathers words and loads for one datagram until it is full."""

    def __init__(self, room: int = PAYLOAD_BYTES - ENVELOPE_BYTES) -> None:
        self._room = room
        self._updates: list[MemberUpdate] = []
        self._accusations: list[Accusation] = []
        self._loads: list[LoadRecord] = []

    def __bool__(self) -> bool:
        """Return whether anything was taken."""
        return bool(self._updates or self._accusations or self._loads)

    @property
    def updates(self) -> tuple[MemberUpdate, ...]:
        """What was taken."""
        return tuple(self._updates)

    @property
    def accusations(self) -> tuple[Accusation, ...]:
        """What was taken."""
        return tuple(self._accusations)

    @property
    def loads(self) -> tuple[LoadRecord, ...]:
        """What was taken."""
        return tuple(self._loads)

    def narrow(self, room: int) -> None:
        """Take no more than so many bytes from now on."""
        self._room = min(self._room, room)

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

    def add_accusation(self, accusation: Accusation) -> bool:
        """Take an accusation; False if the packet is full."""
        if accusation in self._accusations:
            return True
        size = accusation_bytes(accusation)
        if size > self._room or len(self._accusations) >= ACCUSATIONS_PER_GOSSIP_MAX:
            return False
        self._room -= size
        self._accusations.append(accusation)
        return True

    def add(self, news: MemberUpdate | Accusation) -> bool:
        """Take either; False if the packet is full."""
        if isinstance(news, MemberUpdate):
            return self.add_update(news)
        return self.add_accusation(news)

    def add_load(self, load: LoadRecord) -> bool:
        """Take a load record; False if the packet is full."""
        size = load_bytes(load)
        if size > self._room or len(self._loads) >= LOADS_PER_GOSSIP_MAX:
            return False
        self._room -= size
        self._loads.append(load)
        return True
