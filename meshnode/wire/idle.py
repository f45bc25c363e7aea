"""The call by which a node that has run dry asks a neighbour for work that waits there."""

from dataclasses import dataclass

from meshnode.wire.membership import LoadRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleCall:
    """I have nothing to do. What waits at yours that would be done sooner here?"""

    load: LoadRecord
    """The caller's own, with how fast its warm modules run."""
    room: int
    """How many requests of one module it takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleReply:
    """Answer to IdleCall: so many were refused in your name, and come from their senders."""

    given: int
    load: LoadRecord
