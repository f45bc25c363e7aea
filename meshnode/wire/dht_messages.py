"""The messages of the DHT, which travel over UDP. See `docs/protocol.md`, section 4."""

from dataclasses import dataclass

from meshnode.ids import Contact


@dataclass(frozen=True, slots=True, kw_only=True)
class FindNode:
    """Kademlia: the k contacts you know closest to `target` (32 bytes)."""

    rpc: int
    """Random 64 bits; an answer counts only from the contact that was asked."""
    target: bytes
    count: int = 16
    """How many contacts are wanted at most; 0 asks for a sign of life only."""
    known: bytes = b""
    """Contacts that need not be named (`dht/tags.py`): most of an answer would be repetition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundNodes:
    """Answer to FindNode."""

    rpc: int
    contacts: tuple[Contact, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GetRecords:
    """Kademlia: the signed records you hold under `key` (32 bytes), and closer contacts."""

    rpc: int
    key: bytes
    known: bytes = b""
    """Contacts that need not be named, as in FindNode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRecords:
    """Answer to GetRecords: as many records as fit, and contacts that are closer."""

    rpc: int
    records: tuple[bytes, ...]
    """COSE_Sign1, unverified: the reader verifies."""
    contacts: tuple[Contact, ...]
    more: bool
    """More records are held than fitted; ask again for another random subset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PutRecord:
    """Kademlia: store this signed record under the key it belongs to."""

    rpc: int
    record: bytes
    cas: int | None = None
    """Keep it only in place of the record with this sequence number (BEP 44), or of none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PutReply:
    """Answer to PutRecord."""

    rpc: int
    kept: bool
    seq: int = 0
    """The sequence number that is held there now, under this key and by this signer; 0 if none."""
