"""Which datagrams are answers, and how an answer is made shorter without being made wrong."""

from dataclasses import replace

from meshnode.errors import LocalProtocolError
from meshnode.wire.codec import Envelope, encode_datagram
from meshnode.wire.limits import MESSAGE_BYTES_MAX
from meshnode.wire.messages import (
    Ack,
    Datagram,
    FindNode,
    FoundNodes,
    FoundRecords,
    GetRecords,
    Gossip,
    Ping,
    PingRequest,
    PutRecord,
    PutReply,
)

ANSWER_BYTES = 48
"""An answer without its contacts: version, number, network, two cookies, rpc id, list heads."""
ACK_BYTES = 40
"""The same of an ack, which no seed is asked for and which therefore names no network."""
CONTACT_BYTES = 56
"""A contact with an IPv6 address; one with a longer name may be left out of the first answer."""

RECORDS_ANSWER_BYTES = 464
"""A first answer with one record of a node or a provider and a few contacts. What has more to tell
says so, and is asked again with the cookie that the answer brought."""

_ANSWERS = frozenset({Ack, FoundNodes, FoundRecords, PutReply})
_QUESTIONS = frozenset({FindNode, GetRecords, PutRecord, Ping, PingRequest})


def is_answer(message: Datagram) -> bool:
    """Return whether a message is sent because a datagram asked for it."""
    return type(message) in _ANSWERS


def is_question(message: Datagram) -> bool:
    """Return whether a message is answered, so that the first one to an address is padded."""
    return type(message) in _QUESTIONS


def answer_bytes(message: Datagram) -> int:
    """Return how long the answer to a first question may be: it is padded to no more than that.

    An answer carries one cookie more than its question, so even the shortest needs some room. Pings
    get no more than that: an address that is not proved is only acked, and told all by the next.
    """
    if isinstance(message, Ping | PingRequest):
        return ACK_BYTES
    if isinstance(message, FindNode):
        return ANSWER_BYTES + CONTACT_BYTES * message.count
    if isinstance(message, PutRecord):
        return ANSWER_BYTES
    if isinstance(message, GetRecords):
        return RECORDS_ANSWER_BYTES
    return MESSAGE_BYTES_MAX


def shorter(message: Datagram) -> Datagram | None:
    """Return the message with its least important part left out, or None if nothing may be.

    Everything left out is told again another time: gossip by later rounds, contacts by other
    nodes, records by `more`.
    """
    if isinstance(message, Ack | Ping | Gossip) and message.loads:
        return replace(message, loads=message.loads[:-1])
    if isinstance(message, Ack | Ping | Gossip) and message.accusations:
        return replace(message, accusations=message.accusations[:-1])
    if isinstance(message, Ack | Ping | Gossip) and message.updates:
        return replace(message, updates=message.updates[:-1])
    if isinstance(message, FoundNodes | FoundRecords) and message.contacts:
        return replace(message, contacts=message.contacts[:-1])
    if isinstance(message, FoundRecords) and message.records:
        return replace(message, records=message.records[:-1], more=True)
    return None


def encoded(envelope: Envelope, bytes_max: int, pad_to: int) -> bytes | None:
    """Return a datagram's plaintext, or None if it is longer than `bytes_max`."""
    try:
        data = encode_datagram(envelope, pad_to=pad_to)
    except LocalProtocolError:
        return None
    return data if len(data) <= bytes_max else None
