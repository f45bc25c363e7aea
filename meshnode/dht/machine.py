"""DhtMachine: answers queries, runs lookups, publishes, and keeps the routing table true.

The rules of the protocol (Kademlia paper; docs/protocol.md, "DHT"):

1. A contact enters the table only by answering a question of ours from the address we asked, or
   from one that is proved otherwise. A stranger who asks us something from a proved address is
   asked back if he is near us or few are known at his distance, and enters by answering; all who
   ask are where the mesh is small.
2. Everybody is answered from table and store; nothing from an unproved sender changes either.
3. A lookup keeps alpha questions in slots (rolling), follows only contacts nearer than the k best,
   asks at most 64, and ends when the k nearest that did not fail have answered. Silence frees a
   slot long before the last retry; only 1.5 s of it is a failure, two failures remove a contact.
4. FindRecords collects what verifies. A single-valued key ends after 3 nodes answered with a
   record, the highest sequence number wins and is never undercut later; provider records end at
   16 distinct ones, or when nodes repeat each other. Once something is found, contacts silent for
   0.5 s are not waited for. After a miss or a contradiction it is looked again along 4 paths that
   share no node (`inquiries.py`); two records that contradict each other are kept as proof.
5. Publish looks the key up along 4 disjoint paths, stores the record at the k nearest of each that
   answered, and keeps it here. Where the table holds the whole mesh (`horizon.py`) nothing is
   looked up first (`publications.py`).
6. Join looks ourselves up starting from the given contacts, who are greeted first: by rule 1 a
   question from an unproved address makes us known to nobody. Then it asks one contact at each
   farther distance for others. While fewer than k contacts are known it is repeated at growing
   intervals; a small mesh is looked at from its far end too. Contacts given or lost are kept.
7. On timers: the least recently seen contact is checked, one of the k nearest is asked who is near
   us, lonely buckets are refreshed, expired records forgotten. In all upkeep a contact not heard of
   lately is asked for two contacts first.
8. A passive machine (a seed) answers, stores and verifies, and starts no lookup of its own.
"""

from collections.abc import Sequence

from meshnode.dht.answers import Answers
from meshnode.dht.calls import Call, Calls, Silence
from meshnode.dht.commands import DhtEffect as DhtEffect
from meshnode.dht.commands import DhtInput as DhtInput
from meshnode.dht.commands import Doubt as Doubt
from meshnode.dht.commands import FindNodes as FindNodes
from meshnode.dht.commands import FindRecords as FindRecords
from meshnode.dht.commands import Join as Join
from meshnode.dht.commands import LookupFinished as LookupFinished
from meshnode.dht.commands import Observe as Observe
from meshnode.dht.commands import Publish as Publish
from meshnode.dht.commands import PublishFinished as PublishFinished
from meshnode.dht.counters import Counters
from meshnode.dht.errands import Errand, Probe, Publication, Search
from meshnode.dht.horizon import Horizon
from meshnode.dht.inquiries import Inquiries
from meshnode.dht.probes import Probes
from meshnode.dht.proofs import Equivocation as Equivocation
from meshnode.dht.proofs import Proofs
from meshnode.dht.publications import Publications
from meshnode.dht.replies import fits, greets, may_be_cut
from meshnode.dht.searches import Searches
from meshnode.dht.seq_memory import SeqMemory
from meshnode.dht.settings import DhtSettings
from meshnode.dht.store import RecordStore
from meshnode.dht.table import Table
from meshnode.dht.upkeep import Care, Upkeep
from meshnode.ids import Contact, NetworkId, NodeId
from meshnode.machine import Random
from meshnode.wire.messages import (
    Ack,
    FindNode,
    FoundNodes,
    FoundRecords,
    GetRecords,
    Gossip,
    MembershipWord,
    Ping,
    PingRequest,
    PutRecord,
    PutReply,
    Received,
    Send,
)


class DhtMachine:
    """The node's part in the DHT."""

    def __init__(
        self,
        own: Contact,
        network: NetworkId,
        settings: DhtSettings,
        rng: Random,
        *,
        seeds: Sequence[Contact] = (),
        passive: bool = False,
        seqs: SeqMemory | None = None,
        proofs: Proofs | None = None,
    ) -> None:
        """`seeds` are asked and given records, but are no members: they enter no table.

        `seqs` and `proofs` are what an earlier run learnt of names.
        """
        self.counters = Counters()
        self.seqs = SeqMemory() if seqs is None else seqs
        self.proofs = Proofs() if proofs is None else proofs
        self._own = own
        self._own_id: NodeId = own.node_id
        self._settings = settings
        self._seeds = {seed.public_key for seed in seeds}
        self._passive = passive
        self._table = Table(
            self._own_id,
            k=settings.k,
            replacement_factor=settings.replacement_factor,
            failures_max=settings.failures_max,
        )
        self._store = RecordStore(own.public_key, settings)
        self._answers = Answers(
            self._table, self._store, network, settings, rng, proofs=self.proofs
        )
        self._calls: Calls[Errand] = Calls(settings, rng)
        self._upkeep = Upkeep(self._table, settings, rng)
        self._probes = Probes(self._table, self._calls, self._upkeep, settings)
        self._horizon = Horizon(self._own_id, self._table, self._upkeep, settings)
        self._searches = Searches(
            self._own_id, self._table, self._calls, self.counters, settings, passive=passive
        )
        self._inquiries = Inquiries(
            network,
            table=self._table,
            store=self._store,
            searches=self._searches,
            seqs=self.seqs,
            proofs=self.proofs,
            settings=settings,
        )
        self._publications = Publications(
            own,
            network,
            seeds=seeds,
            horizon=self._horizon,
            store=self._store,
            searches=self._searches,
            seqs=self.seqs,
            settings=settings,
        )
        self._tidy = False
        """The table may need a lookup of our own."""

    # ------------------------------------------------------------ three verbs

    def handle(self, event: DhtInput, now: float) -> Sequence[DhtEffect]:
        """See `Machine.handle`."""
        self._upkeep.start(now)
        return [*self._obey(event, now), *self._settle(now)]

    def tick(self, now: float) -> Sequence[DhtEffect]:
        """See `Machine.tick`."""
        effects: list[DhtEffect] = []
        while (silent := self._calls.next_silence(now)) is not None:
            effects += self._on_silence(*silent, now)
        for care in self._upkeep.due(now):
            effects += self._care(care, now)
        return effects + self._settle(now)

    def next_timer(self) -> float | None:
        """See `Machine.next_timer`."""
        timers = (self._calls.next_timer(), self._upkeep.next_timer())
        return min((t for t in timers if t is not None), default=None)

    # ------------------------------------------------------------ what others see

    @property
    def size(self) -> int:
        """How many contacts the table holds."""
        return len(self._table)

    @property
    def records_held(self) -> int:
        """How many records are stored here, for others and for ourselves."""
        return self._store.count

    def contacts(self) -> list[Contact]:
        """Return contacts for the peer cache: verified ones first, then lost ones.

        The lost are kept too, or a mesh would not find together after an outage of all.
        """
        return [*self._table.contacts(), *self._upkeep.lost]

    def errand_of(self, rpc: int) -> Errand | None:
        """Return what a question of ours that waits for its answer is for."""
        return self._calls.owner_of(rpc)

    # ------------------------------------------------------------ datagrams

    def _receive(self, event: Received, now: float) -> Sequence[DhtEffect]:
        if event.sender.public_key == self._own.public_key:
            return []  # our own packet, reflected
        match event.message:
            case FindNode() | GetRecords() | PutRecord():
                answer = self._answers.answer(event, now)
                self.counters.refused_records = self._answers.refused
                self.counters.equivocations = self._answers.equivocations
                return [*([answer] if answer else []), *self._learn(event, now)]
            case FoundNodes() | FoundRecords() | PutReply():
                return self._take_answer(event, event.message, now)
            case Ping() | Ack() | PingRequest() | Gossip() | MembershipWord():
                return []  # another machine's

    def _learn(self, event: Received, now: float) -> Sequence[DhtEffect]:
        """Rule 1: a stranger who asks from a proved address is asked back."""
        if not event.proved or event.sender.public_key in self._seeds:
            return []
        self._table.seen(event.sender, now)
        if self._probes.declines(event.sender):
            self._horizon.declined(now)
            return []
        return self._probes.verify(event.sender, now)

    def _take_answer(
        self, event: Received, message: FoundNodes | FoundRecords | PutReply, now: float
    ) -> Sequence[DhtEffect]:
        call = self._calls.take_answer(event, message.rpc, now)
        if call is None:
            self.counters.strays += 1
            return []
        self._probes.ended(call)
        if not fits(call, message):
            self.counters.strays += 1
            return self._give_up(call, now)
        sender = self._meet(event, call, now)
        if not isinstance(message, PutReply) and not greets(call):
            cut = may_be_cut(call, message)
            self._horizon.told(sender.node_id, message.contacts, now, call.owner, cut=cut)
        match call.owner:
            case Search() as search:
                if isinstance(message, PutReply):
                    return []  # excluded above: no search asks for one
                if isinstance(message, FoundNodes) and self._searches.had_more(
                    search, call, message
                ):
                    return self._searches.ask_in_full(search, sender, now)
                return self._searches.feed(search, sender, message, now, call.question)
            case Publication() as publication:
                reply = message if isinstance(message, PutReply) else None
                return self._publications.count(publication, call.contact, reply, now)
            case Probe() as probe:
                told = message.contacts if isinstance(message, FoundNodes) else ()
                return self._probes.follow(probe, told, now)

    def _meet(self, event: Received, call: Call[Errand], now: float) -> Contact:
        """Note who answered, and where he is if his address is known to be his; return him."""
        if not event.proved and event.sender.address != call.contact.address:
            return call.contact
        if event.sender.public_key not in self._seeds:
            alone = not len(self._table)
            self._table.add(event.sender, now)
            if alone:  # whoever was first has nobody to join, and others come
                self._upkeep.settle(now)
        self._upkeep.found(event.sender)
        return event.sender

    def _on_silence(self, silence: Silence, call: Call[Errand], now: float) -> Sequence[DhtEffect]:
        search = call.owner if isinstance(call.owner, Search) else None
        match silence:
            case Silence.SLOW | Silence.OVERDUE:
                return self._searches.wait_no_longer(search, call, silence, now) if search else []
            case Silence.RETRY:
                if call.owner.over:
                    return []
                self.counters.retries += 1
                self._searches.greet_instead(call, now)
                again: list[DhtEffect] = [Send(call.contact, call.question)]
                if search is None:
                    return again
                search.lookup.on_silence(call.contact.node_id)
                return [*again, *self._searches.advance(search, now)]
            case Silence.FAILED:
                self._probes.ended(call)
                return self._give_up(call, now)

    def _give_up(self, call: Call[Errand], now: float) -> Sequence[DhtEffect]:
        """A contact failed: tell the table and whoever waited for it."""
        self.counters.failures += 1
        node_id = call.contact.node_id
        lost = self._table.failed(call.contact, call.asked_at, now)
        if lost is not None:
            self.counters.removed += 1
            self._upkeep.lose(lost, now)
        match call.owner:
            case Search() as search:
                search.lookup.on_failure(node_id)
                return self._searches.advance(search, now)
            case Publication() as publication:
                return self._publications.count(publication, call.contact, None, now)
            case Probe():
                # Still in the table: once more, so that a dead contact is gone in seconds.
                known = self._table.contact_of(node_id) == call.contact
                return self._probes.check(call.contact, now) if known else []

    # ------------------------------------------------------------ what follows a search

    def _settle(self, now: float) -> list[DhtEffect]:
        """Report what has ended and start what waits. A loop: each may end where it begins."""
        effects: list[DhtEffect] = []
        while True:
            effects += self._searches.start_next(now)
            if self._searches.finished:
                effects += self._conclude(self._searches.finished.popleft(), now)
            elif self._tidy and not self._searches.tidying:
                self._tidy = False
                target = self._upkeep.next_target(now)
                if target is not None:
                    effects += self._searches.start(self._searches.towards(target, now), now)
            elif self.proofs.news:
                effects.append(self.proofs.news.popleft())
            else:
                return effects

    def _conclude(self, search: Search, now: float) -> list[DhtEffect]:
        """Report a search, or go on with what it was for."""
        if search.publication is not None:
            return list(self._publications.store(search, now))
        if search.ticket is None:
            self._tidy = True
            met = self._meet_strangers(now)
            return [*met, *self._joined(now)] if search.joins and search.lookup.closest() else met
        again = self._inquiries.second_look(search, now)
        if again is not None:
            return list(self._searches.start(again, now))
        return [self._inquiries.conclude(search.ticket, search)]

    def _meet_strangers(self, now: float) -> list[DhtEffect]:
        """In a small mesh, verify whom others named and no lookup of our own came to."""
        if not self._upkeep.small:
            return []
        strangers = self._horizon.to_meet(now)
        return [send for contact in strangers for send in self._probes.verify(contact, now)]

    def _joined(self, now: float) -> list[DhtEffect]:
        """Rule 6: a lookup of ourselves has ended; look at the rest of the keyspace."""
        self._upkeep.settle(now)
        return list(self._probes.explore(self._upkeep.spread(self._own_id), now))

    # ------------------------------------------------------------ commands

    def _obey(self, event: DhtInput, now: float) -> Sequence[DhtEffect]:
        match event:
            case Received():
                return self._receive(event, now)
            case Join():
                contacts = [c for c in event.contacts if c.public_key != self._own.public_key]
                self._upkeep.remember(contacts, now)
                return self._join(contacts, now)
            case Observe():
                return self._probes.verify(event.contact, now)
            case Doubt():
                known = self._table.contact_of(event.contact.node_id)
                return self._probes.check(known, now) if known else []
            case FindNodes():
                search = self._searches.towards(event.target, now, ticket=event.ticket)
                return self._searches.start(search, now)
            case FindRecords():
                return self._searches.start(self._inquiries.open(event, now), now)
            case Publish():
                return self._publications.publish(event, now)

    def _join(self, contacts: Sequence[Contact], now: float) -> Sequence[DhtEffect]:
        if self._passive:
            return [send for contact in contacts for send in self._probes.verify(contact, now)]
        running = self._searches.joining
        if running is not None:
            running.lookup.add(contacts)
            return self._searches.advance(running, now)
        search = self._searches.towards(self._own_id, now)
        search.joins, search.blind = True, not len(self._table)
        search.lookup.add(contacts)
        return self._searches.start(search, now)

    def _care(self, care: Care, now: float) -> Sequence[DhtEffect]:
        match care:
            case Care.CHECK:
                node = self._table.least_recently_seen()
                if node is None or now - node.last_seen < self._settings.check_age_s:
                    return []
                return self._probes.check(node.contact, now)
            case Care.EXCHANGE:
                neighbour = self._upkeep.neighbour()
                return self._probes.exchange(neighbour, now) if neighbour else []
            case Care.REFRESH:
                self._tidy = not self._passive
                return []
            case Care.SETTLE:
                self._upkeep.look_up(self._upkeep.settle_target())
                self._tidy = not self._passive
                return []
            case Care.REJOIN:
                missing = self._upkeep.to_try()
                return self._join(missing, now) if missing else []
            case Care.SWEEP:
                self._store.sweep(now)
                return []
