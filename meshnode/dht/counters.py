"""What a DHT machine has done and met so far, for status pages and tests."""

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """Totals since the start."""

    lookups: int = 0
    rpcs: int = 0
    """Contacts asked; retries not counted."""
    retries: int = 0
    failures: int = 0
    """Contacts that did not answer in time, or answered something else."""
    removed: int = 0
    """Contacts that left the table for it."""
    strays: int = 0
    """Answers to nothing that was asked, or of another type than the question."""
    refused_records: int = 0
    """Records offered to us that were forged, malformed or of another mesh."""
    equivocations: int = 0
    """Records offered to us that contradict one we hold."""
