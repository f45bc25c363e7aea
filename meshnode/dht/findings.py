"""The records one lookup has found: verified, one for each signer, the highest sequence wins."""

from collections import OrderedDict
from collections.abc import Iterable

from meshnode.dht.records import ProviderRecord, Record, key_of, open_record, signer_of
from meshnode.dht.settings import DhtSettings
from meshnode.errors import RemoteProtocolError
from meshnode.ids import NetworkId, NodeId, PublicKey

KEYS_REMEMBERED_MAX = 4096
"""Names whose highest sequence number is remembered: 0.5 MB."""


class Findings:
    """Collects what answers bring for one key. Nothing unverified gets in."""

    def __init__(
        self,
        key: bytes,
        network: NetworkId,
        settings: DhtSettings,
        *,
        all_of_them: bool,
        seq_min: int = 0,
    ) -> None:
        self.all_of_them = all_of_them
        self.refused = 0
        """Records that were forged, of another key or mesh, or older than we have seen before."""
        self.equivocations = 0
        """Records with an equal sequence number and another content: proof against the signer."""
        self._key = key
        self._network = network
        self._settings = settings
        self._seq_min = seq_min
        self._best: dict[PublicKey, tuple[Record, bytes]] = {}
        self._opened: dict[bytes, Record | None] = {}
        """By signed bytes, None if refused: most answers bring what others brought before."""
        self._carriers: set[NodeId] = set()

    def take(self, records: Iterable[bytes], carrier: NodeId | None) -> bool:
        """Take the records of one answer; return whether any of them is new and good.

        `carrier` is who answered, None for our own store, which does not count as a witness.
        """
        news = False
        for data in records:
            known = data in self._opened
            record = self._opened[data] if known else self._open(data)
            if record is not None and carrier is not None:
                self._carriers.add(carrier)
            if not known:
                self._opened[data] = record
                news |= record is not None and self._weigh(record, data)
        return news

    @property
    def enough(self) -> bool:
        """Whether more answers would not be worth waiting for."""
        if self.all_of_them:
            return self._live_count() >= self._settings.providers_enough
        return bool(self._best) and len(self._carriers) >= self._settings.answers_enough

    @property
    def some(self) -> bool:
        """Whether anything usable has been found."""
        return self._live_count() > 0

    def records(self) -> tuple[Record, ...]:
        """Return the best record of each signer."""
        return tuple(record for record, _ in self._best.values())

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
            self.equivocations += data != best[1]
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


class SeqMemory:
    """The highest sequence number seen for each name, so that an old record cannot come back."""

    def __init__(self) -> None:
        self._highest: OrderedDict[bytes, int] = OrderedDict()

    def note(self, key: bytes, seq: int) -> None:
        """Remember what was seen under a key; beyond a bound the oldest key is forgotten."""
        self._highest[key] = max(seq, self.highest(key))
        self._highest.move_to_end(key)
        while len(self._highest) > KEYS_REMEMBERED_MAX:
            self._highest.popitem(last=False)

    def highest(self, key: bytes) -> int:
        """Return the highest number seen under a key, 0 if none was."""
        return self._highest.get(key, 0)
