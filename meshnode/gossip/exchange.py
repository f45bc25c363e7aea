"""Exchange: push-pull by digests, which brings to everybody what lost packets left behind.

A digest says in 256 bytes whom we believe present; its reader answers with the members of a few
parts that differ; then each side asks for, or sends, the words that the other lacks. In a mesh of
2,000 that agrees this costs 400 bytes each three and a half minutes. Where a difference was found
the next exchange follows after a second, with another member.
"""

from collections.abc import Callable, Iterable
from math import inf

from meshnode.gossip.allowance import Allowances
from meshnode.gossip.member import Member
from meshnode.gossip.parts import differing, part_of
from meshnode.gossip.settings import GossipSettings
from meshnode.gossip.table import MemberTable
from meshnode.ids import Contact, NodeTag, tag_of
from meshnode.machine import Random
from meshnode.wire.limits import SUMMARY_ENTRIES_MAX, WANTED_MAX
from meshnode.wire.membership_table import ENTRY_BYTES, PARTS, TAG_BYTES
from meshnode.wire.messages import Digest, Summary, Want

AGAIN_S = 1.0
"""The next exchange after one that found a difference."""
ASKED_BURST, ASKED_REFILL_S = 8, 0.5
"""What one peer may ask for: digests and wants."""
OWED_CONTACTS_MAX = 64
OWED_WORDS_MAX = 512
"""Words that wait to be sent; more, and the oldest is dropped: another exchange brings it."""


class Exchange:
    """When to compare, what to answer, and the words that are owed."""

    def __init__(
        self, own: NodeTag, table: MemberTable, *, settings: GossipSettings, rng: Random
    ) -> None:
        self._own = own
        self._table = table
        self._settings = settings
        self._rng = rng
        self._asked = Allowances(burst=ASKED_BURST, refill_s=ASKED_REFILL_S)
        self._owed: dict[Contact, dict[NodeTag, None]] = {}
        """The members whose words somebody is to be sent. Who asked last is served first: those
        who wait have heard most of it from others meanwhile."""
        self._next_at = inf
        self._rest_s = AGAIN_S
        """How long we rest once a member agrees; twice as long each time that one does."""
        self._open_until = -inf
        self.dropped = 0

    def __bool__(self) -> bool:
        """Return whether words are owed."""
        return bool(self._owed)

    def start(self, now: float) -> None:
        """Make the first exchange soon: we may have missed much."""
        self._next_at = now + AGAIN_S * (1.0 + self._rng.random())

    def begin(self, incarnation: int, now: float) -> Digest | None:
        """Return a digest for a member that has just acked, if an exchange is due.

        Then its address is proved to us and ours to it, so that it may answer in full.
        """
        if now < self._next_at:
            return None
        self._next_at = now + AGAIN_S  # unless the answer says that we agree
        return Digest(parts=self._table.row(self._own, incarnation))

    def compare(
        self, sender: Contact, digest: Digest, incarnation: int, now: float
    ) -> Summary | None:
        """Return whom we believe present in some parts in which the sender differs; in none, if
        we agree. None: no answer.
        """
        if sender in self._owed or not self._asked.take(tag_of(sender.node_id), now):
            return None  # a newcomer that is being told everything needs no comparing yet
        parts = differing(self._table.row(self._own, incarnation), digest.parts)
        if parts:
            self._rest_s = AGAIN_S
            self._next_at = min(self._next_at, now + AGAIN_S)
        self._rng.shuffle(parts)
        listed: list[int] = []
        entries: list[bytes] = []
        for part in parts:
            members = [entry(m.tag, m.incarnation) for m in self._table.listed(part)]
            if part_of(self._own) == part:
                members.append(entry(self._own, incarnation))
            if listed and len(entries) + len(members) > SUMMARY_ENTRIES_MAX:
                break
            listed.append(part)
            entries += members
        whole = len(entries) <= SUMMARY_ENTRIES_MAX
        return Summary(
            parts=bytes(listed) if whole else b"",
            entries=b"".join(entries[:SUMMARY_ENTRIES_MAX]),
        )

    def learn(self, sender: Contact, summary: Summary, now: float) -> tuple[Want | None, bool]:
        """Return what to ask for, and whether the sender should be told of ourselves.

        What it lacks of ours is owed to it from now on.
        """
        if not summary.parts and not summary.entries:
            self._rest_s = min(
                2 * self._rest_s, self._settings.exchange_s(self._table.present_count + 1)
            )
            self._next_at = now + self._rest_s * (0.75 + 0.5 * self._rng.random())
            return None, False
        self._rest_s = AGAIN_S
        raw = summary.entries
        theirs: dict[NodeTag, int] = {}
        for at in range(0, len(raw), ENTRY_BYTES):
            tag = NodeTag(raw[at : at + TAG_BYTES])
            theirs[tag] = int.from_bytes(raw[at + TAG_BYTES : at + ENTRY_BYTES], "big")
        missing = [tag for tag, incarnation in theirs.items() if self._lacks(tag, incarnation)]
        behind = [
            tag
            for tag, incarnation in theirs.items()
            if (member := self._table.by_tag(tag)) is not None
            and (incarnation < member.incarnation or not member.state.present)
        ]
        listed = {part for part in summary.parts if part < PARTS}
        for part in sorted(listed):
            behind += [m.tag for m in self._table.listed(part) if m.tag not in theirs]
        about_us = part_of(self._own) in listed and self._own not in theirs
        self.owe(sender, behind)
        self._rng.shuffle(missing)
        want = Want(tags=b"".join(missing[:WANTED_MAX])) if missing else None
        return want, about_us

    def wanted(self, sender: Contact, want: Want, now: float) -> bool:
        """Owe what a peer asks for; return whether it asks for our own word too."""
        if not self._asked.take(tag_of(sender.node_id), now):
            return False
        raw = want.tags
        tags = [NodeTag(raw[at : at + TAG_BYTES]) for at in range(0, len(raw), TAG_BYTES)]
        self.owe(sender, (tag for tag in tags if self._table.by_tag(tag) is not None))
        return self._own in tags

    def owe(self, contact: Contact, tags: Iterable[NodeTag]) -> None:
        """Put words on the list of what is to be sent, as many as one contact may wait for."""
        wanted = list(tags)
        if not wanted:
            return
        if contact not in self._owed and len(self._owed) >= OWED_CONTACTS_MAX:
            self.dropped += len(self._owed.pop(next(iter(self._owed))))
        owed = self._owed.setdefault(contact, {})
        owed.update(dict.fromkeys(wanted))
        while len(owed) > OWED_WORDS_MAX:
            del owed[next(iter(owed))]
            self.dropped += 1

    def pay(self, add: Callable[[Member], bool]) -> Contact | None:
        """Strike the next words for one contact, as many as `add` takes; return the contact."""
        if not self._owed:
            return None
        contact = next(reversed(self._owed))
        owed = self._owed[contact]
        while owed:
            tag = next(iter(owed))
            member = self._table.by_tag(tag)
            if member is not None and not add(member):
                break
            del owed[tag]
        if not owed:
            del self._owed[contact]
        return contact

    def _lacks(self, tag: NodeTag, incarnation: int) -> bool:
        if tag == self._own:
            return False
        member = self._table.by_tag(tag)
        return member is None or incarnation > member.incarnation


def entry(tag: NodeTag, incarnation: int) -> bytes:
    """Return one entry of a summary."""
    return tag + incarnation.to_bytes(ENTRY_BYTES - TAG_BYTES, "big")
