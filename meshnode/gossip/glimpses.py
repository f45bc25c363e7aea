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
from itertools import islice
from struct import Struct
from typing import TypeAlias

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
Heard: TypeAlias = tuple[int, float, bytes]
"""An entry as it is kept: the tag's number, when it was written by our clock, and the bytes after
the age. A tuple, since a large mesh makes a hundred thousand a second of them in a simulation."""


@dataclass(frozen=True, slots=True)
class Glimpse:
    """What an entry says."""

    wait_ms: int
    speed: int
    draining: bool
    modules: frozenset[bytes]
    """Heads of the hashes of modules held there."""


class GlimpseTable:
    """The youngest glimpse of each member; as many as there are members.

    One that has aged out is told to nobody, and stays until the member is heard of again or gone:
    to look for them in every table took a tenth of a run of 2,000 nodes.
    """

    def __init__(self, settings: GossipSettings) -> None:
        self._age_s_max = settings.glimpse_age_s_max
        self._held: dict[int, Heard] = {}
        self._latest: deque[Heard] = deque(maxlen=LATEST_MAX)
        """The entries heard last: those are passed on."""

    def __len__(self) -> int:
        """Return how many members are glimpsed."""
        return len(self._held)

    def hear(self, entries: bytes, now: float, known: Container[NodeTag]) -> None:
        """Keep entries that are younger than those held, of members that are known."""
        held, latest, oldest = self._held, self._latest, now - self._age_s_max
        for tag, age, rest in _ENTRY.iter_unpack(entries):
            written_at = now - age / AGES_PER_S
            before = held.get(tag)
            if before is None:
                if written_at < oldest or tag.to_bytes(TAG_BYTES, "big") not in known:
                    continue
            elif before[1] >= written_at:
                continue
            held[tag] = entry = (tag, written_at, rest)
            latest.append(entry)

    def forget(self, tag: NodeTag) -> None:
        """Drop a member's glimpse."""
        number = _number(tag)
        if self._held.pop(number, None) is not None:
            kept = [entry for entry in self._latest if entry[0] != number]
            self._latest = deque(kept, maxlen=LATEST_MAX)

    def of(self, tag: NodeTag, now: float) -> Glimpse | None:
        """Return what is glimpsed of a member, or None."""
        heard = self._held.get(_number(tag))
        if heard is None or now - heard[1] > self._age_s_max:
            return None
        rest = heard[2]
        _, _, wait, speed, flags = _HEAD.unpack_from(tag + bytes(2) + rest)
        tail = rest[_HEAD.size - 10 :]
        heads = (tail[i : i + MODULE_BYTES] for i in range(0, len(tail), MODULE_BYTES))
        return Glimpse(wait, speed, bool(flags & 1), frozenset(h for h in heads if any(h)))

    def packet(self, own: bytes, now: float) -> bytes:
        """Return our own entry and those heard last, as many as one datagram takes."""
        oldest = now - self._age_s_max
        told = list(islice(reversed(self._latest), GLIMPSES_MAX - 1))
        written = {tag: written_at for tag, written_at, _ in told}
        if told and (len(written) < len(told) or min(written.values()) < oldest):
            told = self._distinct(oldest)  # in a large mesh that is rare
        pack = _ENTRY.pack
        return own + b"".join(
            [
                pack(tag, int((now - written_at) * AGES_PER_S) if written_at < now else 0, rest)
                for tag, written_at, rest in told
            ]
        )

    def _distinct(self, oldest: float) -> list[Heard]:
        """Return those heard last that are not too old; of two of one member the younger."""
        chosen: dict[int, Heard] = {}
        for heard in reversed(self._latest):
            if heard[1] >= oldest:
                chosen.setdefault(heard[0], heard)
        return list(chosen.values())[: GLIMPSES_MAX - 1]


def _number(tag: NodeTag) -> int:
    return int.from_bytes(tag, "big")


def entry_of(tag: NodeTag, load: LoadRecord | None) -> bytes:
    """Return the entry of a node that says this of itself now; None: nothing yet."""
    if load is None:
        return _HEAD.pack(tag, 0, 0, 0, 0) + bytes(MODULES * MODULE_BYTES)
    head = _HEAD.pack(tag, 0, min(_U16, load.wait // 10), min(_U16, load.speed), int(load.draining))
    heads = b"".join(m.module[:MODULE_BYTES] for m in load.modules[:MODULES])
    return head + heads.ljust(MODULES * MODULE_BYTES, b"\0")
