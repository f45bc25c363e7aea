"""The signed records this node keeps for others: expiring, bounded, freshest kept.

What a flood can cost is fixed by bounds: records and bytes of the whole store, records of one
sender, of one signer and of one public network block, provider records of one key, and of one block
under one key. What would pass one is refused; room comes back as records expire. When the whole
store is full, whoever holds far more of it than the newcomer gives way. The node's own records are
bound by none of them.

A name's highest sequence number is remembered when its record has expired: old signed bytes do
not come back by being announced again.

Time to live is counted from arrival on the receiver's own clock, so nobody's wrong clock makes a
record immortal, and is cut to the cap of its type.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from meshnode.dht.addresses import group_of
from meshnode.dht.records import NameRecord, NodeRecord, ProviderRecord, Record, key_of, signer_of
from meshnode.dht.seq_memory import SeqMemory
from meshnode.dht.settings import DhtSettings
from meshnode.ids import Contact, PublicKey
from meshnode.machine import Random

OVERHEAD_BYTES = 1000
"""What Python needs to hold one record besides its bytes; measured, see the store's flood test."""


GREEDY_FACTOR = 4
"""In a full store a sender with so many times the newcomer's records makes room for him."""


class Verdict(Enum):
    """What became of a record that was offered."""

    KEPT = 0
    """It is stored, or was already and its time starts anew."""
    NOT_SENDERS = 1
    """Only its signer may store it."""
    STALE = 2
    """A higher sequence number is held."""
    EQUIVOCATION = 3
    """Another value with the same sequence number is held: its signer contradicts himself."""
    FULL = 4
    """It would pass a bound."""
    MISMATCH = 5
    """Another record is held than the one it was to replace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One record that is stored."""

    data: bytes
    """Its signed bytes."""
    seq: int
    withdrawn: bool
    expires_at: float
    sender: PublicKey
    """Whose quota it uses."""
    signer: PublicKey
    group: str | None
    """The sender's network block; None for private addresses and for ourselves."""


class RecordStore:
    """Signed records by key, then by signer."""

    def __init__(self, own_key: PublicKey, settings: DhtSettings) -> None:
        self._own_key = own_key
        self._settings = settings
        self._shelves: dict[bytes, dict[PublicKey, Held]] = {}
        self._by_sender: dict[PublicKey, dict[tuple[bytes, PublicKey], None]] = {}
        """(key, signer) of everything one sender stored, the oldest first."""
        self._per_signer: Counter[PublicKey] = Counter()
        self._per_group: Counter[str] = Counter()
        self._seqs = SeqMemory()
        self._swept_at = float("-inf")
        self.count = 0
        self.bytes_held = 0
        """Of records and what Python needs to hold them."""

    def put(
        self, record: Record, data: bytes, sender: Contact, now: float, *, cas: int | None = None
    ) -> Verdict:
        """Keep a record that was verified, if the rules allow; `data` is its signed bytes.

        `cas` is the sequence number that it must replace, if anything; None if any will do.
        """
        if not isinstance(record, NameRecord) and signer_of(record) != sender.public_key:
            return Verdict.NOT_SENDERS
        key, signer = key_of(record), signer_of(record)
        held = self.held(key, signer, now)
        objection = self._objection(record, data, held, cas)
        if objection is not None:
            return objection
        own = sender.public_key == self._own_key
        fresh = Held(
            data=data,
            seq=record.seq,
            withdrawn=isinstance(record, ProviderRecord) and record.withdrawn,
            expires_at=now + min(record.ttl_s, self._ttl_max_s(record)),
            # Whoever stores a name again unchanged does not take over its place in the quota.
            sender=held.sender if held and held.seq == record.seq else sender.public_key,
            signer=signer,
            group=None if own else group_of(sender.address.host),
        )
        if not own and not self._has_room(key, signer, fresh, now):
            return Verdict.FULL
        self._remove(key, signer)
        self._shelves.setdefault(key, {})[signer] = fresh
        self._by_sender.setdefault(fresh.sender, {})[key, signer] = None
        self._count(fresh, 1)
        if isinstance(record, NameRecord):
            self._seqs.note(key, record.seq)
        return Verdict.KEPT

    def refusal(self, record: Record, data: bytes, now: float, *, cas: int | None) -> int | None:
        """Return None if nothing held speaks against a record, else the number that does."""
        key, signer = key_of(record), signer_of(record)
        held = self.held(key, signer, now)
        if self._objection(record, data, held, cas) is None:
            return None
        return held.seq if held is not None else self._seqs.highest(key)

    def held(self, key: bytes, signer: PublicKey, now: float) -> Held | None:
        """Return the live record of one signer under a key, None if there is none."""
        held = self._shelves.get(key, {}).get(signer)
        return held if held is not None and held.expires_at > now else None

    def get(self, key: bytes, now: float) -> list[bytes]:
        """Return the live records under `key`, signed bytes, those not withdrawn first."""
        held = [h for h in self._shelves.get(key, {}).values() if h.expires_at > now]
        return [h.data for h in sorted(held, key=lambda h: h.withdrawn)]

    def subset(self, key: bytes, now: float, *, bytes_max: int, rng: Random) -> list[bytes]:
        """Return records under `key` that fit, chosen at random, so that repeated asking sees all.

        `bytes_max` counts 3 bytes of framing for each. Withdrawn ones come last.
        """
        held = [h for h in self._shelves.get(key, {}).values() if h.expires_at > now]
        rng.shuffle(held)
        chosen: list[bytes] = []
        for record in sorted(held, key=lambda h: h.withdrawn):
            if len(record.data) + 3 <= bytes_max:
                bytes_max -= len(record.data) + 3
                chosen.append(record.data)
        return chosen

    def count_of(self, key: bytes, now: float) -> int:
        """Return how many live records are held under `key`."""
        return sum(1 for h in self._shelves.get(key, {}).values() if h.expires_at > now)

    def sweep(self, now: float) -> None:
        """Forget what has expired. Scans the store: 2 ms for 20,000 records."""
        self._swept_at = now
        expired = [
            (key, signer)
            for key, shelf in self._shelves.items()
            for signer, held in shelf.items()
            if held.expires_at <= now
        ]
        for key, signer in expired:
            self._remove(key, signer)

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, signed bytes) of everything held."""
        for key, shelf in self._shelves.items():
            for held in shelf.values():
                yield key, held.data

    # ------------------------------------------------------------ bounds

    def _objection(
        self, record: Record, data: bytes, held: Held | None, cas: int | None
    ) -> Verdict | None:
        """Return what in the history of its key speaks against a record, None if nothing does."""
        if held is None:
            old = isinstance(record, NameRecord) and record.seq < self._seqs.highest(key_of(record))
            return Verdict.STALE if old else None
        if record.seq < held.seq:
            return Verdict.STALE
        if record.seq == held.seq:
            return None if data == held.data else Verdict.EQUIVOCATION
        return Verdict.MISMATCH if cas is not None and cas != held.seq else None

    def _has_room(self, key: bytes, signer: PublicKey, fresh: Held, now: float) -> bool:
        """Return whether `fresh` may be stored in place of what its signer has there already."""
        s = self._settings
        shelf = self._shelves.get(key, {})
        old = shelf.get(signer)
        if old is None and len(shelf) >= s.providers_per_key_max:
            self._sweep_sometimes(now)
            if len(self._shelves.get(key, {})) >= s.providers_per_key_max:
                return False
        neighbours = sum(
            1 for who, h in shelf.items() if who != signer and h.group == fresh.group is not None
        )
        if neighbours >= s.providers_per_group_max:
            return False
        if old is not None and old.sender == fresh.sender:
            return True  # it replaces its own
        if old is None and self._is_full(fresh):
            self._sweep_sometimes(now)
            if self._is_full(fresh) and not self._make_room(fresh):
                return False
        of_group = self._per_group[fresh.group] if fresh.group is not None else 0
        return (
            len(self._by_sender.get(fresh.sender, ())) < s.records_per_sender_max
            and (old is not None or self._per_signer[signer] < s.records_per_signer_max)
            and of_group < s.records_per_group_max
        )

    def _make_room(self, fresh: Held) -> bool:
        """Let the sender with by far the most records lose its oldest, if there is one."""
        others = (who for who in self._by_sender if who not in (self._own_key, fresh.sender))
        greediest = max(others, key=lambda who: len(self._by_sender[who]), default=None)
        if greediest is None:
            return False
        theirs, newcomers = self._by_sender[greediest], self._by_sender.get(fresh.sender, ())
        if len(theirs) <= GREEDY_FACTOR * (len(newcomers) + 1):
            return False
        self._remove(*next(iter(theirs)))
        return not self._is_full(fresh)

    def _is_full(self, fresh: Held) -> bool:
        more = len(fresh.data) + OVERHEAD_BYTES
        s = self._settings
        return self.count >= s.records_max or self.bytes_held + more > s.record_bytes_max

    def _sweep_sometimes(self, now: float) -> None:
        """Sweep for room, but not for every record of a flood."""
        if now - self._swept_at >= 1.0:
            self.sweep(now)

    def _ttl_max_s(self, record: Record) -> float:
        match record:
            case NodeRecord():
                return self._settings.node_ttl_max_s
            case ProviderRecord():
                return self._settings.provider_ttl_max_s
            case NameRecord():
                return self._settings.name_ttl_max_s

    # ------------------------------------------------------------ book-keeping

    def _remove(self, key: bytes, signer: PublicKey) -> None:
        shelf = self._shelves.get(key, {})
        held = shelf.pop(signer, None)
        if held is not None:
            self._count(held, -1)
            theirs = self._by_sender[held.sender]
            del theirs[key, signer]
            if not theirs:
                del self._by_sender[held.sender]
            if not shelf:
                del self._shelves[key]

    def _count(self, held: Held, sign: int) -> None:
        self.count += sign
        self.bytes_held += sign * (len(held.data) + OVERHEAD_BYTES)
        self._per_signer[held.signer] += sign
        if not self._per_signer[held.signer]:
            del self._per_signer[held.signer]
        if held.group is not None:
            self._per_group[held.group] += sign
            if not self._per_group[held.group]:
                del self._per_group[held.group]
