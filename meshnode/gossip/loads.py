"""The newest load record of each member, ageing while it is held, and the freshest to pass on.

placement.md section 2: ages accumulate (each relay adds its holding time), so no clocks need to
agree. What a node says of itself on its own channel stands above what others quote of it.
"""

from dataclasses import dataclass, replace
from heapq import nsmallest

from meshnode.ids import NodeTag
from meshnode.wire.messages import LoadRecord

AGE_MS_MAX = 2**32 - 1
"""What the wire can say: 49 days."""

QUOTED_AHEAD_MAX = 2**20
"""How far a quoted record's sequence may be beyond what its node said itself: as many records as
three days have. A restart, which is further, is said by the node itself within seconds."""

APART_S = 0.1
"""How far two ages of one record may be apart by the estimates of its ways."""


@dataclass(frozen=True, slots=True)
class _Held:
    """A record, when by our clock its node wrote it, and what the node last said itself."""

    record: LoadRecord
    written_at: float
    said: int | None
    """The highest sequence that came from the node itself; None if none did."""


class LoadTable:
    """Records by node; as many as there are members, since only theirs are taken."""

    def __init__(self, age_s_max: float) -> None:
        self._age_s_max = age_s_max
        self._held: dict[NodeTag, _Held] = {}

    def hear(
        self, record: LoadRecord, one_way_ms: float, now: float, *, direct: bool = False
    ) -> LoadRecord | None:
        """Keep a record if it is newer than the one held and not too old.

        `direct`: it came from its own node. Returns it with the time of its way added to its age,
        or None if it was not kept.
        """
        written_at = now - (record.age_ms + one_way_ms) / 1000
        if record.age_ms < 0 or now - written_at > self._age_s_max:
            return None
        held = self._held.get(record.node)
        if held is not None and now - held.written_at > self._age_s_max:
            held = None
        if held is not None and not _newer(record, written_at, held, direct):
            if direct and record.sequence == held.record.sequence:
                self._held[record.node] = replace(held, said=record.sequence)
            return None
        said = record.sequence if direct else (held.said if held is not None else None)
        self._held[record.node] = _Held(record, written_at, said)
        return aged(record, written_at, now) if one_way_ms >= 1.0 else record

    def is_late(self, record: LoadRecord) -> bool:
        """Return whether a record was overtaken: what it tells of a module may be news even so."""
        held = self._held.get(record.node)
        tells = record.rest is not None and bool(record.modules)
        return tells and held is not None and record.sequence < held.record.sequence

    def forget(self, node: NodeTag) -> None:
        """Drop a node's record (it died, left, or was reborn and counts anew)."""
        self._held.pop(node, None)

    def freshest(self, count: int, now: float) -> list[LoadRecord]:
        """Return the `count` youngest records with their present ages, youngest first."""
        usable = (h for h in self._held.values() if now - h.written_at <= self._age_s_max)
        youngest = nsmallest(count, usable, key=lambda held: -held.written_at)
        return [aged(held.record, held.written_at, now) for held in youngest]


def _newer(record: LoadRecord, written_at: float, held: _Held, direct: bool) -> bool:
    """Return whether a record stands above the one held."""
    ahead = held.said is not None and record.sequence > held.said + QUOTED_AHEAD_MAX
    if record.sequence > held.record.sequence:
        return direct or not ahead
    # A node writes its records in order: one quoted before, with a higher sequence, was invented.
    invented = record.sequence < held.record.sequence and written_at > held.written_at + APART_S
    return direct and invented and (held.said is None or record.sequence > held.said)


def aged(record: LoadRecord, written_at: float, now: float) -> LoadRecord:
    """Return a record as it is passed on at `now`."""
    return replace(record, age_ms=min(AGE_MS_MAX, max(0, round((now - written_at) * 1000))))
