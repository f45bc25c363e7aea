"""The lookups of one node: how many run at once, which wait in line, and whom each asks next."""

from collections import deque
from dataclasses import replace

from meshnode.dht.calls import Call, Calls, Question, Silence
from meshnode.dht.counters import Counters
from meshnode.dht.errands import Errand, Publication, Search
from meshnode.dht.lookup import Lookup
from meshnode.dht.paths import Paths
from meshnode.dht.settings import DhtSettings
from meshnode.dht.table import Table
from meshnode.ids import Contact, NodeId
from meshnode.wire.messages import FindNode, FoundNodes, FoundRecords, GetRecords, PutRecord, Send


class Searches:
    """Runs searches; what has ended lies in `finished` until it is taken."""

    def __init__(
        self,
        own_id: NodeId,
        table: Table,
        calls: Calls[Errand],
        counters: Counters,
        settings: DhtSettings,
        *,
        passive: bool,
    ) -> None:
        self.finished: deque[Search] = deque()
        self._own_id = own_id
        self._table = table
        self._calls = calls
        self._counters = counters
        self._settings = settings
        self._passive = passive
        self._running: set[Search] = set()
        self._waiting: deque[Search] = deque()

    def towards(
        self, target: bytes, now: float, *, ticket: int | None = None, disjoint: bool = False
    ) -> Search:
        """Return a new search; when started it asks the nearest contacts we know by then.

        `disjoint` looks along several paths that share no contact (`paths.py`).
        """
        self._table.touch(target, now)
        kind = Paths if disjoint else Lookup
        return Search(lookup=kind(target, self._own_id, self._settings), ticket=ticket)

    def start(self, search: Search, now: float) -> list[Send]:
        """Start a search, put it in line, or end it at once with what is known here."""
        if self._passive or len(self._waiting) >= self._settings.lookups_waiting_max:
            self._end(search)
            return []
        if len(self._running) >= self._settings.lookups_max or (not search.joins and self._blind):
            self._waiting.append(search)
            return []
        self._counters.lookups += 1
        self._running.add(search)
        # What we start from we verified ourselves or were told by our own operator.
        s = self._settings
        count = s.k * s.paths if isinstance(search.lookup, Paths) else s.k
        target = search.lookup.target
        known = self._table.closest_sound(target, count, now)
        # Who failed once is better than nobody: an overloaded sponsor may be all we have.
        search.lookup.add(known or self._table.closest(target, count))
        return self.advance(search, now)

    def start_next(self, now: float) -> list[Send]:
        """Start searches that wait in line while there is room."""
        sends: list[Send] = []
        while self._waiting and len(self._running) < self._settings.lookups_max and not self._blind:
            sends += self.start(self._waiting.popleft(), now)
        return sends

    def advance(self, search: Search, now: float) -> list[Send]:
        """Ask whom the lookup wants asked now, or end it."""
        if search.over:
            return []
        if search.done:
            self._end(search)
            return []
        found = search.findings
        wanted = None if found is None else found.wanted
        asked = search.lookup.next_queries(wanted, hurried=found is not None)
        self._counters.rpcs += len(asked)
        return [self._ask(search, contact, now) for contact in asked]

    def wait_no_longer(
        self, search: Search, call: Call[Errand], silence: Silence, now: float
    ) -> list[Send]:
        """Ask others where a contact is slow; it may answer still."""
        if silence is Silence.OVERDUE:
            search.lookup.on_overdue(call.contact.node_id)
        else:
            search.lookup.on_silence(call.contact.node_id)
        return self.advance(search, now)

    def had_more(self, search: Search, call: Call[Errand], message: FoundNodes) -> bool:
        """Return whether who was asked for little may have more to say that we want to hear."""
        asked = call.question
        if not isinstance(asked, FindNode) or asked.count > self._settings.told_by_strangers_max:
            return False
        if len(message.contacts) < asked.count or self._knows_enough(search, call.contact):
            return False
        return search.lookup.wants(call.contact.node_id, message.contacts)

    def ask_in_full(self, search: Search, contact: Contact, now: float) -> list[Send]:
        """Ask what a search is about: the contact was asked for little and had more to say."""
        return [] if search.over else [self._ask(search, contact, now, greeted=True)]

    def greet_instead(self, call: Call[Errand], now: float) -> None:
        """Turn the repetition of a question to a stranger into a greeting.

        A question for records to somebody whose cookie we lack is padded, and one that was silent
        is most likely dead.
        """
        question = call.question
        if isinstance(question, PutRecord) or self.has_heard(call.contact, now):
            return
        target = question.key if isinstance(question, GetRecords) else question.target
        call.question = FindNode(rpc=question.rpc, target=target, count=0)

    def has_heard(self, contact: Contact, now: float) -> bool:
        """Return whether we have heard of a contact lately enough to hold its cookie."""
        known = self._table.get(contact.node_id)
        return known is not None and now - known.last_seen < self._settings.acquainted_s

    def _ask(self, search: Search, contact: Contact, now: float, *, greeted: bool = False) -> Send:
        """Ask a contact; where no records are looked for, one not heard of lately for little."""
        s = self._settings
        greets = search.findings is None and not greeted and not self.has_heard(contact, now)
        question = search.question
        if isinstance(question, FindNode):
            # Nobody takes note of who joins before his address is proved: he asks twice anyway.
            first = 0 if search.joins else s.told_by_strangers_max
            few = greets or self._knows_enough(search, contact)
            question = replace(question, count=first if few else s.told_max)
        if isinstance(question, GetRecords) or question.count:
            tags = self._calls.tags_of(search.lookup.known_to(contact.node_id))
            question = replace(question, known=tags)
        idle = greets or search.ticket is None
        retries = s.upkeep_retries_max if idle else s.retries_max
        hedged = search.findings is not None
        return self._calls.ask(contact, question, search, now, retries=retries, hedged=hedged)

    def _knows_enough(self, search: Search, asked: Contact) -> bool:
        """Return whether a contact need not name more than a few: other paths ask its like.

        Not where one path has to find exactly the nearest, or who joins has all to learn.
        """
        return isinstance(search.lookup, Paths) and search.lookup.surrounded(asked.node_id)

    def ask_to_keep(self, publication: Publication, keeper: Contact, now: float) -> Send:
        """Ask a node to keep the record that a search was for."""
        self._counters.rpcs += 1
        return self._calls.ask(keeper, publication.question, publication, now)

    def feed(
        self,
        search: Search,
        sender: Contact,
        message: FoundNodes | FoundRecords,
        now: float,
        asked: Question,
    ) -> list[Send]:
        """Give a search what an answer to a question brought."""
        if search.over:
            return []
        # Where we know an address ourselves, nobody can tell us a false one.
        known = (self._table.contact_of(c.node_id) or c for c in message.contacts)
        few = self._settings.told_by_strangers_max
        in_full = isinstance(asked, FindNode) and asked.count > few
        search.lookup.on_answer(sender, known, in_full=in_full)
        if search.findings is not None and isinstance(message, FoundRecords):
            news = search.findings.take(message.records, sender.node_id)
            # A first answer may have had no room for any record.
            cut_short = message.more and not message.records
            if cut_short or (news and message.more and search.findings.all_of_them):
                search.lookup.on_more(sender.node_id)
        return self.advance(search, now)

    @property
    def _blind(self) -> bool:
        """Whether we are joining and know too few yet to find anything."""
        joining = self.joining
        return joining is not None and joining.blind and len(self._table) < self._settings.k

    @property
    def joining(self) -> Search | None:
        """The running search for ourselves, if there is one."""
        return next((search for search in self._running if search.joins), None)

    @property
    def tidying(self) -> bool:
        """Whether a lookup of our own upkeep is running or in line."""
        return any(search.ticket is None for search in (*self._running, *self._waiting))

    def _end(self, search: Search) -> None:
        search.over = True
        self._running.discard(search)
        self.finished.append(search)
