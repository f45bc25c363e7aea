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
from meshnode.ids import TAG_BYTES, NodeTag
from meshnode.wire.limits import GLIMPSES_MAX
from meshnode.wire.messages import LoadRecord

_HEAD = Struct(">8sHHHB")
_ENTRY = Struct(">QH20s")
"""With the tag as a number: most of what a large mesh hears is entries, and numbers hash fast."""
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
        self._written_at: dict[int, float] = {}
        """By our clock; of two tables, because most entries are only compared with this one."""
        self._rests: dict[int, bytes] = {}
        """The entry's bytes after the age."""
        self._latest: deque[tuple[int, float, bytes]] = deque(maxlen=LATEST_MAX)
        """The entries heard last, with when they were written: those are passed on."""

    def __len__(self) -> int:
        """Return how many members are glimpsed."""
        return len(self._written_at)

    def hear(self, entries: bytes, now: float, known: Container[NodeTag]) -> None:
        """Keep entries that are younger than those held, of members that are known."""
        held, rests, latest = self._written_at, self._rests, self._latest
        oldest = now - self._age_s_max
        for tag, age, rest in _ENTRY.iter_unpack(entries):
            written_at = now - age / AGES_PER_S
            before = held.get(tag)
            if before is None:
                if written_at < oldest or _tag(tag) not in known:
                    continue
            elif before >= written_at:
                continue
            held[tag] = written_at
            rests[tag] = rest
            latest.append((tag, written_at, rest))

    def forget(self, tag: NodeTag) -> None:
        """Drop a member's glimpse."""
        number = _number(tag)
        if self._written_at.pop(number, None) is not None:
            del self._rests[number]
            kept = [entry for entry in self._latest if entry[0] != number]
            self._latest = deque(kept, maxlen=LATEST_MAX)

    def of(self, tag: NodeTag, now: float) -> Glimpse | None:
        """Return what is glimpsed of a member, or None."""
        written_at = self._written_at.get(_number(tag))
        if written_at is None or now - written_at > self._age_s_max:
            return None
        rest = self._rests[_number(tag)]
        _, _, wait, speed, flags = _HEAD.unpack_from(tag + bytes(2) + rest)
        tail = rest[_HEAD.size - 10 :]
        heads = (tail[i : i + MODULE_BYTES] for i in range(0, len(tail), MODULE_BYTES))
        return Glimpse(wait, speed, bool(flags & 1), frozenset(h for h in heads if any(h)))

    def packet(self, own: bytes, now: float) -> bytes:
        """Return our own entry and those heard last, as many as one datagram takes."""
        entries = [own]
        oldest = now - self._age_s_max
        listed: set[int] = set()
        for tag, written_at, rest in reversed(self._latest):  # of two of one member the younger
            if tag in listed or written_at < oldest:
                continue
            listed.add(tag)
            age = max(0, int((now - written_at) * AGES_PER_S))
            entries.append(_ENTRY.pack(tag, age, rest))
            if len(entries) == GLIMPSES_MAX:
                break
        return b"".join(entries)

    def forget_old(self, now: float) -> None:
        """Drop what has aged out."""
        oldest = now - self._age_s_max
        for tag in [tag for tag, at in self._written_at.items() if at < oldest]:
            del self._written_at[tag], self._rests[tag]


def _number(tag: NodeTag) -> int:
    return int.from_bytes(tag, "big")


def _tag(number: int) -> NodeTag:
    return NodeTag(number.to_bytes(TAG_BYTES, "big"))


def entry_of(tag: NodeTag, load: LoadRecord | None) -> bytes:
    """Return the entry of a node that says this of itself now; None: nothing yet."""
    if load is None:
        return _HEAD.pack(tag, 0, 0, 0, 0) + bytes(MODULES * MODULE_BYTES)
    head = _HEAD.pack(tag, 0, min(_U16, load.wait // 10), min(_U16, load.speed), int(load.draining))
    heads = b"".join(m.module[:MODULE_BYTES] for m in load.modules[:MODULES])
    return head + heads.ljust(MODULES * MODULE_BYTES, b"\0")
