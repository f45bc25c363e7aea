"""Return routability: which addresses have proved that they receive what is sent to them.

A datagram's source can be forged. So each datagram carries a cookie for its recipient, and a
sender that gives one back has received at that address. Until then an answer may not be longer
than the requests it answers, or a forger could aim us at a third party (decision 0004).
"""

from collections import OrderedDict
from dataclasses import dataclass
from hmac import compare_digest
from typing import Generic, TypeVar

from meshnode.identity.sealing import COOKIE_EPOCH_S, Cookies
from meshnode.ids import Contact

CONTACTS_MAX = 4096
"""The least recently used goes first."""
PROOF_LASTS_S = 2 * COOKIE_EPOCH_S
COOKIE_LASTS_S = COOKIE_EPOCH_S
"""A cookie is good for one to two epochs; after one it is renewed by every datagram anyway."""

V = TypeVar("V")


class LruTable(Generic[V]):
    """A dictionary by contact that forgets what was used longest ago."""

    def __init__(self, size_max: int = CONTACTS_MAX) -> None:
        self._size_max = size_max
        self._entries: OrderedDict[tuple[bytes, str, int], V] = OrderedDict()
        """By a plain tuple: a contact's own hash is three times as dear, and this is asked for
        every datagram."""
        self._latest: tuple[Contact, V] | None = None
        """Who was asked for last: one datagram asks for the same contact three times."""

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, contact: Contact) -> V | None:
        """Return the entry and count it as used, or None."""
        latest = self._latest
        if latest is not None and latest[0] is contact:
            return latest[1]
        name = (contact.public_key, contact.address.host, contact.address.port)
        found = self._entries.get(name)
        if found is not None:
            self._entries.move_to_end(name)
            self._latest = (contact, found)
        return found

    def put(self, contact: Contact, value: V) -> None:
        """Enter or replace an entry."""
        name = (contact.public_key, contact.address.host, contact.address.port)
        self._entries[name] = value
        self._entries.move_to_end(name)
        self._latest = (contact, value)
        if len(self._entries) > self._size_max:
            self._entries.popitem(last=False)


@dataclass(slots=True, eq=False)
class _Known:
    """One contact: what it gave us, what we gave it, and what it has proved."""

    given: bytes = b""
    given_until: float = 0.0
    proved_until: float = 0.0
    credit: int = 0
    """How long an answer may be while nothing is proved."""
    issued: bytes = b""
    issued_until: float = 0.0


class Routability:
    """What is proved of whom, and the cookies in both directions. `now` is monotonic seconds."""

    def __init__(self, secret: bytes) -> None:
        self._cookies = Cookies(secret)
        self._known: LruTable[_Known] = LruTable()

    def heard(
        self, sender: Contact, *, issued: bytes, returned: bytes, size: int, now: float
    ) -> bool:
        """Take in an authentic datagram of `size` bytes; return whether its address is proved."""
        known = self._entry(sender)
        if issued:
            known.given, known.given_until = issued, now + COOKIE_LASTS_S
        if returned and self._is_ours(known, returned, sender, now):
            known.proved_until = now + PROOF_LASTS_S
            known.credit = 0
            return True
        known.credit = size
        return False

    def issue(self, recipient: Contact, now: float) -> bytes:
        """Return our cookie for a recipient."""
        known = self._known.get(recipient)
        if known is None:  # nothing is kept for whom we only send to
            return self._cookies.issue(recipient.public_key, recipient.address, now)
        if now >= known.issued_until:
            known.issued = self._cookies.issue(recipient.public_key, recipient.address, now)
            known.issued_until = (now // COOKIE_EPOCH_S + 1) * COOKIE_EPOCH_S
        return known.issued

    def cookie_of(self, contact: Contact, now: float) -> bytes:
        """Return the cookie that a contact gave us, or b"" if there is none that is fresh."""
        known = self._known.get(contact)
        return known.given if known is not None and now < known.given_until else b""

    def answer_max(self, recipient: Contact, now: float) -> int | None:
        """Return how long an answer may be; None if its address is proved: as long as it likes.

        The credit is what the last unproved datagram was long, and it is spent once.
        """
        known = self._known.get(recipient)
        if known is None:
            return 0
        return None if now < known.proved_until else known.credit

    def answered(self, recipient: Contact, size: int) -> None:
        """Spend the credit of an unproved address on an answer of `size` bytes."""
        known = self._known.get(recipient)
        if known is not None:
            known.credit = max(0, known.credit - size)

    def _entry(self, contact: Contact) -> _Known:
        known = self._known.get(contact)
        if known is None:
            known = _Known()
            self._known.put(contact, known)
        return known

    def _is_ours(self, known: _Known, returned: bytes, sender: Contact, now: float) -> bool:
        if now < known.issued_until and compare_digest(returned, known.issued):
            return True
        return self._cookies.check(returned, sender.public_key, sender.address, now)
