"""What calls to each node were measured to take beside queue and run: the way there and back.

The round trip of a call comes from small payloads: it has two event loops in it, and codec and
cipher, which a ping has not. What the path carries comes from big ones, apart from that.
"""

from collections import OrderedDict
from dataclasses import dataclass

from meshnode.ids import NodeId

SMALL_BYTES = 16 * 1024
BIG_BYTES = 256 * 1024
"""At 50 MB/s this takes 5 ms, which is more than an event loop's noise."""
RTT_GAIN = 0.1
RTT_STEP = 0.5
"""One call moves a round trip as if it had taken half as much more or less, at most: a call that
met a busy loop is no measurement of the way."""
RATE_GAIN = 0.3
"""How fast a rate follows: a path's share of a link changes with who else sends."""
LEAST_MS = 0.05
BYTES_PER_MS_MIN = 1.0
BYTES_PER_MS_MAX = 10_000_000.0
"""Bounds of what is believed, as a server's own times are taken off: 1 kB/s to 10 GB/s."""
NODES_MAX = 4096


@dataclass(slots=True)
class _Path:
    rtt_ms: float | None = None
    per_byte_ms: float | None = None


class Paths:
    """The measured ways to nodes; the least recently measured are forgotten first."""

    def __init__(self) -> None:
        self._paths: OrderedDict[NodeId, _Path] = OrderedDict()

    def learn(self, node: NodeId, carried_bytes: int, took_ms: float) -> None:
        """Take one call that carried so many bytes, both ways, less its queue and run."""
        path = self._paths.pop(node, None) or _Path()
        self._paths[node] = path
        took_ms = max(took_ms, LEAST_MS)
        if carried_bytes <= SMALL_BYTES:
            path.rtt_ms = _moved(path.rtt_ms, took_ms)
        elif carried_bytes >= BIG_BYTES:
            # In time and not in rate: the mean of rates would be ruled by the quickest.
            per_byte_ms = max(took_ms - (path.rtt_ms or 0.0), LEAST_MS) / carried_bytes
            if path.per_byte_ms is not None:
                per_byte_ms = path.per_byte_ms + RATE_GAIN * (per_byte_ms - path.per_byte_ms)
            path.per_byte_ms = min(1 / BYTES_PER_MS_MIN, max(1 / BYTES_PER_MS_MAX, per_byte_ms))
        while len(self._paths) > NODES_MAX:
            self._paths.popitem(last=False)

    def rtt_of(self, node: NodeId) -> float | None:
        """Return what a call takes there and back in ms, or None if none was made."""
        path = self._paths.get(node)
        return None if path is None else path.rtt_ms

    def rate_of(self, node: NodeId) -> float | None:
        """Return the bytes that pass in a ms, or None if nothing big was exchanged yet."""
        path = self._paths.get(node)
        return None if path is None or path.per_byte_ms is None else 1 / path.per_byte_ms


def _moved(rtt_ms: float | None, took_ms: float) -> float:
    """Return a round trip after one more measurement."""
    if rtt_ms is None:
        return min(took_ms, 1000.0)
    step_ms = min(RTT_STEP * rtt_ms, max(-RTT_STEP * rtt_ms, took_ms - rtt_ms))
    return rtt_ms + RTT_GAIN * step_ms
