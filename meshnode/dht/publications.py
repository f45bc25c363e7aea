"""Publications: a signed record on its way to the nodes that shall keep it.

The record is stored at the k nearest of each of the disjoint paths that led to its key, so that
nobody who surrounds the key with nodes of his own can make it unfindable.
"""

from collections.abc import Sequence

from meshnode.dht.calls import Calls
from meshnode.dht.commands import Publish, PublishFinished
from meshnode.dht.counters import Counters
from meshnode.dht.errands import Errand, Publication, Search
from meshnode.dht.records import NameRecord, key_of, open_record
from meshnode.dht.searches import Searches
from meshnode.dht.seq_memory import SeqMemory
from meshnode.dht.store import RecordStore
from meshnode.errors import LocalProtocolError, RemoteProtocolError
from meshnode.ids import Contact, NetworkId
from meshnode.wire.messages import FoundNodes, FoundRecords, PutRecord, PutReply, Send


class Publications:
    """Opens publications, stores at the keepers that were found, and counts who kept it."""

    def __init__(
        self,
        own: Contact,
        network: NetworkId,
        *,
        seeds: Sequence[Contact],
        store: RecordStore,
        searches: Searches,
        calls: Calls[Errand],
        counters: Counters,
        seqs: SeqMemory,
    ) -> None:
        self._own = own
        self._network = network
        self._seeds = {seed.public_key: seed for seed in seeds}
        self._store = store
        self._searches = searches
        self._calls = calls
        self._counters = counters
        self._seqs = seqs

    def open(self, command: Publish, now: float) -> Search:
        """Keep a record here and return the search for its keepers, not yet started.

        Raises LocalProtocolError for a record that nobody would take: publishing it is a bug.
        """
        try:
            record = open_record(command.record, network=self._network)
        except RemoteProtocolError as error:
            raise LocalProtocolError(f"not a record to publish: {error.message}") from error
        if key_of(record) != command.key:
            raise LocalProtocolError("a record is published under its own key")
        self._store.put(record, command.record, self._own, now)
        if isinstance(record, NameRecord):
            self._seqs.note(command.key, record.seq)
        search = self._searches.towards(command.key, now, ticket=command.ticket, disjoint=True)
        search.record = command.record
        search.cas = command.cas
        return search

    def store(self, ticket: int, search: Search, now: float) -> list[Send | PublishFinished]:
        """Ask the nodes that were found to keep the record."""
        keepers = {c.public_key: c for c in search.lookup.closest()} | self._seeds
        if not keepers:
            return [PublishFinished(ticket=ticket, stored=0)]
        publication = Publication(ticket=ticket, waiting=len(keepers))
        question = PutRecord(rpc=0, record=search.record, cas=search.cas)
        self._counters.rpcs += len(keepers)
        return [self._calls.ask(keeper, question, publication, now) for keeper in keepers.values()]

    def count(
        self, publication: Publication, reply: FoundNodes | FoundRecords | PutReply | None
    ) -> list[Send | PublishFinished]:
        """Count one node's reply, None if it gave none; report when every node has."""
        publication.waiting -= 1
        if isinstance(reply, PutReply):
            publication.stored += reply.kept
            publication.conflicts += not reply.kept and reply.seq > 0
            publication.seq_held = max(publication.seq_held, reply.seq)
        if not publication.over:
            return []
        return [
            PublishFinished(
                ticket=publication.ticket,
                stored=publication.stored,
                conflicts=publication.conflicts,
                seq_held=publication.seq_held,
            )
        ]
