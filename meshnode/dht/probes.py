"""Probes: questions whose only purpose is to see whether a contact answers.

They bring strangers into the table (verification) and dead contacts out of it (liveness). Both
are bounded, so that nobody can make us ask much by asking us much.
"""

from collections import OrderedDict
from collections.abc import Iterable

from meshnode.dht.addresses import is_usable
from meshnode.dht.calls import Call, Calls
from meshnode.dht.errands import Errand, Probe
from meshnode.dht.settings import DhtSettings
from meshnode.dht.table import Table
from meshnode.ids import Contact, NodeId
from meshnode.wire.messages import FindNode, Send

REMEMBERED_MAX = 1024
"""Contacts of which we remember when we asked them; beyond, the oldest may be asked again."""


class Probes:
    """Asks contacts for a sign of life."""

    def __init__(self, table: Table, calls: Calls[Errand], settings: DhtSettings) -> None:
        self._table = table
        self._calls = calls
        self._settings = settings
        self._asked_at: OrderedDict[NodeId, float] = OrderedDict()
        self._under_way = 0

    def verify(self, contact: Contact, now: float, *, follow: bool = False) -> list[Send]:
        """Ask a contact that is not in the table, if the table has use for it."""
        asked_at = self._asked_at.get(contact.node_id)
        if asked_at is not None and now - asked_at < self._settings.verify_again_s:
            return []
        if not self._table.wants(contact):
            return []
        sends = self.check(contact, now, follow=follow)
        if sends:
            self._asked_at[contact.node_id] = now
            self._asked_at.move_to_end(contact.node_id)
            while len(self._asked_at) > REMEMBERED_MAX:
                self._asked_at.popitem(last=False)
        return sends

    def check(self, contact: Contact, now: float, *, follow: bool = True) -> list[Send]:
        """Ask a contact now, unless too many are being asked already.

        The question is for a sign of life, which costs a third of an answer full of contacts; with
        `follow` it is who is near us, and whoever the answer names is verified too.
        """
        own_id = self._table.node.id
        if self._under_way >= self._settings.verifying_max or contact.node_id == own_id:
            return []
        self._under_way += 1
        question = FindNode(rpc=0, target=own_id, count=self._settings.k if follow else 0)
        probe = Probe(contact=contact, follow=follow)
        return [self._calls.ask(contact, question, probe, now)]

    def follow(self, probe: Probe, told: Iterable[Contact], now: float) -> list[Send]:
        """Verify the contacts that the answer to a probe brought, if it is one to be followed."""
        if not probe.follow:
            return []
        some = [contact for contact in told if is_usable(contact.address)]
        return [s for contact in some[: self._settings.k] for s in self.verify(contact, now)]

    def ended(self, call: Call[Errand]) -> None:
        """Note that a call is over, one way or the other."""
        if isinstance(call.owner, Probe):
            self._under_way -= 1
