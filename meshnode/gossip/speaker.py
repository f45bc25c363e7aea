"""Speaker: what goes into our datagrams, so that each carries the most useful of what fits.

Order of importance: what the receiver must hear (claims about it or about us), our own load, news
of members, a reminder, the freshest loads of others, more reminders.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from meshnode.caps import Caps
from meshnode.gossip.broadcast import BroadcastQueue
from meshnode.gossip.loads import LoadTable, aged
from meshnode.gossip.member import INCARNATION_JUMP_MAX, Member, MemberState
from meshnode.gossip.probing import ProbeOrder
from meshnode.gossip.settings import GossipSettings
from meshnode.gossip.sizes import Packer
from meshnode.gossip.table import MemberTable
from meshnode.gossip.welcome import Welcomes
from meshnode.ids import Contact, tag_of
from meshnode.machine import Random
from meshnode.wire.messages import Gossip, LoadRecord, MemberUpdate, Send

WELCOME_PACKETS = 4
"""Datagrams to one newcomer in one round of news."""
REMINDERS_MAX = 3
"""Random beliefs repeated in each gossip, where there is room."""
LEAVE_TOLD_MAX = 16


class OwnSelf:
    """What we say about ourselves: one claim, and the incarnation that only we raise."""

    def __init__(self, contact: Contact, *, name: str, caps: Caps, incarnation: int) -> None:
        self._member = Member(
            contact=contact, name=name, caps=caps, state=MemberState.ALIVE, incarnation=incarnation
        )
        self.tag = tag_of(contact.node_id)
        self.public_key = contact.public_key

    @property
    def incarnation(self) -> int:
        """The present incarnation."""
        return self._member.incarnation

    @property
    def left(self) -> bool:
        """Whether we said that we are going."""
        return self._member.state is MemberState.LEFT

    @property
    def claim(self) -> MemberUpdate:
        """The claim as it is gossiped."""
        return self._member.claim()

    def leave(self) -> None:
        """Say from now on that we are going."""
        self._member = replace(self._member, state=MemberState.LEFT)

    def refutes(self, update: MemberUpdate) -> bool:
        """Raise the incarnation above a claim about us that is not ours; say whether it was.

        An alive claim is not ours either if it says another address: it is of an earlier life.
        """
        ahead = update.incarnation - self.incarnation
        if not 0 <= ahead <= INCARNATION_JUMP_MAX:
            return False
        if ahead == 0 and replace(update, accuser=self.claim.accuser) == self.claim:
            return False
        self._member = replace(self._member, incarnation=update.incarnation + 1)
        return True


class Speaker:
    """Composes datagrams from the own claim, the news, the table and the loads."""

    def __init__(
        self, own: OwnSelf, table: MemberTable, *, settings: GossipSettings, rng: Random
    ) -> None:
        self._own = own
        self._table = table
        self._settings = settings
        self._rng = rng
        self._own_load: tuple[LoadRecord, float] | None = None
        self._order = ProbeOrder(rng)
        self.loads = LoadTable(settings.load_age_s_max)
        self.queue = BroadcastQueue(settings.retransmit_mult)
        self.welcomes = Welcomes()

    @property
    def has_news(self) -> bool:
        """Whether somebody must be told something before the next gossip."""
        return bool(self.queue) or bool(self.welcomes)

    def set_load(self, load: LoadRecord, now: float) -> None:
        """Say this of ourselves from now on; it ages like any other record."""
        self._own_load = (load, now - load.age_ms / 1000)

    def packed(self, first: Iterable[MemberUpdate], now: float) -> Packer:
        """Return a packet with these claims, our load, and as much news as fits."""
        packer = Packer()
        for update in first:
            packer.add_update(update)
        if self._own_load is not None:
            packer.add_load(aged(*self._own_load, now))
        self.queue.fill(packer, self._cluster_size())
        return packer

    def gossip(self, now: float) -> list[Send]:
        """Return the periodic gossip to the next members: loads, news, reminders."""
        freshest = self.loads.freshest(self._settings.loads_forwarded + 1, now)
        remembered = self._table.all()
        sends = []
        for member in self._next_targets(self._settings.gossip_fanout):
            tag = tag_of(member.contact.node_id)
            loads = [r for r in freshest if r.node != tag][: self._settings.loads_forwarded]
            reminders = self._rng.sample(remembered, min(REMINDERS_MAX, len(remembered)))
            sends += self._gossip_to(member.contact, loads, reminders, now)
        return sends

    def news(self, now: float) -> list[Send]:
        """Return news to random members, and the next packets to newcomers."""
        sends = []
        for member in self._targets(self._settings.gossip_fanout):
            packer = Packer()
            self.queue.fill(packer, self._cluster_size())
            if packer.updates:
                sends.append(_send(member.contact, packer))
        for contact, left in self.welcomes.open():
            sends += self._welcome(contact, left, now)
        self.welcomes.close_told()
        return sends

    def welcome(self, newcomer: Contact, now: float) -> None:
        """Begin to tell a newcomer of everybody present."""
        others = [m for m in self._table.present() if m.contact.public_key != newcomer.public_key]
        told = self._rng.sample(others, min(self._settings.welcome_max, len(others)))
        self.welcomes.begin(newcomer, [m.claim() for m in told], now)

    def farewell(self, now: float) -> list[Send]:
        """Return the word that we are going, to many at once as we will not repeat it."""
        packer = self.packed([self._own.claim], now)
        return [_send(m.contact, packer) for m in self._targets(LEAVE_TOLD_MAX)]

    def _gossip_to(
        self, contact: Contact, loads: list[LoadRecord], reminders: list[Member], now: float
    ) -> list[Send]:
        """Return one packet, or two where the records name so many modules that one is full."""
        first = self.packed((), now)
        for other in reminders[:1]:
            first.add_update(other.claim())
        rest = [load for load in loads if not first.add_load(load)]
        second = Packer()
        for load in rest:
            second.add_load(load)
        for other in reminders[1:]:
            first.add_update(other.claim())
        return [_send(contact, packed) for packed in (first, second) if packed]

    def _welcome(self, contact: Contact, left: list[MemberUpdate], now: float) -> list[Send]:
        """Return the next packets to one newcomer; what they carry is taken from `left`."""
        sends = []
        for _ in range(WELCOME_PACKETS):
            packer = Packer()
            while left and packer.add_update(left[-1]):
                left.pop()
            if not packer.updates:
                break
            for load in self.loads.freshest(self._settings.loads_forwarded, now):
                packer.add_load(load)
            sends.append(_send(contact, packer))
        return sends

    def _next_targets(self, count: int) -> list[Member]:
        """Return members in shuffled rounds, so that nobody waits long for a record of ours."""
        present = {m.contact.node_id: m for m in self._table.present()}
        chosen = (self._order.next(present) for _ in range(min(count, len(present))))
        return [present[i] for i in dict.fromkeys(chosen) if i is not None]

    def _targets(self, count: int) -> Sequence[Member]:
        present = self._table.present()
        return self._rng.sample(present, min(count, len(present)))

    def _cluster_size(self) -> int:
        return self._table.present_count + 1


def _send(contact: Contact, packer: Packer) -> Send:
    return Send(contact, Gossip(updates=packer.updates, loads=packer.loads))
