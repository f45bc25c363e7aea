"""Paths: one search along several disjoint paths; no node is asked by two of them.

S/Kademlia (Baumgart, Mies 2007, section 4.4). Whoever fills the neighbourhood of a key with
nodes of his own captures the k nearest, and with them every plain lookup. Of d disjoint paths K
such nodes capture at most K / k, and where they capture all, each path had to give up its nearest
to the others, so together they reach the d * k nearest. A record stored along them, at each path's
k nearest, is found along them (docs/threat-model.md).
"""

from collections.abc import Iterable, Sequence
from heapq import nsmallest

from meshnode.dht.lookup import Lookup
from meshnode.dht.settings import DhtSettings
from meshnode.dht.tags import TAGS_MAX
from meshnode.ids import Contact, NodeId, distance


class Paths:
    """Several lookups of one target that share no contact; it is used as one lookup is."""

    def __init__(self, target: bytes, own_id: NodeId, settings: DhtSettings) -> None:
        self.target = target
        self._asked_by: dict[bytes, Lookup] = {}
        self._paths = [
            Lookup(target, own_id, settings, claims=self._asked_by) for _ in range(settings.paths)
        ]

    @property
    def rpcs(self) -> int:
        """Contacts asked so far, by all paths; each is bound like a lookup."""
        return sum(path.rpcs for path in self._paths)

    def add(self, contacts: Iterable[Contact]) -> None:
        """Deal the contacts we start from out to the paths, in turn."""
        listed = list(contacts)
        for first, path in enumerate(self._paths):
            path.add(listed[first :: len(self._paths)])

    def known_to(self, node_id: bytes) -> Iterable[Contact]:
        """See `Lookup.known_to`: what the path that asks knows, and whom the others have asked."""
        own = self._asked_by.get(node_id)
        if own is None:
            return ()
        known = set(own.known_to(node_id))
        known.update(contact for path in self._paths if path is not own for contact in path.taken())
        return nsmallest(TAGS_MAX, known, key=lambda c: distance(c.node_id, self.target))

    def wants(self, node_id: bytes, contacts: Sequence[Contact]) -> bool:
        """See `Lookup.wants`."""
        path = self._asked_by.get(node_id)
        return path is not None and path.wants(node_id, contacts)

    def next_queries(self, slots_max: int | None = None, *, hurried: bool = False) -> list[Contact]:
        """Return contacts to ask now, of all paths."""
        del slots_max, hurried  # each path is looked along to its end
        return [contact for path in self._paths for contact in path.next_queries()]

    def surrounded(self, node_id: bytes) -> bool:
        """See `Lookup.surrounded`: it is of the path that asks this contact."""
        path = self._asked_by.get(node_id)
        return path is not None and path.surrounded

    def on_answer(
        self, sender: Contact, closer: Iterable[Contact], *, in_full: bool = False
    ) -> None:
        """Give an answer to the path that asked for it, and to no other."""
        if (path := self._asked_by.get(sender.node_id)) is not None:
            path.on_answer(sender, closer, in_full=in_full)

    def on_more(self, node_id: bytes) -> None:
        """See `Lookup.on_more`."""
        if (path := self._asked_by.get(node_id)) is not None:
            path.on_more(node_id)

    def on_silence(self, node_id: bytes) -> None:
        """See `Lookup.on_silence`."""
        if (path := self._asked_by.get(node_id)) is not None:
            path.on_silence(node_id)

    def on_overdue(self, node_id: bytes) -> None:
        """See `Lookup.on_overdue`."""
        if (path := self._asked_by.get(node_id)) is not None:
            path.on_overdue(node_id)

    def on_failure(self, node_id: bytes) -> None:
        """See `Lookup.on_failure`."""
        if (path := self._asked_by.get(node_id)) is not None:
            path.on_failure(node_id)

    @property
    def finished(self) -> bool:
        """Whether every path is."""
        return all(path.finished for path in self._paths)

    @property
    def nearly_finished(self) -> bool:
        """Whether every path is, without waiting for overdue contacts."""
        return all(path.nearly_finished for path in self._paths)

    def closest(self) -> tuple[Contact, ...]:
        """Return each path's k nearest that answered, all in one row, nearest first."""
        found = [contact for path in self._paths for contact in path.closest()]
        return tuple(sorted(found, key=lambda c: distance(c.node_id, self.target)))
