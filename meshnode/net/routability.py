"""Return routability: which addresses have proved that they receive what is sent to them.

A datagram's source can be forged. So each datagram carries a cookie for its recipient, and a
sender that gives one back has received at that address. Until then an answer may not be longer
than the requests it answers, or a forger could aim us at a third party (decision 0004).
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

from meshnode.identity.sealing import COOKIE_EPOCH_S, Cookies
from meshnode.ids import Contact

CONTACTS_MAX = 4096
"""Each of the three tables; the least recently used goes first."""
PROOF_LASTS_S = 2 * COOKIE_EPOCH_S
COOKIE_LASTS_S = COOKIE_EPOCH_S
"""A cookie is good for one to two epochs; after one it is renewed by every datagram anyway."""

V = TypeVar("V")


class LruTable(Generic[V]):
    """A dictionary by contact that forgets what was used longest ago."""

    def __init__(self, size_max: int = CONTACTS_MAX) -> None:
        self._size_max = size_max
        self._entries: OrderedDict[Contact, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, contact: Contact) -> V | None:
        """Return the entry and count it as used, or None."""
        found = self._entries.get(contact)
        if found is not None:
            self._entries.move_to_end(contact)
        return found

    def put(self, contact: Contact, value: V) -> None:
        """Enter or replace an entry."""
        self._entries[contact] = value
        self._entries.move_to_end(contact)
        if len(self._entries) > self._size_max:
            self._entries.popitem(last=False)

    def pop(self, contact: Contact) -> None:
        """Forget an entry if there is one."""
        self._entries.pop(contact, None)


@dataclass(frozen=True, slots=True)
class _Given:
    cookie: bytes
    until: float


class Routability:
    """What is proved of whom, and the cookies in both directions. `now` is monotonic seconds."""

    def __init__(self, secret: bytes) -> None:
        self._cookies = Cookies(secret)
        self._proved: LruTable[float] = LruTable()
        self._given: LruTable[_Given] = LruTable()
        self._credit: LruTable[int] = LruTable()

    def heard(
        self, sender: Contact, *, issued: bytes, returned: bytes, size: int, now: float
    ) -> bool:
        """Take in an authentic datagram of `size` bytes; return whether its address is proved."""
        if issued:
            self._given.put(sender, _Given(issued, now + COOKIE_LASTS_S))
        if returned and self._cookies.check(returned, sender.public_key, sender.address, now):
            self._proved.put(sender, now + PROOF_LASTS_S)
            self._credit.pop(sender)
            return True
        self._credit.put(sender, size)
        return False

    def issue(self, recipient: Contact, now: float) -> bytes:
        """Return our cookie for a recipient."""
        return self._cookies.issue(recipient.public_key, recipient.address, now)

    def cookie_of(self, contact: Contact, now: float) -> bytes:
        """Return the cookie that a contact gave us, or b"" if there is none that is fresh."""
        given = self._given.get(contact)
        return given.cookie if given is not None and now < given.until else b""

    def answer_max(self, recipient: Contact, now: float) -> int | None:
        """Return how long an answer may be; None if its address is proved: as long as it likes.

        The credit is what the last unproved datagram was long, and it is spent once.
        """
        until = self._proved.get(recipient)
        if until is not None and now < until:
            return None
        return self._credit.get(recipient) or 0

    def answered(self, recipient: Contact, size: int) -> None:
        """Spend the credit of an unproved address on an answer of `size` bytes."""
        left = self._credit.get(recipient)
        if left is not None:
            self._credit.put(recipient, max(0, left - size))
