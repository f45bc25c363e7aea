"""Hearing: what others say of members and of us, checked, believed, refuted, passed on.

Cheapest first: would it change anything; has its author worn out our patience; only then is a
signature verified. What is not signed by whom it must be is charged to who passed it on.
"""

from collections.abc import Iterable

from meshnode.gossip.allowance import Allowances
from meshnode.gossip.awareness import Awareness
from meshnode.gossip.events import MemberChanged, SwimEffect
from meshnode.gossip.member import Member, MemberState, plausible
from meshnode.gossip.own import OwnSelf
from meshnode.gossip.probing import ProbeOrder
from meshnode.gossip.settings import GossipSettings
from meshnode.gossip.speaker import Speaker
from meshnode.gossip.table import Applied, MemberTable
from meshnode.ids import Contact, NodeId, tag_of
from meshnode.wire.messages import Accusation, MemberUpdate

LIES_BURST, LIES_REFILL_S = 4, 10.0
"""Bad signatures that one peer may pass on; then what rides on its messages is not looked at."""
REFUTE_BURST, REFUTE_REFILL_S = 8, 1.0
"""How often we refute: nobody can make us talk all day, and a suspicion leaves four seconds."""


class Hearing:
    """Believes, or not."""

    def __init__(
        self,
        own: OwnSelf,
        table: MemberTable,
        speaker: Speaker,
        *,
        order: ProbeOrder,
        awareness: Awareness,
        settings: GossipSettings,
    ) -> None:
        self._own = own
        self._table = table
        self._speaker = speaker
        self._order = order
        self._awareness = awareness
        self._accusers = Allowances(
            burst=settings.accuser_burst, refill_s=settings.accuser_refill_s
        )
        self._words = Allowances(burst=settings.word_burst, refill_s=settings.word_refill_s)
        self._liars = Allowances(burst=LIES_BURST, refill_s=LIES_REFILL_S)
        self._refutations = Allowances(burst=REFUTE_BURST, refill_s=REFUTE_REFILL_S)
        self.false_signatures = 0
        self.damped = 0
        """Words and accusations left out because their author had too many."""

    def hear(
        self,
        sender: Contact,
        updates: Iterable[MemberUpdate],
        accusations: Iterable[Accusation],
        now: float,
        own_now: float,
    ) -> list[SwimEffect]:
        """Take what rides on a message; words first, as accusations name their incarnation."""
        effects: list[SwimEffect] = []
        if not self._liars.may(tag_of(sender.node_id), now):
            return effects
        for update in updates:
            effects += self._hear_word(sender, update, now)
        for accusation in accusations:
            effects += self._hear_accusation(sender, accusation, now, own_now)
        return effects

    def accuse(self, member: Member, now: float, own_now: float) -> list[SwimEffect]:
        """Make an accusation of our own, believe it and spread it."""
        accusation = self._own.accuse(member.contact.node_id, member.incarnation)
        return self._believe_accusation(accusation, now, own_now)

    def bury(self, now: float, own_now: float) -> list[SwimEffect]:
        """Declare dead whose time to refute is over."""
        effects: list[SwimEffect] = []
        for member in self._table.expired(now, own_now):
            self._forget_load(member)
            effects.append(MemberChanged(member))
        return effects

    def expel(self, node_id: NodeId, now: float) -> list[SwimEffect]:
        """Take a revoked member for gone. It is not told on: others have their own revocations."""
        member = self._table.expel(node_id, now)
        if member is None:
            return []
        self._forget_load(member)
        return [MemberChanged(member)]

    # ------------------------------------------------------------------ words

    def _hear_word(self, sender: Contact, update: MemberUpdate, now: float) -> list[SwimEffect]:
        if not plausible(update):
            return []
        if update.contact.public_key == self._own.public_key:
            if self._own.outdone(update):
                self._own.rise_above(update.incarnation)
                self._speaker.queue.put(self._own.word)
            return []
        if not self._table.wants(update):
            if self._speaker.queue:
                self._speaker.queue.heard(update)
            return []
        tag = tag_of(update.contact.node_id)
        solicited = self._table.by_tag(tag) is None or self._table.solicited(update)
        if not solicited and not self._words.may(tag, now):
            self.damped += 1
            return []
        if not self._own.witness.is_own_word(update):
            self._lied(sender, now)
            return []
        if not solicited:
            self._words.spend(tag, now)
        applied = self._table.apply(update, now)
        return [] if applied is None else self._follow_word(applied, now)

    def _follow_word(self, applied: Applied, now: float) -> list[SwimEffect]:
        member = applied.member
        accusers = tuple(a.accuser for a in applied.refuted)
        self._speaker.queue.drop(member.tag, accusers)
        for accuser in accusers:
            self._accusers.spend(accuser, now)
        self._speaker.queue.put(member.word())
        if applied.appeared:
            self._order.insert(member.tag)
        if applied.appeared or not member.state.present:
            self._forget_load(member)
        return [MemberChanged(member)] if applied.changed else []

    # ------------------------------------------------------------------ accusations

    def _hear_accusation(
        self, sender: Contact, accusation: Accusation, now: float, own_now: float
    ) -> list[SwimEffect]:
        if accusation.suspect == self._own.tag:
            self._defend(sender, accusation, now)
            return []
        suspect = self._table.by_tag(accusation.suspect)
        accuser = self._table.by_tag(accusation.accuser)
        if suspect is None or accuser is None or suspect is accuser or not accuser.state.present:
            return []
        if not self._table.doubts(accusation):
            if self._speaker.queue:
                self._speaker.queue.heard(accusation)
            return []
        if not self._accusers.may(accusation.accuser, now):
            self.damped += 1
            return []
        if not self._own.witness.is_true(accusation, suspect.contact.node_id, accuser.contact):
            self._lied(sender, now)
            return []
        return self._believe_accusation(accusation, now, own_now)

    def _believe_accusation(
        self, accusation: Accusation, now: float, own_now: float
    ) -> list[SwimEffect]:
        applied = self._table.accuse(accusation, now, own_now)
        if applied is None:
            return []
        self._speaker.queue.put(accusation)
        return [MemberChanged(applied.member)] if applied.changed else []

    def _defend(self, sender: Contact, accusation: Accusation, now: float) -> None:
        """Refute an accusation of our present incarnation; to an older one, repeat our word."""
        if accusation.incarnation > self._own.incarnation:
            return
        accuser = sender
        if accusation.accuser != tag_of(sender.node_id):
            member = self._table.by_tag(accusation.accuser)
            if member is None:
                return
            accuser = member.contact
        own_id = self._own.contact.node_id
        if not self._own.witness.is_true(accusation, own_id, accuser):
            self._lied(sender, now)
        elif accusation.incarnation < self._own.incarnation:
            self._speaker.queue.put(self._own.word)
        elif self._refutations.take(self._own.tag, now):
            self._awareness.worse()
            self._own.rise_above(accusation.incarnation)
            self._speaker.queue.put(self._own.word)

    # ------------------------------------------------------------------ parts

    def _lied(self, sender: Contact, now: float) -> None:
        self.false_signatures += 1
        self._liars.spend(tag_of(sender.node_id), now)

    def _forget_load(self, member: Member) -> None:
        self._speaker.loads.forget(member.tag)
        if member.state in (MemberState.DEAD, MemberState.LEFT):
            self._speaker.glimpses.forget(member.tag)
            self._speaker.subscribers.remove(member.tag)
