"""Words waiting to be gossiped: least-sent first, each sent a bounded number of times.

A newer word of a member replaces an older one of the same member, and ends what was accused of it
before (SWIM section 4.1; memberlist's TransmitLimitedQueue). Words lie in rows by how often they
went out, so that filling a packet looks only at what it takes.
"""

from collections.abc import Callable
from math import ceil, log10
from typing import TypeAlias

from meshnode.gossip.sizes import Packer
from meshnode.ids import NodeTag, tag_of
from meshnode.wire.messages import Accusation, MemberUpdate

News: TypeAlias = MemberUpdate | Accusation
Key: TypeAlias = tuple[NodeTag, NodeTag | None]
"""Whom it is about, and who accuses; None if it is the member's own word."""

WAITING_MAX = 4096
"""More news than this at once: the oldest is dropped, and push-pull will bring it."""


class BroadcastQueue:
    """The piggyback queue."""

    def __init__(self, retransmit_mult: int, waiting_max: int = WAITING_MAX) -> None:
        self._retransmit_mult = retransmit_mult
        self._waiting_max = waiting_max
        self._sent: dict[Key, int] = {}
        self._rows: list[dict[Key, News]] = [{}]
        """Row i has what was sent i times, the newest last."""
        self.dropped = 0
        """News that was pushed out by newer."""

    def __len__(self) -> int:
        """Return how much news waits."""
        return len(self._sent)

    def put(self, news: News) -> None:
        """Queue news, dropping what it replaces."""
        key = _key(news)
        self._remove(key)
        if len(self._sent) >= self._waiting_max:
            last = next(row for row in reversed(self._rows) if row)
            self._remove(next(iter(last)))
            self.dropped += 1
        self._sent[key] = 0
        self._rows[0][key] = news

    def drop(self, tag: NodeTag, accusers: tuple[NodeTag, ...]) -> None:
        """Forget accusations of a member that it has refuted."""
        for accuser in accusers:
            self._remove((tag, accuser))

    def fill(self, packer: Packer, cluster_size: int) -> None:
        """Add as much news as the packet takes, and count it as sent."""
        if not self._sent:
            return
        limit = sends_max(self._retransmit_mult, cluster_size)
        moved: list[tuple[int, Key, News]] = []
        for count, row in enumerate(self._rows):
            moved += self._taken(row, count, packer.add)
            if row:
                break  # something did not fit: nothing sent more often goes before it
        for count, key, news in moved:
            if count >= limit:
                del self._sent[key]
                continue
            while len(self._rows) <= count:
                self._rows.append({})
            self._rows[count][key] = news
            self._sent[key] = count

    def _taken(
        self, row: dict[Key, News], count: int, add: Callable[[News], bool]
    ) -> list[tuple[int, Key, News]]:
        """Take from a row, the newest first, what a packet takes."""
        taken = []
        while row:
            key = next(reversed(row))
            if not add(row[key]):
                break
            taken.append((count + 1, key, row.pop(key)))
        return taken

    def _remove(self, key: Key) -> None:
        count = self._sent.pop(key, None)
        if count is not None:
            del self._rows[count][key]


def sends_max(retransmit_mult: int, cluster_size: int) -> int:
    """Return how often one update is sent: mult * ceil(log10(n + 1)), n counting everybody."""
    return retransmit_mult * ceil(log10(max(1, cluster_size) + 1))


def _key(news: News) -> Key:
    if isinstance(news, MemberUpdate):
        return tag_of(news.contact.node_id), None
    return news.suspect, news.accuser
