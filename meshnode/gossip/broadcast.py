"""Words waiting to be gossiped: least-told first, each told a bounded number of times.

A newer word of a member replaces an older one of the same member, and ends what was accused of it
before (SWIM section 4.1; memberlist's TransmitLimitedQueue). What others tell us meanwhile counts
half as much as telling it (Demers et al. 1987: rumours with feedback): one event costs a third less
that way, and where a whole mesh forms at once nobody repeats for seconds what all have heard. Words
lie in rows by these counts, so that filling a packet looks only at what it takes.
"""

from collections.abc import Callable
from math import ceil, inf, log10
from typing import TypeAlias

from meshnode.gossip.sizes import Packer
from meshnode.ids import NodeTag, tag_of
from meshnode.wire.messages import Accusation, MemberUpdate

News: TypeAlias = MemberUpdate | Accusation
Key: TypeAlias = tuple[NodeTag, NodeTag | None]
"""Whom it is about, and who accuses; None if it is the member's own word."""

SENT, HEARD = 2, 1
WAITING_MAX = 4096
"""More news than this at once: the oldest is dropped, and push-pull will bring it."""


class BroadcastQueue:
    """The piggyback queue."""

    def __init__(self, retransmit_mult: int, waiting_max: int = WAITING_MAX) -> None:
        self._retransmit_mult = retransmit_mult
        self._waiting_max = waiting_max
        self._counts: dict[Key, int] = {}
        self._rows: list[dict[Key, News]] = [{}]
        """Row i has what has a count of i, the newest last."""
        self._limit = inf
        """The count that ends it, in the mesh as it was when something was sent last."""
        self.dropped = 0
        """News that was pushed out by newer."""

    def __len__(self) -> int:
        """Return how much news waits."""
        return len(self._counts)

    def has_fresh(self, times: int) -> bool:
        """Return whether there is news that was told fewer than so many times."""
        return any(self._rows[: SENT * times])

    def put(self, news: News) -> None:
        """Queue news, dropping what it replaces."""
        key = _key(news)
        self._remove(key)
        if len(self._counts) >= self._waiting_max:
            last = next(row for row in reversed(self._rows) if row)
            self._remove(next(iter(last)))
            self.dropped += 1
        self._counts[key] = 0
        self._rows[0][key] = news

    def drop(self, tag: NodeTag, accusers: tuple[NodeTag, ...]) -> None:
        """Forget accusations of a member that it has refuted."""
        for accuser in accusers:
            self._remove((tag, accuser))

    def heard(self, news: News) -> None:
        """Note that a member told us what we were to tell ourselves: so we tell it less often."""
        key = _key(news)
        count = self._counts.get(key)
        if count is None or self._rows[count][key] != news:
            return
        del self._rows[count][key]
        self._enter(key, news, count + HEARD)

    def fill(self, packer: Packer, cluster_size: int) -> None:
        """Add as much news as the packet takes, and count it as sent."""
        if not self._counts:
            return
        self._limit = SENT * sends_max(self._retransmit_mult, cluster_size)
        moved: list[tuple[int, Key, News]] = []
        for count, row in enumerate(self._rows):
            moved += self._taken(row, count, packer.add)
            if row:
                break  # something did not fit: nothing sent more often goes before it
        for count, key, news in moved:
            self._enter(key, news, count)

    def _taken(
        self, row: dict[Key, News], count: int, add: Callable[[News], bool]
    ) -> list[tuple[int, Key, News]]:
        """Take from a row, the newest first, what a packet takes."""
        taken = []
        while row:
            key = next(reversed(row))
            if not add(row[key]):
                break
            taken.append((count + SENT, key, row.pop(key)))
        return taken

    def _enter(self, key: Key, news: News, count: int) -> None:
        """Put news into its row, unless it was told often enough."""
        if count >= self._limit:
            del self._counts[key]
            return
        while len(self._rows) <= count:
            self._rows.append({})
        self._rows[count][key] = news
        self._counts[key] = count

    def _remove(self, key: Key) -> None:
        count = self._counts.pop(key, None)
        if count is not None:
            del self._rows[count][key]


def sends_max(retransmit_mult: int, cluster_size: int) -> int:
    """Return how often one update is sent: mult * ceil(log10(n + 1)), n counting everybody."""
    return retransmit_mult * ceil(log10(max(1, cluster_size) + 1))


def _key(news: News) -> Key:
    if isinstance(news, MemberUpdate):
        return tag_of(news.contact.node_id), None
    return news.suspect, news.accuser
