"""What the path to each node was measured to carry, apart from its round trip.

Only big payloads tell it: what a small one takes is its round trip and the noise of two event
loops. What the server says of queue and run is taken off what the caller measured.
"""

from collections import OrderedDict

from meshnode.ids import NodeId

BIG_BYTES = 256 * 1024
"""At 50 MB/s this takes 5 ms, which is more than an event loop's noise."""
GAIN = 0.3
"""How fast a rate follows: a path's share of a link changes with who else sends."""
LEAST_MS = 0.05
BYTES_PER_MS_MIN = 1.0
BYTES_PER_MS_MAX = 10_000_000.0
"""Bounds of what is believed, as a server's own times are taken off: 1 kB/s to 10 GB/s."""
NODES_MAX = 4096


class Rates:
    """Measured bytes per ms by node; the least recently measured are forgotten first."""

    def __init__(self) -> None:
        self._bytes_per_ms: OrderedDict[NodeId, float] = OrderedDict()

    def learn(self, node: NodeId, carried_bytes: int, took_ms: float) -> None:
        """Take one exchange of so many bytes, both ways, without round trip, queue and run."""
        if carried_bytes < BIG_BYTES:
            return
        # In time and not in rate: the mean of rates would be ruled by the one that was quickest.
        per_byte = max(took_ms, LEAST_MS) / carried_bytes
        before = self._bytes_per_ms.pop(node, None)
        if before is not None:
            per_byte = 1 / before + GAIN * (per_byte - 1 / before)
        self._bytes_per_ms[node] = min(BYTES_PER_MS_MAX, max(BYTES_PER_MS_MIN, 1 / per_byte))
        while len(self._bytes_per_ms) > NODES_MAX:
            self._bytes_per_ms.popitem(last=False)

    def rate_of(self, node: NodeId) -> float | None:
        """Return the bytes that pass in a ms, or None if nothing big was exchanged yet."""
        return self._bytes_per_ms.get(node)
