"""Listed: the modules that a node publishes, each at a place that it keeps while it is published.

Excerpts of load records speak of modules by their places (`wire/excerpts.py`).
"""

from collections.abc import Collection, Iterable, Sequence

from meshnode.ids import ContentHash, tag_of
from meshnode.wire.excerpts import listed
from meshnode.wire.limits import MODULES_PER_LOAD_MAX


class Listed:
    """The list of one node."""

    __slots__ = ("_known", "_places", "checksum")

    def __init__(self) -> None:
        self._places: list[ContentHash] = []
        self._known: frozenset[ContentHash] = frozenset()
        self.checksum = 0
        """Of the list that `keep` returned last."""

    def keep(self, shown: Sequence[ContentHash]) -> list[ContentHash]:
        """Return these modules by their places: new ones take those of modules that are gone."""
        wanted = frozenset(shown)
        if wanted != self._known:
            fresh = [m for m in dict.fromkeys(shown) if m not in self._known]
            kept = [m if m in wanted else None for m in self._places]
            filled = [m if m is not None or not fresh else fresh.pop(0) for m in kept]
            self._places = [m for m in (*filled, *fresh) if m is not None]
            self._known = wanted
            self.checksum = listed(tag_of(m) for m in self._places)
        return self._places


def shown(
    held: Sequence[ContentHash], warm: Collection[ContentHash], run: Iterable[ContentHash]
) -> list[ContentHash]:
    """Return the modules to publish, the most telling first; `run` has them as they last ran."""
    if len(held) <= MODULES_PER_LOAD_MAX:
        return [*held, *(m for m in warm if m not in held)][:MODULES_PER_LOAD_MAX]
    recent = {m: i for i, m in enumerate(run)}
    order = sorted(held, key=lambda m: (m not in warm, -recent.get(m, -1)))
    return order[:MODULES_PER_LOAD_MAX]
