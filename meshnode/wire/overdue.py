"""The question to a node whose answer is late: do you live, and how busy are you?"""

from dataclasses import dataclass

from meshnode.ids import NodeTag
from meshnode.wire.membership import LoadRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPing:
    """Answer at once, with your load."""

    silent: NodeTag | None = None
    """A node that has just not answered this question; ask it yourself if you wait for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPong:
    """Answer to LoadPing."""

    load: LoadRecord
