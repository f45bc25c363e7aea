"""Speaker: what goes into our datagrams, so that each carries the most useful of what fits.

Order of importance: what the receiver must hear (doubts about it, our word), our own load, news of
members, words that are owed, the loads of others, reminders. Nothing but pings and their answers
is composed without room in the budget; news and owed words wait for it where they are.
"""

from collections.abc import Iterable
from functools import partial

from meshnode.gossip.broadcast import BroadcastQueue, News
from meshnode.gossip.budget import Budget
from meshnode.gossip.exchange import Exchange
from meshnode.gossip.glimpses import GlimpseTable, entry_of
from meshnode.gossip.loads import LoadTable, aged
from meshnode.gossip.member import UNSIGNED, Member, MemberState
from meshnode.gossip.own import OwnSelf
from meshnode.gossip.probing import ProbeOrder
from meshnode.gossip.settings import GossipSettings
from meshnode.gossip.sizes import (
    AROUND_BYTES,
    ENVELOPE_BYTES,
    PAYLOAD_BYTES,
    Packer,
    datagram_bytes,
    headers_bytes,
)
from meshnode.gossip.subscribers import Subscribers
from meshnode.gossip.table import MemberTable
from meshnode.gossip.turn import Turn
from meshnode.ids import Contact, tag_of
from meshnode.machine import Random
from meshnode.wire.excerpts import excerpt
from meshnode.wire.messages import (
    Accusation,
    Ack,
    Datagram,
    Glimpses,
    Gossip,
    LoadRecord,
    Ping,
    Send,
    Subscribe,
)

OWED_PACKETS = 4
"""Datagrams of owed words in one round of news."""
REMINDERS_MAX = 3
"""Random beliefs repeated in each gossip of a small mesh, where there is room."""
LEAVE_TOLD_MAX = 16
WORDS_BYTES_MAX = PAYLOAD_BYTES - ENVELOPE_BYTES
PACKET_BYTES_MIN = 400
"""With less room no packet of news is begun: it would be all envelope."""
RIDING_BYTES_MAX = 512
"""What rides on a ping or an ack: more would use up what is kept for the next ones."""

CHARGED = frozenset({Gossip, Glimpses, Subscribe})
"""What was charged to the budget when it was composed; all else is when it is sent."""


class Speaker:
    """Composes datagrams from the own word, the news, the table and the loads."""

    def __init__(
        self, own: OwnSelf, table: MemberTable, *, settings: GossipSettings, rng: Random
    ) -> None:
        self._own = own
        self._table = table
        self._settings = settings
        self._rng = rng
        self._own_load: tuple[LoadRecord, float] | None = None
        self._turn = Turn()
        self._order = ProbeOrder(rng)
        self.budget = Budget(
            settings.bytes_per_s, headers_bytes=headers_bytes(own.contact.address.host)
        )
        self.loads = LoadTable(settings.load_age_s_max)
        self.glimpses = GlimpseTable(settings)
        self.subscribers = Subscribers(settings)
        self.queue = BroadcastQueue(settings.retransmit_mult)
        self.exchange = Exchange(own.tag, table, settings=settings, rng=rng)

    @property
    def has_news(self) -> bool:
        """Whether somebody must be told something before the next gossip."""
        return bool(self.queue) or bool(self.exchange)

    @property
    def mesh_is_small(self) -> bool:
        """Whether everybody's load goes to everybody."""
        return self._cluster_size() <= self._settings.small_mesh_max

    def affords(self, send: Send, now: float) -> bool:
        """Return whether there is room for what was not charged yet, and charge it."""
        message = send.message
        return type(message) in CHARGED or self.budget.urgent(datagram_bytes(message), now)

    # ------------------------------------------------------------------ pings and acks

    def ping(self, sequence: int, target: Contact, now: float, *, introduces: bool = False) -> Ping:
        """Return a ping that tells its target what we doubt of it, first of all."""
        packed = Packer()
        if introduces:
            packed.add_update(self._own.word)
        self.add_doubts(packed, target, gone=introduces)
        packed.narrow(RIDING_BYTES_MAX)
        self._fill(packed, now, whole=True)
        return Ping(
            sequence=sequence,
            updates=packed.updates,
            accusations=packed.accusations,
            loads=packed.loads,
        )

    def ack(self, sequence: int, packed: Packer, now: float) -> Ack:
        """Return an ack with what is packed already, and a little more."""
        packed.narrow(RIDING_BYTES_MAX)
        self._fill(packed, now, whole=True)
        return Ack(
            sequence=sequence,
            updates=packed.updates,
            accusations=packed.accusations,
            loads=packed.loads,
        )

    def add_doubts(self, packed: Packer, target: Contact, *, gone: bool = True) -> None:
        """Add what a member should refute, if anything: one accusation, by ourselves.

        It can verify that, whoever else accused it, because we are the one that sends it. Who is
        gone to us also gets its own last word: it may have lost its incarnation.
        """
        member = self._table.get(target.node_id)
        if member is None or member.state is MemberState.ALIVE:
            return
        if member.state is MemberState.SUSPECT and not self._settings.buddy_system:
            return
        if gone and not member.state.present and member.signature != UNSIGNED:
            packed.add_update(member.word())
        if member.state is not MemberState.LEFT:
            packed.add_accusation(self._own_accusation(member))

    # ------------------------------------------------------------------ rounds

    def gossip(self, now: float, own_now: float) -> list[Send]:
        """Return the periodic gossip: loads and reminders, or in a large mesh a glimpse."""
        if self.mesh_is_small:
            return self._gossip_loads(now)
        return self._gossip_glimpses(now, own_now)

    def news(self, now: float) -> list[Send]:
        """Return news to random members, and the next words that are owed.

        The first telling goes before what somebody waits for, and that before repetition.
        """
        sends: list[Send] = []
        fanout = self._settings.gossip_fanout if self.queue else 0
        targets = self._targets(fanout)
        while targets and self.queue.has_fresh(fanout):
            sends += self._tell(targets.pop().contact, now)
        for _ in range(OWED_PACKETS):
            packer = self._roomy(now)
            if packer is None:
                break
            contact = self.exchange.pay(partial(_add_belief, packer, self._table))
            if contact is None or not packer:
                break
            sends += self._bulk(contact, packer, now)
        for member in targets:
            sends += self._tell(member.contact, now)
        return sends

    def news_at(self, now: float) -> float:
        """Return when the next round of news can be sent."""
        return max(
            now + self._settings.news_every_s,
            self.budget.when(PACKET_BYTES_MIN + AROUND_BYTES, now),
        )

    def set_load(self, load: LoadRecord, now: float) -> list[Send]:
        """Say this of ourselves from now on; it ages like any other record. Returns the pushes."""
        self._own_load = (load, now - load.age_ms / 1000)
        size = datagram_bytes(Gossip(loads=(excerpt(load, 0),)))
        due = self.subscribers.due(load, size, now)
        if due:
            self._turn.next()
        return self._push(due, self._turn.excerpt(load), now)

    def first_push(self, contact: Contact, now: float) -> list[Send]:
        """Return our whole load for who subscribed; nothing if we have said none."""
        if self._own_load is None:
            return []
        return self._push([contact], aged(*self._own_load, now), now)

    def welcome(self, newcomer: Contact) -> None:
        """Begin to tell a newcomer of everybody present."""
        others = self._table.sample(
            self._settings.welcome_max, self._rng, (tag_of(newcomer.node_id),)
        )
        self.exchange.owe(newcomer, [m.tag for m in others])

    def farewell(self, now: float) -> list[Send]:
        """Return the word that we are going, to many at once as we will not repeat it."""
        word = Gossip(updates=(self._own.word,))
        size = datagram_bytes(word)
        return [
            Send(member.contact, word)
            for member in self._targets(LEAVE_TOLD_MAX)
            if self.budget.spare(size, now) or self.budget.urgent(size, now)
        ]

    def own_word(self, contact: Contact, now: float) -> list[Send]:
        """Return our word for one who lacks it, if there is room."""
        return self._metered(contact, Gossip(updates=(self._own.word,)), now)

    # ------------------------------------------------------------------ parts

    def _gossip_loads(self, now: float) -> list[Send]:
        self._turn.next()
        freshest = self.loads.freshest(self._settings.loads_forwarded + 1, now)
        remembered = self._table.all()
        sends = []
        for member in self._next_targets(self._settings.gossip_fanout):
            loads = [r for r in freshest if r.node != member.tag]
            reminders = self._rng.sample(remembered, min(REMINDERS_MAX, len(remembered)))
            forwarded = loads[: self._settings.loads_forwarded]
            sends += self._gossip_to(member.contact, forwarded, reminders, now)
        return sends

    def _gossip_glimpses(self, now: float, own_now: float) -> list[Send]:
        """Return one packet of the wide view, the same for a few members."""
        load = None if self._own_load is None else self._own_load[0]
        packet = Glimpses(entries=self.glimpses.packet(entry_of(self._own.tag, load), own_now))
        sends = []
        fanout = 1 if self.queue else self._settings.glimpse_fanout  # news goes first
        for member in self._targets(fanout):
            sends += self._metered(member.contact, packet, now)
        return sends

    def _gossip_to(
        self, contact: Contact, loads: list[LoadRecord], reminders: list[Member], now: float
    ) -> list[Send]:
        """Return one packet, or two where the records name so many modules that one is full."""
        first = self._roomy(now)
        if first is None:
            self.budget.refused += 1
            return []
        self._fill(first, now)
        for other in reminders[:1]:
            _add_belief(first, self._table, other)
        rest = [load for load in loads if not first.add_load(load)]
        for other in reminders[1:]:
            _add_belief(first, self._table, other)
        sends = self._bulk(contact, first, now)
        second = self._roomy(now) if rest else None
        if second is not None:
            for load in rest:
                second.add_load(load)
            sends += self._bulk(contact, second, now)
        return sends

    def _fill(self, packed: Packer, now: float, *, whole: bool = False) -> None:
        """Add our load, in a small mesh, and news where the budget has room.

        A round's gossip tells one module of ours. Whoever has just come would hear of the last one
        after a minute; so who is probed hears all of them.
        """
        if self._own_load is not None and self.mesh_is_small:
            load = aged(*self._own_load, now)
            if not (whole and packed.add_load(load)):
                packed.add_load(self._turn.excerpt(load))
        if self.queue and self.budget.is_plenty(now):
            self.queue.fill(packed, self._cluster_size())

    def _tell(self, contact: Contact, now: float) -> list[Send]:
        """Return a packet of news."""
        packer = self._roomy(now)
        if packer is None:
            return []
        self.queue.fill(packer, self._cluster_size())
        return self._bulk(contact, packer, now)

    def _own_accusation(self, member: Member) -> Accusation:
        for accusation in self._table.evidence(member.tag):
            if accusation.accuser == self._own.tag:
                return accusation
        return self._own.accuse(member.contact.node_id, member.incarnation)

    def _push(self, contacts: Iterable[Contact], load: LoadRecord, now: float) -> list[Send]:
        message = Gossip(loads=(load,))
        size = datagram_bytes(message)
        return [Send(contact, message) for contact in contacts if self.budget.spare(size, now)]

    def _roomy(self, now: float) -> Packer | None:
        """Return a packet as large as the budget allows, or None if that is too little."""
        room = int(self.budget.room(now)) - AROUND_BYTES
        return Packer(min(WORDS_BYTES_MAX, room)) if room >= PACKET_BYTES_MIN else None

    def _bulk(self, contact: Contact, packer: Packer, now: float) -> list[Send]:
        """Return a packet that was made for the room there is."""
        if not packer:
            return []
        send = _gossip(contact, packer)
        self.budget.charge(datagram_bytes(send.message), now)
        return [send]

    def _metered(self, contact: Contact, message: Datagram, now: float) -> list[Send]:
        """Return a message that may be left out, if there is room for it."""
        return [Send(contact, message)] if self.budget.spare(datagram_bytes(message), now) else []

    def _next_targets(self, count: int) -> list[Member]:
        """Return members in shuffled rounds, so that nobody waits long for a record of ours."""
        chosen: dict[bytes, Member] = {}
        for _ in range(min(count, self._table.present_count)):
            member = self._order.next(self._table)
            if member is not None:
                chosen[member.tag] = member
        return list(chosen.values())

    def _targets(self, count: int) -> list[Member]:
        return self._table.sample(count, self._rng)

    def _cluster_size(self) -> int:
        return self._table.present_count + 1


def _add_belief(packer: Packer, table: MemberTable, member: Member) -> bool:
    """Add a member's word and, if it is doubted, the accusations; False if the packet is full."""
    if member.signature == UNSIGNED:
        return True  # it was expelled, and has not said so
    news: list[News] = [member.word(), *table.evidence(member.tag)]
    return all(packer.add(each) for each in news)


def _gossip(contact: Contact, packer: Packer) -> Send:
    return Send(
        contact,
        Gossip(updates=packer.updates, accusations=packer.accusations, loads=packer.loads),
    )
