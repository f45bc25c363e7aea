"""What calls to each node were measured to take beside queue and run: the way there and back.

The round trip of a call comes from small payloads: it has two event loops in it, and codec and
cipher, which a ping has not. What the path carries comes from the others, apart from that: the more
they carry, the more they say. At the own node it is what the event loop takes.
"""

from collections import OrderedDict
from dataclasses import dataclass

from meshnode.ids import ContentHash, NodeId

SMALL_BYTES = 16 * 1024
BIG_BYTES = 256 * 1024
"""At 50 MB/s this takes 5 ms, which is more than an event loop's noise: one alone tells a rate."""
EARLY = 3
FAR = 1.6
"""Of the first few measurements, those before one so many times shorter met a connection that was
being made, or caches that were cold: they are forgotten."""
RTT_GAIN = 0.1
RTT_STEP = 0.5
"""One call moves a round trip as if it had taken half as much more or less, at most: a call that
met a busy loop is no measurement of the way."""
RATE_GAIN = 0.3
"""How fast a rate follows big payloads: a path's share of a link changes with who else sends."""
PRIOR_BYTES_PER_MS = 50_000.0
"""What payloads that are not big begin to correct."""
LEAST_MS = 0.05
BYTES_PER_MS_MIN = 1.0
BYTES_PER_MS_MAX = 10_000_000.0
"""Bounds of what is believed, as a server's own times are taken off: 1 kB/s to 10 GB/s."""
NODES_MAX = 4096
MODULES_MAX = 1024
ANSWER_GAIN = 0.1


@dataclass(slots=True)
class _Path:
    rtt_ms: float | None = None
    small: int = 0
    """Payloads that told the round trip."""
    per_byte_ms: float | None = None
    carried: float = 0.0
    """What told the rate, in big payloads."""


class Paths:
    """The measured ways to nodes; the least recently measured are forgotten first."""

    def __init__(self) -> None:
        self._paths: OrderedDict[NodeId, _Path] = OrderedDict()

    def learn(
        self, node: NodeId, carried_bytes: int, took_ms: float, assumed_rtt_ms: float = 0.0
    ) -> None:
        """Take one call that carried so many bytes, both ways, less its queue and run.

        While no small payload has told the round trip, the assumed one is taken off.
        """
        path = self._paths.pop(node, None) or _Path()
        self._paths[node] = path
        took_ms = max(took_ms, LEAST_MS)
        if carried_bytes <= SMALL_BYTES:
            _learn_rtt(path, took_ms - carried_bytes * (path.per_byte_ms or 0.0))
        else:
            rtt_ms = assumed_rtt_ms if path.rtt_ms is None else path.rtt_ms
            _learn_rate(path, carried_bytes, took_ms - rtt_ms, rtt_ms)
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


class Answers:
    """How large the answers of modules are, for each byte that they were asked with."""

    def __init__(self) -> None:
        self._per_byte: OrderedDict[ContentHash, float] = OrderedDict()

    def learn(self, module: ContentHash, payload_bytes: int, answer_bytes: int) -> None:
        """A request was answered."""
        seen = answer_bytes / max(1, payload_bytes)
        known = self._per_byte.pop(module, seen)
        self._per_byte[module] = known + ANSWER_GAIN * (seen - known)
        while len(self._per_byte) > MODULES_MAX:
            self._per_byte.popitem(last=False)

    def carried_bytes(self, module: ContentHash, payload_bytes: int) -> int:
        """Return how many bytes a request and its answer will be together."""
        return payload_bytes + round(payload_bytes * self._per_byte.get(module, 0.0))


def _learn_rtt(path: _Path, took_ms: float) -> None:
    took_ms = max(LEAST_MS, took_ms)
    rtt_ms = path.rtt_ms
    if rtt_ms is None or (path.small <= EARLY and took_ms < rtt_ms / FAR):
        path.rtt_ms = min(took_ms, 1000.0)
        path.small = 1
        return
    path.small += 1
    step_ms = min(RTT_STEP * rtt_ms, max(-RTT_STEP * rtt_ms, took_ms - rtt_ms))
    path.rtt_ms = rtt_ms + max(RTT_GAIN, 1 / path.small) * step_ms


def _learn_rate(path: _Path, carried_bytes: int, took_ms: float, rtt_ms: float) -> None:
    """In time and not in rate: the mean of rates would be ruled by the quickest."""
    weight = min(1.0, carried_bytes / BIG_BYTES)
    seen_ms = max(LEAST_MS, took_ms) / carried_bytes
    known_ms = path.per_byte_ms
    first = weight == 1.0 and path.carried < 1.0
    early = known_ms is not None and path.carried <= EARLY and seen_ms < known_ms / FAR
    if first or (weight == 1.0 and early):
        path.carried, per_byte_ms = 1.0, seen_ms
    else:
        known_ms = 1 / PRIOR_BYTES_PER_MS if known_ms is None else known_ms
        expected_ms = carried_bytes * known_ms
        # What is small beside the round trip's own noise may seem to take less than nothing.
        bound_ms = max(expected_ms, RTT_STEP * rtt_ms)
        step_ms = min(bound_ms, max(-bound_ms, took_ms - expected_ms))
        path.carried += weight
        gain = weight * max(RATE_GAIN, 1 / (1.0 + path.carried))
        per_byte_ms = known_ms + gain * step_ms / carried_bytes
    path.per_byte_ms = min(1 / BYTES_PER_MS_MIN, max(1 / BYTES_PER_MS_MAX, per_byte_ms))
