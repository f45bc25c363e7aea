"""A token bucket for each network prefix, so that one site cannot buy our public-key work.

The bucket is GCRA's one number: the time at which it would be full again (ITU-T I.371).
"""

from functools import lru_cache

from meshnode.net.addresses import is_private, prefix_of
from meshnode.net.vouched import Vouched

PREFIXES_MAX = 4096
BURST_S = 1.0
"""A silent prefix may send this many seconds' worth at once."""


class PrefixLimiter:
    """Says for each datagram, handshake or question whether its prefix may have one more.

    With `vouched`, a public prefix has `per_member_s` more for each member that was met there, and
    a member whose key is told is charged to itself at that rate, and to its prefix beyond it.
    """

    def __init__(
        self,
        *,
        per_second: float,
        private_per_second: float,
        vouched: Vouched | None = None,
        per_member_s: float = 0.0,
    ) -> None:
        self._per_second = per_second
        self._private_step = 1.0 / private_per_second
        self._vouched = vouched
        self._per_member_s = per_member_s
        self._full_at: dict[bytes, float] = {}

    def __len__(self) -> int:
        return len(self._full_at)

    def allows(self, host: str, now: float, *, key: bytes = b"") -> bool:
        """Take one token of the prefix of an IP literal, or of a member met there; False if none.

        `key` is who says that it sent this. A liar spends what the member has, which the member's
        prefix and the liar's have in common.
        """
        prefix, private = _site(host)
        if private:
            return self._take(prefix, self._private_step, now)
        vouched = self._vouched
        if vouched is None:
            return self._take(prefix, 1.0 / self._per_second, now)
        own = key and vouched.knows(prefix, key, now)
        if own and self._take(prefix + key, 1.0 / self._per_member_s, now):
            return True
        rate = self._per_second + self._per_member_s * vouched.members(prefix, now)
        return self._take(prefix, 1.0 / rate, now)

    def _take(self, bucket: bytes, step: float, now: float) -> bool:
        full_at = self._full_at.pop(bucket, 0.0)
        if full_at < now:
            full_at = now
        allowed = full_at - now < BURST_S
        self._full_at[bucket] = full_at + step if allowed else full_at
        if len(self._full_at) > PREFIXES_MAX:
            del self._full_at[next(iter(self._full_at))]
        return allowed


@lru_cache(maxsize=PREFIXES_MAX)
def _site(host: str) -> tuple[bytes, bool]:
    """Return the prefix of an IP literal, and whether it is of a private range."""
    return prefix_of(host), is_private(host)
