"""The highest sequence number seen for each name, so that an old record cannot come back.

Old signed bytes stay valid for ever, and anybody may announce them again. Who has seen a newer
one refuses them, also after a restart: the node saves `entries` and hands them in again.
"""

from collections import OrderedDict
from collections.abc import Iterable

KEYS_REMEMBERED_MAX = 4096
"""Names whose highest sequence number is remembered: 0.5 MB."""


class SeqMemory:
    """The highest sequence number seen under each key."""

    def __init__(self, entries: Iterable[tuple[bytes, int]] = ()) -> None:
        """`entries` come from an earlier run, the oldest first."""
        self.changed = False
        """Something was learnt since this was last set to False."""
        self._highest: OrderedDict[bytes, int] = OrderedDict()
        for key, seq in entries:
            self.note(key, seq)
        self.changed = False

    def note(self, key: bytes, seq: int) -> None:
        """Remember what was seen under a key; beyond a bound the oldest key is forgotten."""
        highest = self.highest(key)
        self.changed |= seq > highest
        self._highest[key] = max(seq, highest)
        self._highest.move_to_end(key)
        while len(self._highest) > KEYS_REMEMBERED_MAX:
            self._highest.popitem(last=False)

    def highest(self, key: bytes) -> int:
        """Return the highest number seen under a key, 0 if none was."""
        return self._highest.get(key, 0)

    @property
    def entries(self) -> tuple[tuple[bytes, int], ...]:
        """Every key with its number, the one noted longest ago first."""
        return tuple(self._highest.items())
