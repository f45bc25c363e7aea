"""The horizon: whether the routing table holds the whole mesh, as far as others' answers tell.

In a mesh of a few dozen nodes everybody knows everybody, and a lookup asks all of them only to hear
so once more. It is so while the table turned nobody away, is no larger than what the disjoint
paths reach, and no answer has named a node that we do not know. A newcomer in a large mesh hears of
strangers with every answer.
"""

from collections.abc import Iterable
from enum import Enum

from meshnode.dht.errands import Errand, Search
from meshnode.dht.settings import DhtSettings
from meshnode.dht.table import Table
from meshnode.dht.upkeep import Upkeep
from meshnode.ids import Contact, NodeId

AGREED_LASTS_S = 300.0
"""How long the word of a node counts that it knows nobody whom we do not."""
CROWD_MAX = 1.7
"""Where the mesh looks so many times as large as the table: that guess errs by a quarter."""
AGREED_MIN = 3
"""So many must have said it before anything is built on it."""


class View(Enum):
    """How much of the mesh is known here."""

    PART = 0
    """There are others: they have to be looked for."""
    LIKELY_ALL = 1
    """Whoever was asked lately knows nobody else, and that was not half of them yet."""
    ALL = 2
    """Half of those known said so."""


class Horizon:
    """Counts who agrees with our table, since a stranger was last named."""

    def __init__(self, own_id: NodeId, table: Table, upkeep: Upkeep, settings: DhtSettings) -> None:
        self._own_id = own_id
        self._table = table
        self._upkeep = upkeep
        self._k = settings.k
        self._size_max = settings.k * settings.paths
        self._agreed: dict[NodeId, float] = {}
        """When each contact last answered and named nobody new; cleared by a new name."""

    def told(
        self,
        sender: NodeId,
        contacts: Iterable[Contact],
        now: float,
        errand: Errand | None = None,
    ) -> None:
        """Note whom an answer to a question for contacts named.

        Whoever was asked for a search was told whom that had heard of, and did not name them.
        """
        if len(self._table) > self._size_max:
            self._agreed.clear()
            return
        unnamed = errand.lookup.known_to(sender) if isinstance(errand, Search) else ()
        for contact in (*contacts, *unnamed):
            if contact.node_id != self._own_id and not self._knows(contact.node_id):
                self._agreed.clear()
                return
        if self._table.get(sender) is not None:
            self._agreed[sender] = now

    def view(self, now: float) -> View:
        """Return how much of the mesh the table holds."""
        size = len(self._table)
        if not 0 < size <= self._size_max or self._turned_away:
            return View.PART
        crowded = size >= self._k and self._upkeep.crowd() > CROWD_MAX * size
        if crowded:
            return View.PART
        since = now - AGREED_LASTS_S
        agree = sum(
            1 for i, at in self._agreed.items() if at >= since and self._table.get(i) is not None
        )
        if agree < min(AGREED_MIN, size):
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

    def _knows(self, node_id: NodeId) -> bool:
        return self._table.get(node_id) is not None or self._upkeep.has_lost(node_id)
