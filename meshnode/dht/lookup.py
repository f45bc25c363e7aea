"""One iterative lookup: which contacts to ask next, and when to stop.

Pure bookkeeping, without time. Rolling instead of rounds: alpha queries have a slot, an answer
or a silence frees its slot at once, so one dead contact delays nothing but itself. Only contacts
among the k nearest still hopeful ones are asked, and nobody is asked twice unless he said that he
has more. It is finished when the k nearest that did not fail have answered; a contact that failed
is never among what was found.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from enum import Enum
from itertools import islice

from meshnode.dht.addresses import is_usable
from meshnode.dht.settings import DhtSettings
from meshnode.dht.table import Candidates, TableNode
from meshnode.dht.tags import TAGS_MAX
from meshnode.ids import Address, Contact, NodeId, distance


class State(Enum):
    """What became of one candidate."""

    WAITING = 0
    """Not asked yet."""
    ASKED = 1
    """Asked, and it has a slot."""
    SILENT = 2
    """Asked long enough ago that its slot is free again; it still counts as hopeful."""
    OVERDUE = 3
    """Silent beyond the patience of a lookup that has found something."""
    ANSWERED = 4
    FAILED = 5


_IN_FLIGHT = (State.ASKED, State.SILENT, State.OVERDUE)


class Lookup:
    """The state of one lookup. A target is 32 bytes: a node id or a record's key."""

    def __init__(
        self,
        target: bytes,
        own_id: NodeId,
        settings: DhtSettings,
        *,
        claims: "dict[bytes, Lookup] | None" = None,
    ) -> None:
        """`claims` is shared by the disjoint paths of one search: who asked whom."""
        self.target = target
        self.rpcs = 0
        """Contacts asked so far."""
        self._own_id = own_id
        self._settings = settings
        self._claims: dict[bytes, Lookup] = {} if claims is None else claims
        self._candidates = Candidates(target, settings.candidates_max)
        self._states: dict[bytes, State] = {}
        self._in_full = 0
        """Answers in full of such as were among the nearest then."""
        self._answered = False
        """Somebody has."""
        self._dropped = False
        """More contacts were told than could be remembered."""
        self._at_address: Counter[Address] = Counter()
        self._again: Counter[bytes] = Counter()
        self._elsewhere: dict[bytes, Contact] = {}
        """A second address of a candidate: one liar must not hide an honest node."""

    def add(self, contacts: Iterable[Contact]) -> None:
        """Consider more contacts. A known one at another address is kept for when it fails."""
        limit = self._settings.candidates_per_address_max
        for contact in contacts:
            node_id = contact.node_id
            known = self._candidates.get_node(node_id)
            if known is not None and known.contact.address != contact.address:
                self._elsewhere.setdefault(node_id, contact)
                if self._states[node_id] is State.FAILED:
                    self._fail_over(node_id)
            elif (
                known is None
                and node_id != self._own_id
                and self._at_address[contact.address] < limit
            ):
                self._at_address[contact.address] += 1
                self._candidates.push([TableNode(node_id, contact)])
                self._states[node_id] = State.WAITING
        if len(self._states) > len(self._candidates):  # the farthest were dropped
            kept = {node.id for node in self._candidates}
            self._states = {i: s for i, s in self._states.items() if i in kept}
            self._dropped = True

    def known_to(self, node_id: bytes) -> Iterable[Contact]:
        """Return the nearest candidates: what a contact that is asked need not name again.

        `node_id` says who is asked, as paths that share no contact know different ones.
        """
        del node_id
        return (node.contact for node in islice(self._candidates, TAGS_MAX))

    def wants(self, node_id: bytes, contacts: Sequence[Contact]) -> bool:
        """Return whether all these, which `node_id` told, would be asked: he may know more such."""
        del node_id
        hopeful = self._nearest(skip=(State.FAILED,))
        if len(hopeful) < self._settings.k:
            return True
        limit = distance(hopeful[-1].id, self.target)
        return all(distance(contact.node_id, self.target) < limit for contact in contacts)

    @property
    def surrounded(self) -> bool:
        """Whether so many near the target told all they know that the rest may say little."""
        return self._in_full >= self._settings.full_enough

    def taken(self) -> Iterable[Contact]:
        """Return the nearest of those asked: no other path may ask them."""
        asked = (n.contact for n in self._candidates if self._claims.get(n.id) is self)
        return islice(asked, TAGS_MAX)

    def next_queries(self, slots_max: int | None = None, *, hurried: bool = False) -> list[Contact]:
        """Return contacts to ask now; they count as asked from here on.

        `slots_max` is how many answers are still wanted, where that is known: no more are asked.
        `hurried`: somebody waits for records, which any of the k nearest may have. Then only a
        question to one of these takes a slot, and fewer are asked until the first has answered.
        """
        s = self._settings
        near = self._nearest(skip=(State.FAILED, State.SILENT, State.OVERDUE))
        slots, taken = s.alpha, self._count(State.ASKED)
        if hurried:
            slots = s.alpha_next if self._answered else s.alpha_first
            taken = sum(self._states[node.id] is State.ASKED for node in near)
        if slots_max is not None:
            slots = max(1, min(slots, slots_max))
        queries: list[Contact] = []
        for node in near:
            if len(queries) >= slots - taken or self.rpcs >= s.rpcs_max:
                break
            if self._states[node.id] is State.WAITING:
                self._states[node.id] = State.ASKED
                self._claims[node.id] = self
                self._candidates.mark_contacted(node)
                self.rpcs += 1
                queries.append(node.contact)
        return queries

    def on_answer(
        self, sender: Contact, closer: Iterable[Contact], *, in_full: bool = False
    ) -> None:
        """Note an answer, from where it came, and the contacts it brought.

        Those are candidates, nothing more: what they are worth shows when they are asked.
        `in_full`: it was asked for all that the lookup could want.
        """
        if self._states.get(sender.node_id) not in _IN_FLIGHT:
            return
        self._states[sender.node_id] = State.ANSWERED
        self._answered = True
        self._candidates.replace(TableNode(sender.node_id, sender))
        told = list(closer)[: self._settings.k]
        self.add(contact for contact in told if is_usable(contact.address))
        if in_full and any(node.id == sender.node_id for node in self._nearest(skip=())):
            self._in_full += 1

    def on_more(self, node_id: bytes) -> None:
        """Note that a contact which answered has more: it may be asked again, a few times."""
        if (
            self._states.get(node_id) is State.ANSWERED
            and self._again[node_id] < self._settings.subsets_max
        ):
            self._again[node_id] += 1
            self._states[node_id] = State.WAITING

    def on_silence(self, node_id: bytes) -> None:
        """Free the slot of a contact that takes its time."""
        if self._states.get(node_id) is State.ASKED:
            self._states[node_id] = State.SILENT

    def on_overdue(self, node_id: bytes) -> None:
        """Note that a contact is silent beyond the patience of a lookup that found something."""
        if self._states.get(node_id) in (State.ASKED, State.SILENT):
            self._states[node_id] = State.OVERDUE

    def on_failure(self, node_id: bytes) -> None:
        """Give a contact up."""
        if self._states.get(node_id) in _IN_FLIGHT:
            self._states[node_id] = State.FAILED
            self._fail_over(node_id)

    @property
    def finished(self) -> bool:
        """Whether the k nearest that did not fail have answered, or the limit of RPCs is used."""
        return self._all_answered(self._nearest(skip=(State.FAILED,)))

    @property
    def nearly_finished(self) -> bool:
        """The same without waiting for overdue contacts: good enough where something was found."""
        return self._all_answered(self._nearest(skip=(State.FAILED, State.OVERDUE)))

    @property
    def asked_everybody(self) -> bool:
        """Whether every contact that was told has been asked: nobody is left."""
        return not self._dropped and State.WAITING not in self._states.values()

    def closest(self) -> tuple[Contact, ...]:
        """Return the at most k nearest contacts that answered, nearest first."""
        others = [state for state in State if state is not State.ANSWERED]
        return tuple(node.contact for node in self._nearest(skip=others))

    def _fail_over(self, node_id: bytes) -> None:
        """Let a failed candidate be asked at its other address, if one was told; once."""
        other = self._elsewhere.get(node_id)
        if other is not None and self._again[node_id] == 0:
            self._again[node_id] += 1
            self._candidates.replace(TableNode(node_id, other))
            self._states[node_id] = State.WAITING

    def _all_answered(self, nodes: Iterable[TableNode]) -> bool:
        spent = self.rpcs >= self._settings.rpcs_max
        for node in nodes:
            state = self._states[node.id]
            if state is not State.ANSWERED and not (spent and state is State.WAITING):
                return False
        return True

    def _nearest(self, skip: Iterable[State]) -> list[TableNode]:
        """Return the k nearest candidates in none of these states, and of no other path."""
        nearest: list[TableNode] = []
        for node in self._candidates:
            if len(nearest) >= self._settings.k:
                break
            if self._states[node.id] not in skip and self._claims.get(node.id, self) is self:
                nearest.append(node)
        return nearest

    def _count(self, state: State) -> int:
        return sum(1 for s in self._states.values() if s is state)
