"""The beacon: how nodes of one LAN hear of each other, and a newcomer of the mesh that is there.

    magic 4 || kind 1 || network id 16 || public key 32 || port u16 BE || name length 1 || name
    || tag 16                                                        kind 1: here I am
    magic 4 || kind 2 || zeros up to 128 bytes                       kind 2: who is here?

The tag is BLAKE2b of everything before it, keyed by the mesh key. It keeps strangers' noise out;
it proves nothing, for who records a beacon can send it again. So a member that is heard is greeted
by a sealed datagram at the address that the beacon came from, and enters a table only if it answers
(network.md, attack 16). Of another mesh nothing is believed but that somebody says so, and that is
only shown to people.
"""

import hmac
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from meshnode.ids import Address, Contact, NetworkId, PublicKey
from meshnode.machine import Random
from meshnode.reach.rate import AskRate

MAGIC = b"MNB1"
HERE, WHO = 1, 2
NETWORK_BYTES, KEY_BYTES, PORT_BYTES, TAG_BYTES = 16, 32, 2, 16
HEAD_BYTES = len(MAGIC) + 1 + NETWORK_BYTES + KEY_BYTES + PORT_BYTES + 1
NAME_BYTES_MAX = 48
BEACON_BYTES_MAX = HEAD_BYTES + NAME_BYTES_MAX + TAG_BYTES
WHO_BYTES = 128
"""A question is as long as most answers: nobody is made to say more than he was told."""

ANNOUNCE_EVERY_S = 30.0
FIRST_PAUSES_S = (1.0, 3.0, 9.0)
"""After the first one at once: a packet may be lost, and multicast is not repeated by Wi-Fi."""
ANSWER_WITHIN_S = 0.3
"""A random part of it, so that a mesh does not answer a newcomer with one voice."""
ANNOUNCE_PAUSE_S = 1.0
"""At least between two of our own, whoever asks."""
GREET_AGAIN_S = 60.0
SOURCE_EVERY_S = 1.0
SOURCE_BURST = 8
"""Beacons of one host: eight nodes on one machine are heard at once."""
GREET_EVERY_S = 0.1
GREET_BURST = 32
"""All hosts together: a flood of forged sources costs ten small packets a second."""
KNOWN_MAX = 256
MESHES_MAX = 16
MESH_LASTS_S = 90.0
"""Three announcements."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beacon:
    """What a node says of itself on its LAN."""

    network: NetworkId
    public_key: PublicKey
    port: int
    mesh_name: str


@dataclass(frozen=True, slots=True)
class Heard:
    """Input: a datagram came to the beacon's port, from this host."""

    data: bytes
    host: str


@dataclass(frozen=True, slots=True)
class Told:
    """Input: mDNS says that a node of this mesh is here. It has no tag, so it is nobody's word."""

    contact: Contact


@dataclass(frozen=True, slots=True)
class Announce:
    """Effect: send this to everybody on the LAN."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Greet:
    """Effect: a member may be here; say hello, sealed."""

    contact: Contact


def encode(beacon: Beacon, mesh_key: bytes) -> bytes:
    """Return a beacon's bytes; a long name is cut at a character."""
    name = beacon.mesh_name.encode()[:NAME_BYTES_MAX].decode(errors="ignore").encode()
    head = b"".join(
        (
            MAGIC,
            bytes([HERE]),
            beacon.network,
            beacon.public_key,
            beacon.port.to_bytes(PORT_BYTES, "big"),
            bytes([len(name)]),
            name,
        )
    )
    return head + _tag(head, mesh_key)


def decode(data: bytes) -> Beacon | None:
    """Return what a beacon says, its tag unchecked; None if it is none."""
    if not HEAD_BYTES + TAG_BYTES <= len(data) <= BEACON_BYTES_MAX:
        return None
    if data[: len(MAGIC)] != MAGIC or data[len(MAGIC)] != HERE:
        return None
    if len(data) != HEAD_BYTES + data[HEAD_BYTES - 1] + TAG_BYTES:
        return None
    at = len(MAGIC) + 1
    network, key = data[at : at + NETWORK_BYTES], data[at + NETWORK_BYTES :][:KEY_BYTES]
    port = int.from_bytes(data[HEAD_BYTES - 1 - PORT_BYTES : HEAD_BYTES - 1], "big")
    try:
        name = data[HEAD_BYTES:-TAG_BYTES].decode()
    except UnicodeDecodeError:
        return None
    if not port or not name.isprintable():
        return None
    return Beacon(network=NetworkId(network), public_key=PublicKey(key), port=port, mesh_name=name)


def question() -> bytes:
    """Return the bytes that ask who is here."""
    return (MAGIC + bytes([WHO])).ljust(WHO_BYTES, b"\0")


def is_question(data: bytes) -> bool:
    """Return whether somebody asks who is here."""
    return data == question()


def is_tagged(data: bytes, mesh_keys: Sequence[bytes]) -> bool:
    """Return whether a beacon was made by somebody who has one of the mesh's keys."""
    head, tag = data[:-TAG_BYTES], data[-TAG_BYTES:]
    return any(hmac.compare_digest(_tag(head, key), tag) for key in mesh_keys)


def _tag(head: bytes, mesh_key: bytes) -> bytes:
    return blake2b(head, key=mesh_key, digest_size=TAG_BYTES, person=b"meshnode beacon").digest()


@dataclass(slots=True)
class Counters:
    """What was heard, as plain counters."""

    heard: int = 0
    malformed: int = 0
    untagged: int = 0
    """Claim to be of this mesh, and are not from a member."""
    limited: int = 0
    greeted: int = 0


class BeaconMachine:
    """When to speak, and what to do with what is heard."""

    def __init__(
        self, own: Beacon, *, mesh_keys: Callable[[], Sequence[bytes]], rng: Random, now: float
    ) -> None:
        """`mesh_keys` are those in force, the one to speak with first."""
        self.counters = Counters()
        self.own = own
        self._mesh_keys = mesh_keys
        self._rng = rng
        self._pauses = list(FIRST_PAUSES_S)
        self._due = now
        self._spoke_at = now - ANNOUNCE_PAUSE_S
        self._sources = AskRate(every_s=SOURCE_EVERY_S, burst=SOURCE_BURST)
        self._greetings = AskRate(every_s=GREET_EVERY_S, burst=GREET_BURST)
        self._greeted: OrderedDict[Contact, float] = OrderedDict()
        self._hosts: dict[str, float] = {}

    def hosts(self, now: float) -> int:
        """Return how many other hosts of this mesh were heard lately."""
        return sum(now - at < MESH_LASTS_S for at in self._hosts.values())

    def handle(self, event: Heard | Told, now: float) -> list[Announce | Greet]:
        """See `Machine.handle`."""
        self.counters.heard += 1
        if isinstance(event, Told):
            return self._met(event.contact, now)
        if not self._sources.allows(event.host, now):
            self.counters.limited += 1
            return []
        if is_question(event.data):
            pause_s = ANSWER_WITHIN_S * self._rng.random()
            self._due = min(self._due, max(now + pause_s, self._spoke_at + ANNOUNCE_PAUSE_S))
            return []
        beacon = decode(event.data)
        if beacon is None:
            self.counters.malformed += 1
            return []
        if beacon.network != self.own.network or beacon.public_key == self.own.public_key:
            return []
        if not is_tagged(event.data, self._mesh_keys()):
            self.counters.untagged += 1
            return []
        return self._met(Contact(beacon.public_key, Address(event.host, beacon.port)), now)

    def tick(self, now: float) -> list[Announce | Greet]:
        """See `Machine.tick`."""
        if now < self._due:
            return []
        self._spoke_at = now
        base_s = self._pauses.pop(0) if self._pauses else ANNOUNCE_EVERY_S
        self._due = now + base_s * (0.9 + 0.2 * self._rng.random())
        return [Announce(encode(self.own, self._mesh_keys()[0]))]

    def next_timer(self) -> float | None:
        """See `Machine.next_timer`."""
        return self._due

    def _met(self, contact: Contact, now: float) -> list[Announce | Greet]:
        self._hosts[contact.address.host] = now
        if len(self._hosts) > KNOWN_MAX:
            del self._hosts[next(iter(self._hosts))]
        if now - self._greeted.get(contact, -GREET_AGAIN_S) < GREET_AGAIN_S:
            return []
        if not self._greetings.allows("all", now):
            self.counters.limited += 1
            return []
        self._greeted.pop(contact, None)
        self._greeted[contact] = now
        if len(self._greeted) > KNOWN_MAX:
            self._greeted.popitem(last=False)
        self.counters.greeted += 1
        return [Greet(contact)]


def meshes_among(heard: Sequence[Heard]) -> list[Beacon]:
    """Return one beacon of each mesh that says it is here, for people to choose from."""
    found: dict[NetworkId, Beacon] = {}
    for each in heard:
        beacon = decode(each.data)
        if beacon is not None and len(found) < MESHES_MAX:
            found.setdefault(beacon.network, beacon)
    return list(found.values())
