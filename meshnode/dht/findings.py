"""The records one lookup has found: verified, one for each signer, the highest sequence wins."""

from collections.abc import Iterable

from meshnode.dht.proofs import Equivocation
from meshnode.dht.records import NodeRecord, ProviderRecord, Record, key_of, open_record, signer_of
from meshnode.dht.settings import DhtSettings
from meshnode.errors import RemoteProtocolError
from meshnode.ids import NetworkId, NodeId, PublicKey


class Findings:
    """Collects what answers bring for one key. Nothing unverified gets in."""

    def __init__(
        self,
        key: bytes,
        network: NetworkId,
        settings: DhtSettings,
        *,
        all_of_them: bool,
        thorough: bool = False,
        seq_min: int = 0,
    ) -> None:
        self.all_of_them = all_of_them
        self.thorough = thorough
        """Everything is collected to the end: the first witnesses may all be one liar's."""
        self.refused = 0
        """Records that were forged, of another key or mesh, or older than we have seen before."""
        self.proofs: list[Equivocation] = []
        """Records with an equal sequence number and another content: proof against the signer."""
        self._key = key
        self._network = network
        self._settings = settings
        self._seq_min = seq_min
        self._best: dict[PublicKey, tuple[Record, bytes]] = {}
        self._opened: dict[bytes, Record | None] = {}
        """By signed bytes, None if refused: most answers bring what others brought before."""
        self._witnesses: set[NodeId] = set()
        self._repeats = 0
        """Answers in a row that brought good records and nothing new."""

    def take(self, records: Iterable[bytes], witness: NodeId | None) -> bool:
        """Take the records of one answer; return whether any of them is new and good.

        `witness` is who answered, None for our own store, which does not count as one.
        """
        brought = False
        news = False
        for data in records:
            known = data in self._opened
            record = self._opened[data] if known else self._open(data)
            brought |= record is not None
            if not known:
                self._opened[data] = record
                news |= record is not None and self._weigh(record, data)
        if brought and witness is not None:
            self._witnesses.add(witness)
            self._repeats = 0 if news else self._repeats + 1
        return news

    def look_again(self) -> None:
        """Begin a second look: what was found stays, who brought it counts no more.

        A single value is then looked for to the end, for somebody may hold a newer one.
        """
        self.thorough |= not self.all_of_them
        self._witnesses.clear()
        self._repeats = 0

    @property
    def enough(self) -> bool:
        """Whether more answers would not be worth waiting for."""
        s = self._settings
        if self.thorough:
            return False
        if not self.all_of_them:
            return bool(self._best) and len(self._witnesses) >= s.answers_enough
        # Every provider's records lie at the same nodes: three of them know what there is.
        seen = len(self._witnesses) >= s.answers_enough and self._repeats >= s.repeats_enough
        live = self._live_count()
        return live >= s.providers_enough or (live > 0 and seen)

    @property
    def wanted(self) -> int | None:
        """How many should be asked at once for a single value; None: nobody can say yet.

        The witnesses still wanted, and one to spare: of 2,000 nodes with 30 % dead, asking just as
        many as are wanted saves 1.5 of 8.3 questions and takes a third longer.
        """
        if self.thorough or self.all_of_them or not self._best:
            return None
        return max(1, self._settings.answers_enough - len(self._witnesses)) + 1

    @property
    def doubtful(self) -> bool:
        """Whether a second look is worth its cost: a miss, few witnesses, or a contradiction."""
        if self.all_of_them:
            return not self.some
        opened = [record for record in self._opened.values() if record is not None]
        if len(opened) != 1:
            return True
        # What a node says of itself decides only where it is asked: one witness will do.
        enough = 1 if isinstance(opened[0], NodeRecord) else self._settings.answers_enough
        return len(self._witnesses) < enough

    @property
    def some(self) -> bool:
        """Whether anything usable has been found."""
        return self._live_count() > 0

    def records(self) -> tuple[Record, ...]:
        """Return the best record of each signer."""
        return tuple(record for record, _ in self._best.values())

    def signed(self) -> tuple[bytes, ...]:
        """Return their signed bytes, in the same order."""
        return tuple(data for _, data in self._best.values())

    def _open(self, data: bytes) -> Record | None:
        try:
            record = open_record(data, network=self._network)
        except RemoteProtocolError:
            self.refused += 1
            return None
        if key_of(record) != self._key or record.seq < self._seq_min:
            self.refused += 1
            return None
        return record

    def _weigh(self, record: Record, data: bytes) -> bool:
        """Keep the record if it is the best of its signer; return whether it is."""
        signer = signer_of(record)
        best = self._best.get(signer)
        if best is not None and record.seq == best[0].seq:
            if data != best[1]:
                proof = Equivocation(
                    key=self._key, signer=signer, seq=record.seq, first=best[1], second=data
                )
                self.proofs.append(proof)
            return False
        if best is not None and record.seq < best[0].seq:
            return False
        self._best[signer] = (record, data)
        return True

    def _live_count(self) -> int:
        return sum(
            1
            for record, _ in self._best.values()
            if not (isinstance(record, ProviderRecord) and record.withdrawn)
        )
