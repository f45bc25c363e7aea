"""What happened to the datagrams of one socket, counted by the reason."""

from dataclasses import dataclass


@dataclass(slots=True)
class DatagramStats:
    """What happened, as plain counters."""

    received: int = 0
    delivered: int = 0
    size: int = 0
    """Too short or too long to be ours."""
    stranger: int = 0
    """The outer MAC does not match: not for us, or not from this mesh."""
    limited: int = 0
    """Over the rate of its prefix."""
    replayed: int = 0
    """A copy of one that came before."""
    unsealed: int = 0
    """Does not open, or is from a key that is none."""
    malformed: int = 0
    expelled: int = 0
    """From or to a node that is revoked; no public-key work is done for it."""
    foreign: int = 0
    """Seed traffic from no seed of ours, or about another mesh."""
    sent: int = 0
    unproved: int = 0
    """Requests withheld: too many to one prefix that has proved nothing."""
    full: int = 0
    """Dropped: the socket took no more."""
    failed: int = 0
    """Dropped: the kernel refused it (no route, for example)."""
    trimmed: int = 0
    """Answers cut to fit."""
    withheld: int = 0
    """Answers to an unproved address that could not be cut to fit, or answered nothing."""
    oversize: int = 0
    """Dropped: a message of ours that fits no datagram."""
    unresolved: int = 0
    """Dropped: the host name is not known (yet), or too many wait for it."""
