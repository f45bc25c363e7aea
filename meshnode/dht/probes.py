"""Probes: questions whose only purpose is to see whether a contact answers.

They bring strangers into the table (verification) and dead contacts out of it (liveness). Both
are bounded, so that nobody can make us ask much by asking us much.
"""

from collections import OrderedDict
from collections.abc import Iterable

from meshnode.dht.addresses import is_usable
from meshnode.dht.calls import Call, Calls
from meshnode.dht.errands import Errand, Probe, Purpose
from meshnode.dht.settings import DhtSettings
from meshnode.dht.table import Table
from meshnode.dht.tags import TAGS_MAX
from meshnode.dht.upkeep import Upkeep
from meshnode.ids import Contact, NodeId, distance
from meshnode.wire.messages import FindNode, Send

REMEMBERED_MAX = 1024
"""Contacts of which we remember when we asked them; beyond, the oldest may be asked again."""


class Probes:
    """Asks contacts for a sign of life."""

    def __init__(
        self, table: Table, calls: Calls[Errand], upkeep: Upkeep, settings: DhtSettings
    ) -> None:
        self._table = table
        self._calls = calls
        self._upkeep = upkeep
        self._settings = settings
        self._asked_at: OrderedDict[NodeId, float] = OrderedDict()
        self._under_way = 0

    def verify(self, contact: Contact, now: float) -> list[Send]:
        """Ask a contact that is not in the table, if the table has use for it."""
        asked_at = self._asked_at.get(contact.node_id)
        if asked_at is not None and now - asked_at < self._settings.verify_again_s:
            return []
        if not self._table.wants(contact):
            return []
        sends = self._ask(contact, now, None, Purpose.VERIFY)
        if sends:
            self._asked_at[contact.node_id] = now
            self._asked_at.move_to_end(contact.node_id)
            while len(self._asked_at) > REMEMBERED_MAX:
                self._asked_at.popitem(last=False)
        return sends

    def declines(self, asker: Contact) -> bool:
        """Return whether a stranger who asked us is not to be asked back.

        He is if he is near us, few are known at his distance, or all should know each other.
        """
        return self._table.get(asker.node_id) is None and not self._needs(asker)

    def _needs(self, contact: Contact) -> bool:
        own_id, k = self._table.node.id, self._settings.k
        if len(self._table) < 2 * k or 2 * self._table.count_at(contact.node_id) < k:
            return True
        if self._upkeep.small:
            return True
        farthest = self._table.closest(own_id, k)[-1]
        return distance(contact.node_id, own_id) < distance(farthest.node_id, own_id)

    def explore(self, targets: Iterable[bytes], now: float) -> list[Send]:
        """For each target ask the nearest contact we know for those near it, and verify a few."""
        sends: list[Send] = []
        for target in targets:
            for contact in self._table.closest(target, 1):
                sends += self._ask(contact, now, target, Purpose.EXPLORE)
        return sends

    def exchange(self, contact: Contact, now: float) -> list[Send]:
        """Ask a contact who is near us, and verify a few that we do not know."""
        return self._ask(contact, now, self._table.node.id, Purpose.EXPLORE)

    def check(self, contact: Contact, now: float) -> list[Send]:
        """Ask a contact for a sign of life: a third of what an answer full of contacts costs."""
        return self._ask(contact, now, None, Purpose.CHECK)

    def _ask(
        self, contact: Contact, now: float, near: bytes | None, purpose: Purpose
    ) -> list[Send]:
        """Ask a contact who is near a target, if one is given, unless too many are asked."""
        s, own_id = self._settings, self._table.node.id
        if self._under_way >= s.verifying_max or contact.node_id == own_id:
            return []
        self._under_way += 1
        count, follow_max = (s.k, s.verified_of_answer_max) if near else (0, 0)
        known = self._table.closest(near, TAGS_MAX) if near else ()
        tags = self._calls.tags_of(known)
        question = FindNode(rpc=0, target=near or own_id, count=count, known=tags)
        probe = Probe(contact=contact, purpose=purpose, follow_max=follow_max)
        return [self._calls.ask(contact, question, probe, now, retries=s.upkeep_retries_max)]

    def follow(self, probe: Probe, told: Iterable[Contact], now: float) -> list[Send]:
        """Verify the contacts that the answer to a probe brought, if it is one to be followed."""
        sends: list[Send] = []
        for contact in list(told)[: self._settings.k]:
            if len(sends) >= probe.follow_max:
                break
            if is_usable(contact.address):
                sends += self.verify(contact, now)
        return sends

    def ended(self, call: Call[Errand]) -> None:
        """Note that a call is over, one way or the other."""
        if isinstance(call.owner, Probe):
            self._under_way -= 1
