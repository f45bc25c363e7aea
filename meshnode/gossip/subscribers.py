"""Subscribers: who is told our load, and when (network.md section 1 f).

Each holds a lease of half a minute, bound to an address that it has proved. All hear a change of a
tenth at once and anything each second, but never more often than their number allows.
"""

from dataclasses import dataclass

from meshnode.gossip.settings import GossipSettings
from meshnode.ids import Contact, NodeTag, tag_of
from meshnode.wire.messages import LoadRecord

LEASE_S = 30.0
CHANGE = 0.1
"""A wait that differs by this share of the longer one, or by more than a tick of the clock."""
CHANGE_MIN = 10
"""1 ms: smaller changes are none."""
SOONEST_S = 0.25


@dataclass(slots=True)
class _Lease:
    contact: Contact
    ends_at: float


class Subscribers:
    """The leases, and what was pushed last."""

    def __init__(self, settings: GossipSettings) -> None:
        self._settings = settings
        self._leases: dict[NodeTag, _Lease] = {}
        self._pushed: LoadRecord | None = None
        self._pushed_at = -1e9
        self.refused = 0

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._leases)

    def add(self, contact: Contact, now: float) -> bool:
        """Begin or renew a lease; False if there are too many."""
        tag = tag_of(contact.node_id)
        if tag not in self._leases and len(self._leases) >= self._settings.subscribers_max:
            self._expire(now)
            if len(self._leases) >= self._settings.subscribers_max:
                self.refused += 1
                return False
        self._leases[tag] = _Lease(contact, now + LEASE_S)
        return True

    def remove(self, tag: NodeTag) -> None:
        """End a lease."""
        self._leases.pop(tag, None)

    def due(self, load: LoadRecord, size: int, now: float) -> list[Contact]:
        """Return whom to push this load to now; `size` is a push's bytes."""
        self._expire(now)
        if not self._leases:
            return []
        apart_s = len(self._leases) * size / self._settings.push_bytes_per_s
        changed = self._pushed is None or _differs(load, self._pushed)
        wait_s = SOONEST_S if changed else self._settings.push_every_s
        # A hair less: the hall's clock ticks in quarters of a second too.
        if 0.0 <= now - self._pushed_at < max(wait_s, apart_s) - 0.01:
            return []
        self._pushed, self._pushed_at = load, now
        return [lease.contact for lease in self._leases.values()]

    def _expire(self, now: float) -> None:
        self._leases = {t: lease for t, lease in self._leases.items() if lease.ends_at > now}


def _differs(load: LoadRecord, before: LoadRecord) -> bool:
    """Return whether a reader would decide otherwise."""
    if load.draining != before.draining or _modules(load) != _modules(before):
        return True
    return any(
        abs(a - b) > max(CHANGE_MIN, CHANGE * max(a, b))
        for a, b in ((load.wait, before.wait), (load.wait_mean, before.wait_mean))
    )


def _modules(load: LoadRecord) -> frozenset[tuple[NodeTag, bool]]:
    return frozenset((m.module, m.warm) for m in load.modules)
