"""Where the DHT's bytes go: by errand; an answer is counted to its question's."""

from collections import Counter

from meshnode.dht.errands import Errand, Probe, Publication, Purpose, Search
from meshnode.dht.machine import DhtMachine
from meshnode.ids import Contact, PublicKey
from meshnode.wire.messages import Datagram, FindNode, FoundNodes, GetRecords, PutRecord, Send

PURPOSES = {
    Purpose.VERIFY: "verifying strangers",
    Purpose.CHECK: "checking contacts",
    Purpose.EXPLORE: "exploring",
}
ASKED_FOR = ("looking for keepers", "storing", "looking up", "second looks")
"""What applications cause; the rest is maintenance, what Bamboo's figure counts."""


class Account:
    """Counts what nodes send; `of` is given a sender's machine by its key."""

    def __init__(self) -> None:
        self.of: dict[PublicKey, DhtMachine] = {}
        self._errands: dict[int, str] = {}
        """By rpc id; a run's worth."""
        self._bytes: Counter[tuple[str, str]] = Counter()
        self._packets: Counter[tuple[str, str]] = Counter()

    def on_sent(self, sender: Contact, send: Send, size: int) -> None:
        """Count one packet (`Network.on_sent`)."""
        message = send.message
        rpc: int = getattr(message, "rpc", 0)
        if isinstance(message, FindNode | GetRecords | PutRecord):
            machine = self.of.get(sender.public_key)
            self._errands[rpc] = _name(machine.errand_of(rpc) if machine else None)
        entry = (self._errands.get(rpc, "others"), _kind(message))
        self._bytes[entry] += size
        self._packets[entry] += 1

    def reset(self) -> None:
        """Count from here."""
        self._bytes.clear()
        self._packets.clear()

    def lines(self, node_seconds: float) -> list[str]:
        """Return B/s a node by errand, the dearest first, each with its kinds of message."""
        totals: Counter[str] = Counter()
        for (errand, _), size in self._bytes.items():
            totals[errand] += size
        asked_for = sum(totals[errand] for errand in ASKED_FOR)
        upkeep = (totals.total() - asked_for) / node_seconds
        return [
            f"    maintenance {upkeep:.0f} B/s, publications and lookups"
            f" {asked_for / node_seconds:.0f} B/s",
            *(
                f"    {errand:20} {total / node_seconds:5.0f} B/s:"
                f" {self._kinds(errand, node_seconds)}"
                for errand, total in totals.most_common()
            ),
        ]

    def _kinds(self, errand: str, node_seconds: float) -> str:
        return ", ".join(
            f"{kind} {size / node_seconds:.0f} ({self._packets[errand, kind] / node_seconds:.2f}/s"
            f" of {size / self._packets[errand, kind]:.0f} B)"
            for (name, kind), size in self._bytes.most_common()
            if name == errand
        )


def _name(errand: Errand | None) -> str:
    match errand:
        case Search():
            if errand.publication is not None:
                return "looking for keepers"
            if errand.findings is not None:
                return "second looks" if errand.rpcs_before else "looking up"
            return "joining" if errand.joins else "own lookups"
        case Publication():
            return "storing"
        case Probe():
            return PURPOSES[errand.purpose]
        case None:
            return "others"


def _kind(message: Datagram) -> str:
    if isinstance(message, FindNode) and not message.count:
        return "greeting"
    if isinstance(message, FoundNodes) and not message.contacts:
        return "none found"
    return type(message).__name__
