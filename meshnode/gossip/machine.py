"""SwimMachine: probe, ack, suspect, refute, and pass load records on.

The protocol is SWIM (Das, Gupta, Motivala 2002) with Lifeguard's local health, shrinking
suspicion and buddy system (Dadgar, Phillips, Currey 2017); `docs/protocol.md` has the messages.

1. Each period one member is pinged, in shuffled rounds. No ack within a few round trips: k others
   are asked to ping it. No ack at all: it is a suspect.
2. A suspect has until a deadline that shrinks with each independent accuser. It is told at once,
   and whenever it is pinged. It refutes by raising its incarnation. Else it is dead.
3. Claims about members ride on every message, least-sent first; the precedence in `member.py`
   makes their order irrelevant. A claim about ourselves that is not ours is refuted.
4. The dead are remembered, so that an old claim does not bring them back; one of them is pinged
   every 30 s, so that two halves of a mesh find each other again. Every gossip also repeats a few
   random beliefs, which heals what lost packets left behind.
5. A newcomer pings with a claim about itself; the answer has a claim of ours, and our table
   follows in gossips. Until its address is proved the answer is bare (never larger than the ping).
6. Each second our load record and the freshest others go to the next three members; ages add up
   while records are held. Of each member only the highest sequence counts.
7. When our own timer is served late, everybody gets that time back: we were the slow one.

Nothing here raises because of a message: what makes no sense is ignored.
"""

from collections.abc import Iterable, Sequence
from math import inf

from meshnode.caps import Caps
from meshnode.gossip.detector import Detector, unless_alive
from meshnode.gossip.events import HearLoad as HearLoad
from meshnode.gossip.events import Join as Join
from meshnode.gossip.events import Leave as Leave
from meshnode.gossip.events import LoadHeard as LoadHeard
from meshnode.gossip.events import MemberChanged as MemberChanged
from meshnode.gossip.events import SetLoad as SetLoad
from meshnode.gossip.events import Suspect as Suspect
from meshnode.gossip.events import SwimEffect as SwimEffect
from meshnode.gossip.events import SwimInput as SwimInput
from meshnode.gossip.member import Member, MemberState, plausible
from meshnode.gossip.settings import GossipSettings
from meshnode.gossip.speaker import OwnSelf, Speaker
from meshnode.gossip.table import MemberTable
from meshnode.ids import Contact, NodeId, tag_of
from meshnode.machine import Random
from meshnode.wire.messages import (
    Ack,
    FindNode,
    FoundNodes,
    FoundRecords,
    GetRecords,
    Gossip,
    LoadRecord,
    MemberUpdate,
    Ping,
    PingRequest,
    PutRecord,
    PutReply,
    Received,
    Send,
)

NEWS_GATHER_S = 0.02
"""News waits this long for company before its first gossip."""
JOIN_MAX = 64
"""Contacts greeted for one Join."""
JOIN_AGAIN = 3
"""More tries, half a second apart, if a contact does not answer; then the hall tries again."""


class SwimMachine:
    """The node's part in the gossip. `incarnation` is the last one used, plus one."""

    def __init__(
        self,
        own: Contact,
        *,
        name: str,
        caps: Caps,
        incarnation: int,
        settings: GossipSettings,
        rng: Random,
    ) -> None:
        self._own = OwnSelf(own, name=name, caps=caps, incarnation=incarnation)
        self._settings = settings
        self._rng = rng
        self._table = MemberTable(settings)
        self._speaker = Speaker(self._own, self._table, settings=settings, rng=rng)
        self._detector = Detector(self._own, self._table, self._speaker, settings=settings, rng=rng)
        self._started = False
        self._gossip_at = self._news_at = inf
        self._news_sent_at = -inf

    # ------------------------------------------------------------------ read by the hall

    @property
    def incarnation(self) -> int:
        """Our own incarnation, to be kept over a restart."""
        return self._own.incarnation

    def members(self) -> tuple[Member, ...]:
        """Return every other member still remembered, whatever its state."""
        return self._table.all()

    def alive(self) -> tuple[Member, ...]:
        """Return the other members believed alive or merely suspected."""
        return tuple(self._table.present())

    # ------------------------------------------------------------------ the three verbs

    def handle(self, event: SwimInput, now: float) -> Sequence[SwimEffect]:
        """See `Machine.handle`."""
        if self._own.left:
            return []
        self._start(now)
        match event:
            case Received():
                return self._receive(event, now)
            case Join():
                others = [c for c in event.contacts if c.public_key != self._own.public_key]
                return self._join(others[:JOIN_MAX], now)
            case SetLoad():
                self._speaker.set_load(event.load, now)
                return []
            case HearLoad():
                return self._hear_loads([event.load], 0.0, now)
            case Suspect():
                return self._detector.hurry(event.node_id, now)
            case Leave():
                self._own.leave()
                return self._speaker.farewell(now)

    def tick(self, now: float) -> Sequence[SwimEffect]:
        """Ask helpers, fail probes, end suspicions, start the next probe, gossip."""
        timer = self.next_timer()
        if timer is None or timer > now:
            return []
        self._detector.forgive(now - timer)
        effects: list[SwimEffect] = [*self._detector.ask_others(now)]
        unreached, again = self._detector.failed(now)
        effects += again
        for node_id in unreached:
            effects += self._accuse(node_id, now)
        for member in self._table.expired(now):
            effects += self._come_to_believe(member, MemberState.DEAD, now)
        effects += self._detector.probe(now)
        if now >= self._gossip_at:
            effects += self._gossip(now)
        if now >= self._news_at:
            effects += self._tell_news(now)
        return effects

    def next_timer(self) -> float | None:
        """See `Machine.next_timer`; None before the first input and after leaving."""
        if not self._started or self._own.left:
            return None
        due = [self._gossip_at, self._news_at, self._detector.next_deadline()]
        suspicion = self._table.next_deadline()
        return min(due) if suspicion is None else min(suspicion, *due)

    def _join(self, contacts: Sequence[Contact], now: float) -> list[SwimEffect]:
        effects: list[SwimEffect] = []
        for contact in contacts:
            effects += self._detector.introduce(contact, now, again=JOIN_AGAIN)
        return effects

    # ------------------------------------------------------------------ suspects

    def _accuse(self, node_id: NodeId, now: float) -> list[SwimEffect]:
        """Suspect a member, and tell it first (Lifeguard's buddy system)."""
        member = self._table.get(node_id)
        if member is None or not member.state.present:
            return []
        if member.state is MemberState.ALIVE:
            self._detector.awareness.worse()
        effects = self._come_to_believe(member, MemberState.SUSPECT, now)
        return [*effects, *self._detector.introduce(member.contact, now)]

    def _come_to_believe(self, member: Member, state: MemberState, now: float) -> list[SwimEffect]:
        """Make a claim of our own, believe it and spread it."""
        claim = Member.claim(member.in_state(state), self._own.tag)
        return self._hear_update(claim, now)

    # ------------------------------------------------------------------ what others say

    def _receive(self, event: Received, now: float) -> list[SwimEffect]:
        message, sender = event.message, event.sender
        if sender.public_key == self._own.public_key:
            return []
        match message:
            case Ping():
                effects = self._hear(sender, message, now)
                effects += self._detector.greet(sender, now) if event.proved else []
                return [*effects, *self._answer(event, message, now)]
            case Ack():
                effects = [*self._detector.acked(sender, message.sequence, now)]
                effects += self._hear(sender, message, now)
                return [*effects, *self._detector.greet(sender, now)]
            case PingRequest():
                effects = [e for u in message.updates for e in self._hear_update(u, now)]
                return [*effects, *self._detector.ping_for(sender, message, now)]
            case Gossip():
                effects = self._hear(sender, message, now)
                return [*effects, *(self._detector.greet(sender, now) if event.proved else [])]
            case (
                FindNode() | FoundNodes() | GetRecords() | FoundRecords() | PutRecord() | PutReply()
            ):
                return []  # the DHT's

    def _hear(self, sender: Contact, said: Ping | Ack | Gossip, now: float) -> list[SwimEffect]:
        effects: list[SwimEffect] = []
        for update in said.updates:
            effects += self._hear_update(update, now)
        member = self._table.get(sender.node_id)
        one_way_ms = 0.0 if member is None else (member.rtt_ms or 0.0) / 2
        return effects + self._hear_loads(said.loads, one_way_ms, now)

    def _hear_update(self, update: MemberUpdate, now: float) -> list[SwimEffect]:
        if not plausible(update):
            return []
        if update.contact.public_key == self._own.public_key:
            if self._own.refutes(update):
                if update.state != MemberState.ALIVE:
                    self._detector.awareness.worse()
                self._spread(self._own.claim, now)
            return []
        applied = self._table.apply(update, now)
        if applied is None:
            return []
        member = applied.member
        self._spread(member.claim(update.accuser), now)
        if applied.appeared:
            self._detector.order.insert(member.contact.node_id)
        if applied.appeared or not member.state.present:
            self._speaker.loads.forget(tag_of(member.contact.node_id))
        return [MemberChanged(member)] if applied.changed else []

    def _hear_loads(
        self, loads: Iterable[LoadRecord], one_way_ms: float, now: float
    ) -> list[SwimEffect]:
        """Keep records of members that are present, older by the way they came."""
        return [
            LoadHeard(heard, now)
            for load in loads
            if self._table.knows_tag(load.node)
            and (heard := self._speaker.loads.hear(load, one_way_ms, now)) is not None
        ]

    def _answer(self, event: Received, ping: Ping, now: float) -> list[SwimEffect]:
        """Ack a ping. Who introduces itself, or has us wrong, gets our claim; newcomers get all."""
        sender = event.sender
        if not event.proved:
            return [Send(sender, Ack(sequence=ping.sequence))]
        keys = {u.contact.public_key for u in ping.updates}
        member = self._table.get(sender.node_id)
        about = [] if member is None else unless_alive(member)
        if member is None or sender.public_key in keys or self._own.public_key in keys:
            about = [self._own.claim, *about]
        if sender.public_key in keys and self._speaker.welcomes.wanted(sender.node_id, now):
            self._speaker.welcome(sender, now)
            self._news_soon(now)
        packed = self._speaker.packed(about, now)
        ack = Ack(sequence=ping.sequence, updates=packed.updates, loads=packed.loads)
        return [Send(sender, ack)]

    # ------------------------------------------------------------------ gossip

    def _gossip(self, now: float) -> list[SwimEffect]:
        jitter = 1.0 + self._settings.gossip_jitter * (2.0 * self._rng.random() - 1.0)
        self._gossip_at = now + self._settings.gossip_every_s * jitter
        self._table.forget_old(now)
        self._detector.forget_old(now)
        return [*self._speaker.gossip(now)]

    def _tell_news(self, now: float) -> list[SwimEffect]:
        self._news_sent_at = now
        effects: list[SwimEffect] = [*self._speaker.news(now)]
        again = self._speaker.has_news and self._table.present_count > 0
        self._news_at = now + self._settings.news_every_s if again else inf
        return effects

    def _spread(self, claim: MemberUpdate, now: float) -> None:
        self._speaker.queue.put(claim)
        self._news_soon(now)

    def _news_soon(self, now: float) -> None:
        earliest = max(now + NEWS_GATHER_S, self._news_sent_at + self._settings.news_every_s)
        self._news_at = min(self._news_at, earliest)

    # ------------------------------------------------------------------ parts

    def _start(self, now: float) -> None:
        """Arm the timers on the first input; nodes started together must not stay in step."""
        if not self._started:
            self._started = True
            self._detector.start(now)
            self._gossip_at = now + self._rng.random() * self._settings.gossip_every_s
