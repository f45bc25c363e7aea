"""Inquiries: lookups of records, and the second look along disjoint paths where one is due.

A plain lookup comes first: it is quick, and enough where nobody attacks. It is looked again, over
disjoint paths, when nothing was found, when fewer than three nodes brought a name, or when what
they brought differs. A thorough inquiry takes the disjoint paths at once.
"""

from meshnode.dht.commands import FindRecords, LookupFinished
from meshnode.dht.errands import Search
from meshnode.dht.findings import Findings
from meshnode.dht.lookup import Lookup
from meshnode.dht.proofs import Proofs
from meshnode.dht.records import NameRecord
from meshnode.dht.searches import Searches
from meshnode.dht.seq_memory import SeqMemory
from meshnode.dht.settings import DhtSettings
from meshnode.dht.store import RecordStore
from meshnode.dht.table import Table
from meshnode.ids import NetworkId


class Inquiries:
    """Opens lookups of records and says what came of them."""

    def __init__(
        self,
        network: NetworkId,
        *,
        table: Table,
        store: RecordStore,
        searches: Searches,
        seqs: SeqMemory,
        proofs: Proofs,
        settings: DhtSettings,
    ) -> None:
        self._network = network
        self._table = table
        self._store = store
        self._searches = searches
        self._seqs = seqs
        self._proofs = proofs
        self._settings = settings

    def open(self, command: FindRecords, now: float) -> Search:
        """Return the search that answers a command, not yet started."""
        search = self._searches.towards(
            command.key, now, ticket=command.ticket, disjoint=command.thorough
        )
        search.findings = Findings(
            command.key,
            self._network,
            self._settings,
            all_of_them=command.all_of_them,
            thorough=command.thorough,
            seq_min=self._seqs.highest(command.key),
        )
        search.findings.take(self._store.get(command.key, now), None)
        return search

    def second_look(self, search: Search, now: float) -> Search | None:
        """Return the search along disjoint paths that should follow a plain one, if any should."""
        found, plain = search.findings, search.lookup
        if found is None or not isinstance(plain, Lookup) or not found.doubtful:
            return None
        if plain.asked_everybody and len(self._table) <= self._settings.k:
            return None  # a small mesh: the paths would ask the same nodes again
        found.look_again()
        again = self._searches.towards(plain.target, now, ticket=search.ticket, disjoint=True)
        again.findings = found
        again.rpcs_before = plain.rpcs
        return again

    def conclude(self, ticket: int, search: Search) -> LookupFinished:
        """Report a search that has ended, and remember what it showed."""
        found = search.findings
        records = found.records() if found else ()
        for record in records:
            if isinstance(record, NameRecord):
                self._seqs.note(search.lookup.target, record.seq)
        for proof in found.proofs if found else ():
            self._proofs.note(proof)
        return LookupFinished(
            ticket=ticket,
            closest=search.lookup.closest()[: self._settings.k],
            records=records,
            signed=found.signed() if found else (),
            rpcs=search.rpcs_before + search.lookup.rpcs,
            equivocations=len(found.proofs) if found else 0,
        )
