"""How much of something each asker may have: GCRA, a token bucket in one number (ITU-T I.371)."""

from collections import OrderedDict
from collections.abc import Hashable

KEYS_MAX = 1024


class AskRate:
    """So many asks for each key: a burst at once, then one each step."""

    def __init__(self, *, every_s: float, burst: int) -> None:
        self._step_s = every_s
        self._slack_s = every_s * burst
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def allows(self, key: Hashable, now: float) -> bool:
        """Count one ask if there is room for it."""
        full_at = max(self._full_at.pop(key, now), now) + self._step_s
        allowed = full_at - now <= self._slack_s
        self._full_at[key] = full_at if allowed else full_at - self._step_s
        if len(self._full_at) > KEYS_MAX:
            self._full_at.popitem(last=False)
        return allowed


class ByteRate:
    """Bytes a second that several streams share; what is over is waited for, not dropped."""

    def __init__(self, per_s: float, *, burst_s: float = 0.25) -> None:
        self._per_s = per_s
        self._burst_s = burst_s
        self._full_at = 0.0

    def take(self, count: int, now: float) -> float:
        """Count bytes that are about to be sent; return how many seconds to wait before."""
        self._full_at = max(self._full_at, now) + count / self._per_s
        return max(0.0, self._full_at - now - self._burst_s)
