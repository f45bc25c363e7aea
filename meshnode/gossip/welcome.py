"""Telling a newcomer whom we know, over the next few gossips, and greeting strangers sparingly.

memberlist exchanges full state over TCP; here it is a bounded number of datagrams, and what a
newcomer misses comes with the reminders in every gossip.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from meshnode.ids import Contact, NodeId
from meshnode.wire.messages import MemberUpdate

WELCOMES_MAX = 16
"""Newcomers served at once; more learn from the others they greet."""
AGAIN_AFTER_S = 10.0
"""A node that greets again within this is not told everything again."""
GREETINGS_IN_A_ROW = 3
"""One to be heard, one with the cookie that the first answer brought, one for a lost packet."""
GREET_EVERY_S = 1.0
REMEMBERED_MAX = 1024


@dataclass(slots=True)
class _Welcome:
    """One newcomer and what it has not been told yet."""

    contact: Contact
    left: list[MemberUpdate]


class Welcomes:
    """Who is being told."""

    def __init__(self) -> None:
        self._open: dict[NodeId, _Welcome] = {}
        self._told_at: dict[NodeId, float] = {}

    def __bool__(self) -> bool:
        """Return whether anybody still has something to be told."""
        return bool(self._open)

    def wanted(self, node_id: NodeId, now: float) -> bool:
        """Return whether a node that introduced itself should be told everything."""
        told_at = self._told_at.get(node_id)
        fresh = told_at is not None and now - told_at < AGAIN_AFTER_S
        return not fresh and len(self._open) < WELCOMES_MAX

    def begin(self, contact: Contact, claims: Sequence[MemberUpdate], now: float) -> None:
        """Start telling a newcomer."""
        _remember(self._told_at, contact.node_id, now)
        if claims:
            self._open[contact.node_id] = _Welcome(contact, list(claims))

    def open(self) -> list[tuple[Contact, list[MemberUpdate]]]:
        """Return each newcomer and the list to take claims from, the last first."""
        return [(w.contact, w.left) for w in self._open.values()]

    def close_told(self) -> None:
        """End those who know everything."""
        self._open = {node_id: w for node_id, w in self._open.items() if w.left}


class Greetings:
    """How often a stranger is greeted: thrice in a row, then once a second."""

    def __init__(self) -> None:
        self._last_at: dict[NodeId, float] = {}
        self._in_a_row: dict[NodeId, int] = {}

    def allowed(self, node_id: NodeId, now: float) -> bool:
        """Return whether to greet this node now, and count it."""
        last_at = self._last_at.get(node_id)
        again = last_at is not None and now - last_at < GREET_EVERY_S
        in_a_row = self._in_a_row.get(node_id, 0) + 1 if again else 1
        if in_a_row > GREETINGS_IN_A_ROW:
            return False
        _remember(self._last_at, node_id, now)
        self._in_a_row[node_id] = in_a_row
        if len(self._in_a_row) > REMEMBERED_MAX:
            self._in_a_row = {i: n for i, n in self._in_a_row.items() if i in self._last_at}
        return True


def _remember(times: dict[NodeId, float], node_id: NodeId, now: float) -> None:
    """Note a time, dropping the longest unchanged when there are too many."""
    times.pop(node_id, None)
    times[node_id] = now
    if len(times) > REMEMBERED_MAX:
        del times[next(iter(times))]
