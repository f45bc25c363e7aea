"""What a node remembers over a restart: its incarnation, its port, whom it knew, what names meant.

The peer cache keeps members that failed or left too: after an outage of everything, those are
the ones to ask (serf #333). Both files are plain CBOR, and read as a stranger's message is: what
has not exactly our shape and bounds counts as nothing, with a line in the log.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from meshnode.dht.fields import Reader
from meshnode.dht.proofs import PROOFS_MAX, Equivocation
from meshnode.dht.seq_memory import KEYS_REMEMBERED_MAX
from meshnode.errors import RemoteProtocolError, UsageError
from meshnode.ids import Address, Contact, PublicKey
from meshnode.modules.names import parse_reference
from meshnode.storage.state import read_state, write_state
from meshnode.wire import cbor
from meshnode.wire.limits import SIGNED_BYTES_MAX

_log = logging.getLogger(__name__)
_FORMAT = 1
CONTACTS_MAX = 256
HOST_CHARS_MAX = 253
U64_MAX = 2**64 - 1
PINS_MAX = 64
REFERENCE_CHARS_MAX = 256


@dataclass(frozen=True, slots=True)
class Remembered:
    """The saved state."""

    incarnation: int = 0
    port: int = 0
    """The port of the last run; 0 before the first."""
    contacts: tuple[Contact, ...] = ()


@dataclass(frozen=True, slots=True)
class NameMemory:
    """What was learnt of names, so that no old record comes back and no lie is forgotten."""

    seqs: tuple[tuple[bytes, int], ...] = ()
    """DHT key and highest sequence number seen, the one noted longest ago first."""
    proofs: tuple[Equivocation, ...] = ()


def recall(path: Path) -> Remembered:
    """Return what was saved, or a fresh state; a damaged file counts as none."""
    saved = read_state(path)
    try:
        match saved:
            case None:
                return Remembered()
            case {"format": int(_FORMAT), "incarnation": int(since), "port": int(port)}:
                head = Reader([since, port, saved.get("contacts")])
                return Remembered(
                    head.whole(0, U64_MAX - 1),
                    head.whole(0, 65535),
                    tuple(_contact(item) for item in head.lists(CONTACTS_MAX)),
                )
            case _:
                raise RemoteProtocolError("it has another shape or format")
    except RemoteProtocolError as error:
        _log.warning("%s is not used, this node starts without it: %s", path, error.message)
        return Remembered()


def remember(path: Path, state: Remembered) -> None:
    """Replace the saved state atomically. Raises DiskFull or StoreError."""
    contacts: list[cbor.Plain] = [
        [c.public_key, c.address.host, c.address.port] for c in state.contacts
    ]
    write_state(
        path,
        {
            "format": _FORMAT,
            "incarnation": state.incarnation,
            "port": state.port,
            "contacts": contacts[:CONTACTS_MAX],
        },
    )


def recall_names(path: Path) -> NameMemory:
    """Return what was learnt of names, or nothing; a damaged file counts as none."""
    saved = read_state(path)
    try:
        match saved:
            case None:
                return NameMemory()
            case {"format": int(_FORMAT)}:
                head = Reader([saved.get("seqs"), saved.get("proofs")])
                return NameMemory(
                    tuple(_seq(item) for item in head.lists(KEYS_REMEMBERED_MAX)),
                    tuple(_proof(item) for item in head.lists(PROOFS_MAX)),
                )
            case _:
                raise RemoteProtocolError("it has another shape or format")
    except RemoteProtocolError as error:
        _log.warning("%s is not used, names are learnt anew: %s", path, error.message)
        return NameMemory()


def remember_names(path: Path, memory: NameMemory) -> None:
    """Replace what was learnt of names atomically. Raises DiskFull or StoreError."""
    seqs: list[cbor.Plain] = [[key, seq] for key, seq in memory.seqs]
    proofs: list[cbor.Plain] = [[p.key, p.signer, p.seq, p.first, p.second] for p in memory.proofs]
    write_state(path, {"format": _FORMAT, "seqs": seqs, "proofs": proofs})


def recall_pins(path: Path) -> tuple[str, ...]:
    """Return the references that were pinned here, or none; a damaged file counts as none."""
    saved = read_state(path)
    try:
        match saved:
            case None:
                return ()
            case {"format": int(_FORMAT)}:
                head = Reader([saved.get("pins")])
                pins = [item.text(REFERENCE_CHARS_MAX) for item in head.lists(PINS_MAX)]
                for pin in pins:
                    parse_reference(pin)
                return tuple(pins)
            case _:
                raise RemoteProtocolError("it has another shape or format")
    except (RemoteProtocolError, UsageError) as error:
        _log.warning("%s is not used, nothing of it is pinned: %s", path, error.message)
        return ()


def remember_pins(path: Path, pins: Sequence[str]) -> None:
    """Replace the pinned references atomically. Raises DiskFull or StoreError."""
    listed: list[cbor.Plain] = [[pin] for pin in pins]
    write_state(path, {"format": _FORMAT, "pins": listed})


def _contact(item: Reader) -> Contact:
    key, host = PublicKey(item.blob(32)), item.text(HOST_CHARS_MAX, chars_min=1)
    contact = Contact(key, Address(host, item.whole(1, 65535)))
    item.end()
    return contact


def _seq(item: Reader) -> tuple[bytes, int]:
    entry = (item.blob(32), item.whole(0, U64_MAX))
    item.end()
    return entry


def _proof(item: Reader) -> Equivocation:
    proof = Equivocation(
        key=item.blob(32),
        signer=PublicKey(item.blob(32)),
        seq=item.whole(0, U64_MAX),
        first=item.blob_up_to(SIGNED_BYTES_MAX),
        second=item.blob_up_to(SIGNED_BYTES_MAX),
    )
    item.end()
    return proof
