"""Who has a place with a rendezvous, and which circuits run through it: counts and limits.

The limits are those of libp2p's circuit v2 in kind, and of what one small machine bears in size. A
place belongs to one network; nobody is told of, or led to, a node of another.
"""

from dataclasses import dataclass, field
from itertools import count

from meshnode.errors import Overloaded, PeerUnreachable
from meshnode.ids import Contact, NetworkId, NodeId, PublicKey, node_id_of, short
from meshnode.machine import Random
from meshnode.reach.dialable import block_of, is_internal

PRESENT_MAX = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceSettings:
    """How much a rendezvous takes on."""

    places_max: int = 128
    places_per_block_max: int = 32
    """From one public /24 (/64): one site cannot take every place. Internal ones have no limit."""
    place_ttl_s: int = 3600
    circuits_max: int = 128
    circuits_per_peer_max: int = 16
    """Counted at both ends."""


@dataclass(frozen=True, slots=True)
class _Place:
    network: NetworkId
    contact: Contact
    host: str
    until: float


@dataclass(frozen=True, slots=True)
class Booking:
    """One circuit that is open or about to be."""

    number: int
    caller: PublicKey
    target: PublicKey


@dataclass(slots=True)
class Places:
    """The places of one rendezvous."""

    settings: PlaceSettings = field(default_factory=PlaceSettings)
    _places: dict[NodeId, _Place] = field(default_factory=dict)
    _bookings: dict[int, Booking] = field(default_factory=dict)
    _numbers: "count[int]" = field(default_factory=lambda: count(1))

    def __len__(self) -> int:
        return len(self._places)

    @property
    def circuits(self) -> int:
        """How many circuits are open."""
        return len(self._bookings)

    def reserve(self, network: NetworkId, contact: Contact, host: str, now: float) -> None:
        """Give a node a place, or keep it for longer; raises Overloaded if there is none left."""
        node_id = contact.node_id
        self._expire(now)
        if node_id not in self._places:
            if len(self._places) >= self.settings.places_max:
                raise Overloaded("every place here is taken")
            block = block_of(host)
            here = sum(block_of(place.host) == block for place in self._places.values())
            if not is_internal(host) and here >= self.settings.places_per_block_max:
                raise Overloaded("too many nodes of one site have a place here")
        until = now + self.settings.place_ttl_s
        self._places[node_id] = _Place(network, contact, host, until)

    def leave(self, node_id: NodeId) -> None:
        """A node's connection has ended, and its place with it."""
        self._places.pop(node_id, None)

    def present(
        self, network: NetworkId, asker: PublicKey, rng: Random, now: float
    ) -> tuple[Contact, ...]:
        """Return others of a network that have a place, a random choice if they are many."""
        self._expire(now)
        found = [
            place.contact
            for place in self._places.values()
            if place.network == network and place.contact.public_key != asker
        ]
        return tuple(found if len(found) <= PRESENT_MAX else rng.sample(found, PRESENT_MAX))

    def find(self, network: NetworkId, node_id: NodeId, now: float) -> Contact:
        """Return who has a place, or raise PeerUnreachable; other networks have none to see."""
        place = self._places.get(node_id)
        if place is None or place.network != network or now >= place.until:
            raise PeerUnreachable(f"{short(node_id)} has no place here")
        return place.contact

    def book(self, caller: PublicKey, target: PublicKey) -> Booking:
        """Count a circuit; raises Overloaded if either end or all together have enough."""
        if len(self._bookings) >= self.settings.circuits_max:
            raise Overloaded("this relay carries as many circuits as it may")
        for key in (caller, target):
            ends = sum(key in (b.caller, b.target) for b in self._bookings.values())
            if ends >= self.settings.circuits_per_peer_max:
                raise Overloaded(f"{short(node_id_of(key))} has as many circuits as it may")
        booking = Booking(next(self._numbers), caller, target)
        self._bookings[booking.number] = booking
        return booking

    def release(self, booking: Booking) -> None:
        """A circuit has ended, or never came about."""
        self._bookings.pop(booking.number, None)

    def _expire(self, now: float) -> None:
        gone = [node_id for node_id, place in self._places.items() if now >= place.until]
        for node_id in gone:
            del self._places[node_id]
