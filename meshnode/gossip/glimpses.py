"""Glimpses: the wide view of a large mesh, 30 bytes about each member, for discovery only.

An entry is

    tag 8 || age u16 (0.1 s) || wait u16 (ms) || speed u16 (0.1 ms) || flags u8 || modules 5 x 3

`flags` bit 0: takes no new work. A module is the first 3 bytes of its hash, those of warm lanes
first; zeros fill up. Entries are quoted by everybody and signed by nobody: they say only whom to
subscribe to, and the member itself then says how busy it is.
"""

from collections import deque
from collections.abc import Container
from dataclasses import dataclass
from struct import Struct

from meshnode.gossip.settings import GossipSettings
from meshnode.ids import NodeTag
from meshnode.wire.limits import GLIMPSES_MAX
from meshnode.wire.messages import LoadRecord

_HEAD = Struct(">8sHHHB")
_ENTRY = Struct(">8sH20s")
LATEST_MAX = 2 * GLIMPSES_MAX
MODULE_BYTES = 3
MODULES = 5
AGES_PER_S = 10
_U16 = 2**16 - 1


@dataclass(frozen=True, slots=True)
class Glimpse:
    """What an entry says."""

    wait_ms: int
    speed: int
    draining: bool
    modules: frozenset[bytes]
    """Heads of the hashes of modules held there."""


class GlimpseTable:
    """The youngest glimpse of each member; as many as there are members."""

    def __init__(self, settings: GossipSettings) -> None:
        self._age_s_max = settings.glimpse_age_s_max
        self._held: dict[NodeTag, tuple[float, bytes]] = {}
        """When it was written, by our clock, and the entry's bytes after the age."""
        self._latest: deque[NodeTag] = deque(maxlen=LATEST_MAX)
        """Whose entry was heard last: those are passed on."""

    def __len__(self) -> int:
        """Return how many members are glimpsed."""
        return len(self._held)

    def hear(self, entries: bytes, now: float, known: Container[NodeTag]) -> None:
        """Keep entries that are younger than those held, of members that are known."""
        held, latest = self._held, self._latest
        oldest = now - self._age_s_max
        for raw, age, rest in _ENTRY.iter_unpack(entries):
            written_at = now - age / AGES_PER_S
            before = held.get(raw)
            if before is None:
                if written_at < oldest or raw not in known:
                    continue
            elif before[0] >= written_at:
                continue
            held[raw] = (written_at, rest)
            latest.append(raw)

    def forget(self, tag: NodeTag) -> None:
        """Drop a member's glimpse."""
        self._held.pop(tag, None)

    def of(self, tag: NodeTag, now: float) -> Glimpse | None:
        """Return what is glimpsed of a member, or None."""
        held = self._held.get(tag)
        if held is None or now - held[0] > self._age_s_max:
            return None
        _, _, wait, speed, flags = _HEAD.unpack_from(tag + bytes(2) + held[1])
        tail = held[1][_HEAD.size - 10 :]
        heads = (tail[i : i + MODULE_BYTES] for i in range(0, len(tail), MODULE_BYTES))
        return Glimpse(wait, speed, bool(flags & 1), frozenset(h for h in heads if any(h)))

    def packet(self, own: bytes, now: float) -> bytes:
        """Return our own entry and those heard last, as many as one datagram takes."""
        entries = [own]
        oldest = now - self._age_s_max
        for tag in dict.fromkeys(reversed(self._latest)):
            held = self._held.get(tag)
            if held is None or held[0] < oldest:
                continue
            age = max(0, int((now - held[0]) * AGES_PER_S))
            entries.append(_ENTRY.pack(tag, age, held[1]))
            if len(entries) == GLIMPSES_MAX:
                break
        return b"".join(entries)

    def forget_old(self, now: float) -> None:
        """Drop what has aged out."""
        old = [tag for tag, (at, _) in self._held.items() if now - at > self._age_s_max]
        for tag in old:
            del self._held[tag]


def entry_of(tag: NodeTag, load: LoadRecord | None) -> bytes:
    """Return the entry of a node that says this of itself now; None: nothing yet."""
    if load is None:
        return _HEAD.pack(tag, 0, 0, 0, 0) + bytes(MODULES * MODULE_BYTES)
    head = _HEAD.pack(tag, 0, min(_U16, load.wait // 10), min(_U16, load.speed), int(load.draining))
    heads = b"".join(m.module[:MODULE_BYTES] for m in load.modules[:MODULES])
    return head + heads.ljust(MODULES * MODULE_BYTES, b"\0")
