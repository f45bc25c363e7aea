"""What others say of the expelled is left out of a message before anybody acts on it."""

from dataclasses import replace

from meshnode.ids import PublicKey
from meshnode.wire.messages import (
    Ack,
    Datagram,
    FoundNodes,
    FoundRecords,
    Gossip,
    Ping,
    PingRequest,
)


def without(message: Datagram, expelled: frozenset[PublicKey]) -> Datagram | None:
    """Return a message without what it says of expelled nodes; None if it is about one of them."""
    match message:
        case Ping() | Ack() | Gossip():
            if any(u.contact.public_key in expelled for u in message.updates):
                kept = tuple(u for u in message.updates if u.contact.public_key not in expelled)
                return replace(message, updates=kept)
        case PingRequest():
            if message.target.public_key in expelled:
                return None
        case FoundNodes() | FoundRecords():
            if any(c.public_key in expelled for c in message.contacts):
                there = tuple(c for c in message.contacts if c.public_key not in expelled)
                return replace(message, contacts=there)
        case _:
            pass
    return message
