"""Vouched: members that have shown their certificates, and the networks that they did it from.

Hundreds of nodes of one company stand behind one public /24, or one address. A budget for each
network that fits a stranger is far too tight for them, so a member has one of its own, and a
network's budget grows with the members that were met there. A certificate costs its mesh an
admission; a made-up key that knows the mesh's key has none, and changes nothing here.
"""

from collections import Counter, OrderedDict
from collections.abc import Container

from meshnode.ids import PublicKey
from meshnode.net.addresses import prefix_of

MEMBERS_MAX = 8192
LASTS_S = 3600.0
"""A member that was not met on a connection for so long is charged to its network again."""


class Vouched:
    """Who was met where. `now` is monotonic seconds."""

    def __init__(self) -> None:
        self._until: OrderedDict[tuple[bytes, PublicKey], float] = OrderedDict()
        self._of_prefix: Counter[bytes] = Counter()

    def __len__(self) -> int:
        return len(self._until)

    def note(self, host: str, key: PublicKey, now: float) -> None:
        """A member has shown its certificate on a connection with this host."""
        entry = (prefix_of(host), key)
        if self._until.pop(entry, None) is None:
            self._of_prefix[entry[0]] += 1
        self._until[entry] = now + LASTS_S
        self._expire(now)

    def knows(self, prefix: bytes, key: bytes, now: float) -> bool:
        """Return whether a member was met lately in a network."""
        return now < self._until.get((prefix, PublicKey(key)), 0.0)

    def members(self, prefix: bytes, now: float) -> int:
        """Return how many members were met lately in a network."""
        self._expire(now)
        return self._of_prefix[prefix]

    def forget(self, keys: Container[PublicKey]) -> None:
        """These are no members any more."""
        for entry in [entry for entry in self._until if entry[1] in keys]:
            self._drop(entry)

    def _expire(self, now: float) -> None:
        while self._until:
            entry, until = next(iter(self._until.items()))
            if now < until and len(self._until) <= MEMBERS_MAX:
                break
            self._drop(entry)

    def _drop(self, entry: tuple[bytes, PublicKey]) -> None:
        del self._until[entry]
        self._of_prefix[entry[0]] -= 1
        if not self._of_prefix[entry[0]]:
            del self._of_prefix[entry[0]]
