"""What the DHT machine is told, and what it asks to be done: its inputs and effects."""

from dataclasses import dataclass

from meshnode.dht.proofs import Equivocation as Equivocation
from meshnode.dht.records import Record
from meshnode.ids import Contact
from meshnode.wire.messages import Received, Send


@dataclass(frozen=True, slots=True)
class Join:
    """Command: bootstrap from these contacts. Repeating it is harmless."""

    contacts: tuple[Contact, ...]


@dataclass(frozen=True, slots=True)
class Observe:
    """Command: this contact is said to be alive; verify it if the table has use for it."""

    contact: Contact


@dataclass(frozen=True, slots=True)
class Doubt:
    """Command: this contact is said to be dead; ask it now instead of in its turn."""

    contact: Contact


@dataclass(frozen=True, slots=True)
class FindNodes:
    """Command: look up the live nodes nearest to `target`; answered by LookupFinished."""

    ticket: int
    target: bytes


@dataclass(frozen=True, slots=True)
class FindRecords:
    """Command: look up the records under `key`; answered by LookupFinished."""

    ticket: int
    key: bytes
    all_of_them: bool
    """True for provider records (many signers), False for names and nodes (one record)."""
    thorough: bool = False
    """Look along disjoint paths at once, to the end: for what decides which code runs, and when
    everything that a plain lookup found has proved false."""


@dataclass(frozen=True, slots=True)
class Publish:
    """Command: store this signed record once; answered by PublishFinished."""

    ticket: int
    key: bytes
    record: bytes
    cas: int | None = None
    """Compare and swap (BEP 44): keep it only in place of the record with this sequence number,
    or of none. None: in place of any older one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupFinished:
    """Effect: the lookup with this ticket is over."""

    ticket: int
    closest: tuple[Contact, ...]
    """At most k that answered, nearest first. Few, if records were found before the end."""
    records: tuple[Record, ...] = ()
    """Verified, one for each signer; the highest sequence number seen. Withdrawn ones included."""
    signed: tuple[bytes, ...] = ()
    """Their signed bytes, in the same order: what may be announced again unchanged."""
    rpcs: int = 0
    """How many contacts were asked."""
    equivocations: int = 0
    """Contradicting records of one signer that were seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishFinished:
    """Effect: the publication with this ticket is over."""

    ticket: int
    stored: int
    """Other nodes that keep the record; our own copy is not counted."""
    conflicts: int = 0
    """Nodes that refused it for what they hold: a newer one, or not the one that `cas` names."""
    seq_held: int = 0
    """The highest sequence number that any of them holds under this key, by this signer."""


DhtInput = Received | Join | Observe | Doubt | FindNodes | FindRecords | Publish
DhtEffect = Send | LookupFinished | PublishFinished | Equivocation
