"""Updates waiting to be gossiped: least-sent first, each sent a bounded number of times.

A newer update about a member replaces an older one about the same member (SWIM section 4.1;
memberlist's TransmitLimitedQueue).
"""

from dataclasses import dataclass
from math import ceil, log10

from meshnode.gossip.sizes import Packer
from meshnode.ids import NodeId
from meshnode.wire.messages import MemberUpdate


@dataclass(slots=True)
class _Queued:
    """One update and how often it went out. `order` breaks ties: the newest first."""

    update: MemberUpdate
    order: int
    sent: int = 0


class BroadcastQueue:
    """The piggyback queue; at most one update for each member, so the table bounds it."""

    def __init__(self, retransmit_mult: int) -> None:
        self._retransmit_mult = retransmit_mult
        self._queued: dict[NodeId, _Queued] = {}
        self._order = 0

    def __len__(self) -> int:
        """Return how many updates wait."""
        return len(self._queued)

    def put(self, update: MemberUpdate) -> None:
        """Queue an update, dropping any it replaces."""
        self._order += 1
        self._queued[update.contact.node_id] = _Queued(update, self._order)

    def drop(self, node_id: NodeId) -> None:
        """Forget what is queued about a member."""
        self._queued.pop(node_id, None)

    def fill(self, packer: Packer, cluster_size: int) -> None:
        """Add as many updates as the packet takes, and count them as sent."""
        if not self._queued:
            return
        limit = sends_max(self._retransmit_mult, cluster_size)
        for node_id, queued in sorted(
            self._queued.items(), key=lambda item: (item[1].sent, -item[1].order)
        ):
            if not packer.add_update(queued.update):
                break
            queued.sent += 1
            if queued.sent >= limit:
                del self._queued[node_id]


def sends_max(retransmit_mult: int, cluster_size: int) -> int:
    """Return how often one update is sent: mult * ceil(log10(n + 1)), n counting everybody."""
    return retransmit_mult * ceil(log10(max(1, cluster_size) + 1))
