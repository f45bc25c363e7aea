"""The horizon: whether the routing table holds the whole mesh, as far as others' answers tell.

In a mesh of a few dozen nodes everybody knows everybody, and a lookup asks all of them only to hear
so once more. It is so while the table turned nobody away, is no larger than what the disjoint
paths reach, and no answer has named a node that we do not know. A newcomer in a large mesh hears of
strangers with every answer. In a small one whom they name is soon known too, and then they have
agreed all along.
"""

from collections import Counter
from collections.abc import Iterable
from enum import Enum
from math import inf

from meshnode.dht.addresses import is_usable
from meshnode.dht.errands import Errand, Search
from meshnode.dht.settings import DhtSettings
from meshnode.dht.table import Table
from meshnode.dht.upkeep import Upkeep
from meshnode.ids import Address, Contact, NodeId

AGREED_LASTS_S = 300.0
"""How long the word of a node counts that it knows nobody whom we do not."""
CROWD_MAX = 1.7
"""Where the mesh looks so many times as large as the table: that guess errs by a quarter."""
AGREED_MIN = 3
"""So many must have said it before anything is built on it, and a quarter of those known."""
MEET_S = 10.0
"""Whom a lookup heard of is met at its end: longer than it takes, and too short to try the dead
again and again."""
GROWTH_MAX = 1.25
"""A word given when the table was smaller by more says nothing of the mesh that came since."""
STRANGERS_MAX = 128
"""Strangers remembered until they are known; beyond, the one named longest ago is forgotten."""


class View(Enum):
    """How much of the mesh is known here."""

    PART = 0
    """There are others: they have to be looked for."""
    LIKELY_ALL = 1
    """A quarter of those known said lately that they know nobody else, but not yet half."""
    ALL = 2
    """Half of those known said so."""


class Horizon:
    """Counts who agrees with our table, since somebody was named who is a stranger still."""

    def __init__(self, own_id: NodeId, table: Table, upkeep: Upkeep, settings: DhtSettings) -> None:
        self._own_id = own_id
        self._table = table
        self._upkeep = upkeep
        self._k = settings.k
        self._size_max = settings.k * settings.paths
        self._per_address_max = settings.candidates_per_address_max
        self._agreed: dict[NodeId, tuple[float, int]] = {}
        """When each contact last answered, and had told all it knew near what it was asked; and how
        many we knew then."""
        self._declined_at = -inf
        """When somebody last asked us whom our table had no use for."""
        self._strangers: dict[NodeId, tuple[float, Contact]] = {}
        """When each was last named, in that order; forgotten once known."""

    def told(
        self,
        sender: NodeId,
        contacts: Iterable[Contact],
        now: float,
        errand: Errand | None = None,
        *,
        cut: bool = False,
    ) -> None:
        """Note whom an answer to a question for contacts named; `cut`: it may know more.

        Whoever was asked for a search was told whom that had heard of, and did not name them.
        """
        if len(self._table) > self._size_max:
            self._agreed.clear()
            self._strangers.clear()
            return
        unnamed = errand.lookup.known_to(sender) if isinstance(errand, Search) else ()
        for contact in (*contacts, *unnamed):
            if contact.node_id != self._own_id and not self._knows(contact.node_id):
                self._strangers.pop(contact.node_id, None)
                self._strangers[contact.node_id] = now, contact
        while len(self._strangers) > STRANGERS_MAX:
            del self._strangers[next(iter(self._strangers))]
        if cut:
            self._agreed.pop(sender, None)
        elif self._table.get(sender) is not None:
            self._agreed[sender] = now, len(self._table)

    def declined(self, now: float) -> None:
        """Note that somebody is there whom we chose not to know."""
        self._declined_at = now

    def view(self, now: float) -> View:
        """Return how much of the mesh the table holds."""
        size = len(self._table)
        if not 0 < size <= self._size_max or self._turned_away:
            return View.PART
        if now - self._declined_at < AGREED_LASTS_S:
            return View.PART
        crowded = size >= self._k and self._upkeep.crowd() > CROWD_MAX * size
        if crowded:
            return View.PART
        since = max(now - AGREED_LASTS_S, self._stranger_named_at())
        agree = sum(
            at > since and size <= GROWTH_MAX * known and self._table.get(i) is not None
            for i, (at, known) in self._agreed.items()
        )
        if agree < min(AGREED_MIN, size) or 4 * agree < size:
            return View.PART
        sure = size >= self._k and 2 * agree >= size
        return View.ALL if sure else View.LIKELY_ALL

    def keepers(self, key: bytes, now: float) -> list[Contact]:
        """Return whom we know of the nodes that should keep a record, nearest to its key first."""
        self._table.touch(key, now)
        return self._table.closest_sound(key, self._size_max, now)

    @property
    def _turned_away(self) -> bool:
        """Whether somebody answered us for whom no bucket has room."""
        return any(bucket.replacement_nodes for bucket in self._table.buckets)

    def to_meet(self, now: float) -> list[Contact]:
        """Return who was named lately and is not known yet; few at one address, or liars who name
        a victim would turn us against it."""
        at_address: Counter[Address] = Counter()
        found: list[Contact] = []
        for named_at, contact in self._strangers.values():
            if now - named_at > MEET_S or self._knows(contact.node_id):
                continue
            at_address[contact.address] += 1
            if at_address[contact.address] <= self._per_address_max and is_usable(contact.address):
                found.append(contact)
        return found

    def _stranger_named_at(self) -> float:
        """Return when somebody was last named who is a stranger still: who said so knows more."""
        for node_id in [i for i in self._strangers if self._knows(i)]:
            del self._strangers[node_id]
        return max((named_at for named_at, _ in self._strangers.values()), default=-inf)

    def _knows(self, node_id: NodeId) -> bool:
        return self._table.get(node_id) is not None or self._upkeep.has_lost(node_id)
