"""Who may shake hands: a bounded number of strangers, and members before all of them.

A connection is silent until its first message opens under a key of ours; that costs hashes. When
the entrance is full, a newcomer takes the place of the oldest silent one, of the network that has
the most: an honest peer speaks within a round trip, so whoever holds places by silence loses them.
Only those who spoke cost public-key work, each network so much a second, and no first message
opens the door twice.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from meshnode.net.addresses import is_loopback, prefix_of
from meshnode.net.limiter import PrefixLimiter
from meshnode.net.settings import NetSettings
from meshnode.net.vouched import Vouched

FIRST_MESSAGES_MAX = 4096
"""Remembered, so that a copy of one, sent again by somebody who heard it, is not answered."""


@dataclass(slots=True, eq=False)
class HalfOpen:
    """A handshake under way."""

    host: str
    prefix: bytes
    give_up: Callable[[], None]
    """Ends it; called when its place is needed."""
    silent: bool = True


class Entrance:
    """The handshakes under way at one listener."""

    def __init__(self, settings: NetSettings, vouched: Vouched | None = None) -> None:
        """`vouched` are the members that were met, whose networks may shake hands more often."""
        self._settings = settings
        self._inside: dict[HalfOpen, None] = {}
        self._of_host: Counter[str] = Counter()
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self._limiter = PrefixLimiter(
            per_second=settings.handshakes_per_prefix_s,
            private_per_second=settings.handshakes_private_s,
            vouched=vouched,
            per_member_s=settings.handshakes_per_member_s,
        )

    def __len__(self) -> int:
        return len(self._inside)

    def enter(self, host: str, give_up: Callable[[], None]) -> HalfOpen | None:
        """Return a place for a connection from an IP literal; None if there is none."""
        settings = self._settings
        if self._of_host[host] >= settings.half_open_per_ip_max and not is_loopback(host):
            return None
        if len(self._inside) >= settings.half_open_max:
            loser = self._most_dispensable()
            if loser is None:
                return None
            self.leave(loser)
            loser.give_up()
        entry = HalfOpen(host, prefix_of(host), give_up)
        self._inside[entry] = None
        self._of_host[host] += 1
        return entry

    def leave(self, entry: HalfOpen) -> None:
        """Free a place; again does no harm."""
        if entry in self._inside:
            del self._inside[entry]
            self._of_host[entry.host] -= 1
            if not self._of_host[entry.host]:
                del self._of_host[entry.host]

    def knocked(self, entry: HalfOpen, first_message: bytes, now: float) -> bool:
        """A first message opened; return whether it may be answered."""
        entry.silent = False
        if first_message in self._seen:
            return False
        self._seen[first_message] = None
        if len(self._seen) > FIRST_MESSAGES_MAX:
            self._seen.popitem(last=False)
        return is_loopback(entry.host) or self._limiter.allows(entry.host, now)

    def _most_dispensable(self) -> HalfOpen | None:
        silent = [entry for entry in self._inside if entry.silent]
        if not silent:
            return None
        crowds = Counter(entry.prefix for entry in silent)
        return max(silent, key=lambda entry: crowds[entry.prefix])
