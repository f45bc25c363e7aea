"""Publications: a signed record on its way to the nodes that shall keep it.

The record is stored at the k nearest of each of the disjoint paths that led to its key, so that
nobody who surrounds the key with nodes of his own can make it unfindable. Where everybody is known
(`horizon.py`) the paths would lead to just those, and they are asked at once; if that is likely and
not sure, the paths are followed afterwards and whoever they add is asked too.

It is reported when k nodes keep it, and goes on to the others. A name is reported when everybody
has answered: any of them may hold another's newer list, and compare and swap must hear of it.
"""

from collections.abc import Iterable, Sequence

from meshnode.dht.commands import Publish, PublishFinished
from meshnode.dht.errands import Publication, Search
from meshnode.dht.horizon import Horizon, View
from meshnode.dht.records import NameRecord, Record, key_of, open_record
from meshnode.dht.searches import Searches
from meshnode.dht.seq_memory import SeqMemory
from meshnode.dht.settings import DhtSettings
from meshnode.dht.store import RecordStore
from meshnode.errors import LocalProtocolError, RemoteProtocolError
from meshnode.ids import Contact, NetworkId
from meshnode.wire.messages import PutRecord, PutReply, Send


class Publications:
    """Opens publications, stores at the keepers that were found, and counts who kept it."""

    def __init__(
        self,
        own: Contact,
        network: NetworkId,
        *,
        seeds: Sequence[Contact],
        horizon: Horizon,
        store: RecordStore,
        searches: Searches,
        seqs: SeqMemory,
        settings: DhtSettings,
    ) -> None:
        self._own = own
        self._network = network
        self._seeds = {seed.public_key: seed for seed in seeds}
        self._horizon = horizon
        self._store = store
        self._searches = searches
        self._seqs = seqs
        self._settings = settings
        self._open = 0
        """Publications whose keepers have not all answered."""

    def publish(self, command: Publish, now: float) -> list[Send | PublishFinished]:
        """Keep a record here, and store it at whom we know or look for its keepers.

        Raises LocalProtocolError for a record that nobody would take: publishing it is a bug.
        """
        record = self._opened(command)
        refused = self._store.refusal(record, command.record, now, cas=command.cas)
        if refused is not None and command.cas is not None:
            return [PublishFinished(ticket=command.ticket, stored=0, conflicts=1, seq_held=refused)]
        named = isinstance(record, NameRecord)
        publication = Publication(
            ticket=command.ticket,
            key=command.key,
            question=PutRecord(rpc=0, record=command.record, cas=command.cas),
            enough=None if named else self._settings.k,
            record=record,
        )
        if command.cas is None:
            self._keep_here(publication, now)
        view = self._horizon.view(now)
        if view is View.PART or (named and view is not View.ALL) or self._busy:
            return list(self._searches.start(self._look(publication, command.ticket, now), now))
        publication.looks_on = view is not View.ALL
        known = self._horizon.keepers(command.key, now)
        return self._store_at(publication, [*known, *self._seeds.values()], now)

    def store(self, search: Search, now: float) -> list[Send | PublishFinished]:
        """Ask the nodes that a search has found to keep its record."""
        publication = search.publication
        assert publication is not None, "only a search for keepers leads here"
        found = search.lookup.closest()
        keepers = [c for c in found if c.public_key not in self._seeds]
        return self._store_at(publication, [*keepers, *self._seeds.values()], now)

    def count(
        self,
        publication: Publication,
        keeper: Contact,
        reply: PutReply | None,
        now: float,
    ) -> list[Send | PublishFinished]:
        """Count one node's reply, None if it gave none; report when that is due."""
        publication.waiting -= 1
        if reply is not None:
            if not reply.kept and not reply.seq and keeper.node_id in publication.strangers:
                publication.strangers.discard(keeper.node_id)
                publication.waiting += 1
                return [self._searches.ask_to_keep(publication, keeper, now)]
            publication.stored += reply.kept
            publication.conflicts += not reply.kept and reply.seq > 0
            publication.seq_held = max(publication.seq_held, reply.seq)
        self._open -= publication.over
        return self._report(publication, now)

    # ------------------------------------------------------------ steps

    def _opened(self, command: Publish) -> Record:
        try:
            record = open_record(command.record, network=self._network)
        except RemoteProtocolError as error:
            raise LocalProtocolError(f"not a record to publish: {error.message}") from error
        if key_of(record) != command.key:
            raise LocalProtocolError("a record is published under its own key")
        return record

    def _keep_here(self, publication: Publication, now: float) -> None:
        """Keep our own copy. One that lost a swap would be found here, newer than what won."""
        record, data = publication.record, publication.question.record
        self._store.put(record, data, self._own, now, cas=publication.question.cas)
        if isinstance(record, NameRecord):
            self._seqs.note(publication.key, record.seq)

    @property
    def _busy(self) -> bool:
        """Whether so much is being stored that the next record waits in the line of lookups."""
        return self._open >= self._settings.lookups_max

    def _look(self, publication: Publication, ticket: int | None, now: float) -> Search:
        """Return the search for the keepers of a record, not yet started."""
        search = self._searches.towards(publication.key, now, ticket=ticket, disjoint=True)
        search.publication = publication
        return search

    def _store_at(
        self, publication: Publication, keepers: Iterable[Contact], now: float
    ) -> list[Send | PublishFinished]:
        fresh = [c for c in keepers if c.node_id not in publication.asked]
        self._open += bool(fresh) and publication.over
        publication.waiting += len(fresh)
        publication.asked.update(c.node_id for c in fresh)
        publication.strangers.update(
            c.node_id for c in fresh if not self._searches.has_heard(c, now)
        )
        sends = [self._searches.ask_to_keep(publication, keeper, now) for keeper in fresh]
        return [*sends, *self._report(publication, now)]

    def _report(self, publication: Publication, now: float) -> list[Send | PublishFinished]:
        """Report a publication once, when enough keep it or nobody is left to answer."""
        enough = publication.enough
        due = publication.over or (enough is not None and publication.stored >= enough)
        if publication.reported or not due:
            return []
        publication.reported = True
        if publication.question.cas is not None and publication.stored >= publication.conflicts:
            self._keep_here(publication, now)
        finished = PublishFinished(
            ticket=publication.ticket,
            stored=publication.stored,
            conflicts=publication.conflicts,
            seq_held=publication.seq_held,
        )
        if not publication.looks_on:
            return [finished]
        return [finished, *self._searches.start(self._look(publication, None, now), now)]
