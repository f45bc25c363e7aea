"""A token bucket for each network prefix, so that one site cannot buy our public-key work.

The bucket is GCRA's one number: the time at which it would be full again (ITU-T I.371).
"""

from meshnode.net.addresses import is_private, prefix_of

PREFIXES_MAX = 4096
BURST_S = 1.0
"""A silent prefix may send this many seconds' worth at once."""


class PrefixLimiter:
    """Says for each datagram whether its prefix may have one more."""

    def __init__(self, *, per_second: float, private_per_second: float) -> None:
        self._step = 1.0 / per_second
        self._private_step = 1.0 / private_per_second
        self._full_at: dict[bytes, float] = {}

    def __len__(self) -> int:
        return len(self._full_at)

    def allows(self, host: str, now: float) -> bool:
        """Take one token of the prefix of an IP literal; False if there is none."""
        prefix = prefix_of(host)
        full_at = max(self._full_at.pop(prefix, 0.0), now)
        step = self._private_step if is_private(host) else self._step
        allowed = full_at - now < BURST_S
        self._full_at[prefix] = full_at + step if allowed else full_at
        if len(self._full_at) > PREFIXES_MAX:
            del self._full_at[next(iter(self._full_at))]
        return allowed
