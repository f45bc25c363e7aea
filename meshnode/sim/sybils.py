"""Sybils: one attacker's many keys around a DHT key, all nearer to it than any honest node.

Network.md section 5.6: with ids that are hashes of keys this costs a second of hashing. They answer
every question with each other, and say that they keep what they drop.
"""

from bisect import bisect_left
from collections.abc import Iterable

from meshnode.ids import Address, Contact, PublicKey, distance, node_id_of
from meshnode.machine import Random
from meshnode.wire.messages import (
    Datagram,
    FindNode,
    FoundNodes,
    FoundRecords,
    GetRecords,
    PutRecord,
    PutReply,
    Received,
    Send,
)

POOL = 200_000
"""Keys tried: a hundred for each node of a mesh of 2,000."""


class Sybil:
    """One of them. `ring` is all of them, its own contact included."""

    def __init__(self, own: Contact, ring: Iterable[Contact]) -> None:
        self._others = [contact for contact in ring if contact != own][:16]

    def handle(self, event: object, now: float) -> list[Send]:
        """Answer with other Sybils."""
        if not isinstance(event, Received):
            return []
        answer = self._answer(event.message)
        return [] if answer is None else [Send(event.sender, answer)]

    def tick(self, now: float) -> list[Send]:
        """Nothing is ever due."""
        return []

    def next_timer(self) -> None:
        """Nothing is ever due."""

    def _answer(self, message: Datagram) -> Datagram | None:
        others = tuple(self._others)
        match message:
            case FindNode():
                return FoundNodes(rpc=message.rpc, contacts=others[: message.count])
            case GetRecords():
                return FoundRecords(rpc=message.rpc, records=(), contacts=others, more=False)
            case PutRecord():
                return PutReply(rpc=message.rpc, kept=True, seq=1)
            case _:
                return None


class Mint:
    """A pool of keys to choose Sybils from; made once for all keys under attack."""

    def __init__(self, rng: Random, size: int = POOL) -> None:
        keys = (PublicKey(rng.randbytes(32)) for _ in range(size))
        self._pool = sorted((node_id_of.__wrapped__(key), key) for key in keys)
        self._made = 0

    def ring(self, key: bytes, count: int) -> list[Contact]:
        """Return the contacts of the `count` nearest keys, at an address each."""
        middle = bisect_left(self._pool, (key, b""))
        near = self._pool[max(0, middle - 8 * count) : middle + 8 * count]
        near.sort(key=lambda entry: distance(entry[0], key))
        contacts = []
        for _, public_key in near[:count]:
            self._made += 1
            host = f"10.{200 + (self._made >> 16 & 31)}.{self._made >> 8 & 255}.{self._made & 255}"
            contacts.append(Contact(public_key, Address(host, 6174)))
        return contacts
