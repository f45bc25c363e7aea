"""The trust log: who was admitted, trusted, certified or revoked here, and when. File: `trust.log`.

Each entry's hash covers the one before it, so an entry that was changed, removed or put between
others breaks the chain from there on; whoever wrote the head down can tell that the end was cut
off, too. It is what this node did and learnt, by its own clock, and proves nothing to others.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from meshnode.errors import StoreError
from meshnode.storage.state import read_state, write_state
from meshnode.wire import cbor

_log = logging.getLogger(__name__)
_FORMAT = 1
ENTRIES_MAX = 2000
"""About 0.4 MB; the oldest go first, and the chain goes on from the hash of the last of them."""
BASE = bytes(32)


@dataclass(frozen=True, slots=True)
class Entry:
    """One event."""

    at: int
    """Unix seconds."""
    what: str
    facts: dict[str, str]
    link: bytes
    """SHA-256 over the link before it and this event."""


class TrustLog:
    """An append-only account, kept on disk. What it cannot write is logged, and nothing fails."""

    def __init__(self, path: Path, unix_now: Callable[[], float]) -> None:
        self._path = path
        self._unix_now = unix_now
        self._base, self._entries = _load(path)

    def note(self, what: str, **facts: str) -> None:
        """Append an event; a full disk costs the entry on disk, and not what it tells of."""
        at = int(self._unix_now())
        link = _link(self.head, at, what, facts)
        self._entries.append(Entry(at, what, facts, link))
        while len(self._entries) > ENTRIES_MAX:
            self._base = self._entries.pop(0).link
        plain = [[e.at, e.what, e.facts, e.link] for e in self._entries]
        try:
            write_state(self._path, {"format": _FORMAT, "base": self._base, "entries": plain})
        except StoreError as error:
            _log.warning("the trust log is not kept: %s", error)

    @property
    def head(self) -> bytes:
        """The hash that covers everything."""
        return self._entries[-1].link if self._entries else self._base

    def broken_at(self) -> int | None:
        """Return the number (from 1) of the first entry that does not fit the chain, or None."""
        before = self._base
        for number, entry in enumerate(self._entries, 1):
            if _link(before, entry.at, entry.what, entry.facts) != entry.link:
                return number
            before = entry.link
        return None

    def facts(self) -> dict[str, Any]:
        """Return the log as JSON can have it."""
        return {
            "entries": [{"at": e.at, "what": e.what, **e.facts} for e in self._entries],
            "head": self.head.hex(),
            "broken_at": self.broken_at(),
        }


def _link(before: bytes, at: int, what: str, facts: dict[str, str]) -> bytes:
    return sha256(before + cbor.dumps([at, what, facts])).digest()


def _load(path: Path) -> tuple[bytes, list[Entry]]:
    saved = read_state(path)
    if not isinstance(saved, dict) or saved.get("format") != _FORMAT:
        return BASE, []
    try:
        return bytes(saved["base"]), [_entry(fields) for fields in saved["entries"][:ENTRIES_MAX]]
    except (KeyError, TypeError, ValueError):
        _log.warning("%s is damaged: the trust log starts anew", path)
        return BASE, []


def _entry(fields: list[Any]) -> Entry:
    at, what, facts, link = fields
    return Entry(int(at), str(what), {str(k): str(v) for k, v in facts.items()}, bytes(link))
