"""SwimMachine: probe, ack, suspect, refute, and pass loads on.

The protocol is SWIM (Das, Gupta, Motivala 2002) with Lifeguard's local health, shrinking
suspicion and buddy system (Dadgar, Phillips, Currey 2017), and signatures under what members say;
`docs/protocol.md` section 3 has the messages, decision 0013 the reasons.

1. Each period a member or two are pinged, in shuffled rounds. No ack within a few round trips: k
   others are asked to ping it, and answer too if nothing comes. No ack at all: it is accused.
2. An accusation is signed by its accuser. A suspect has until a deadline that shrinks with each
   independent accuser. It is told at once, and whenever it is pinged. It refutes by a word of its
   own, signed, with a higher incarnation. Else each node by itself declares it dead when its own
   deadline is over: nobody can say of another that it is dead, or alive.
3. News rides on every message, least-sent first; the precedence in `member.py` makes its order
   irrelevant.
4. The dead are remembered, so that an old word does not bring them back, and probed now and then,
   so that two halves of a mesh find each other again. Push-pull heals what lost packets left.
5. A newcomer pings with its word; the answer has ours, and our table follows in gossips. Until its
   address is proved the answer is bare (never larger than the ping).
6. In a small mesh our load and the freshest others go to three members each second. In a large one
   a load goes to who subscribed to it, and glimpses of everybody wander about.
7. Time in which we could not act is nobody's fault but ours (`owntime.py`).
8. All that we send fits a budget; who cries wolf, flaps or lies is damped (`hearing.py`).

Nothing here raises because of a message: what makes no sense is ignored.
"""

from collections.abc import Sequence
from functools import partial
from math import inf

from meshnode.caps import Caps
from meshnode.gossip.allowance import Allowances
from meshnode.gossip.detector import Detector
from meshnode.gossip.events import Expel as Expel
from meshnode.gossip.events import HearLoad as HearLoad
from meshnode.gossip.events import Join as Join
from meshnode.gossip.events import Leave as Leave
from meshnode.gossip.events import LoadHeard as LoadHeard
from meshnode.gossip.events import MemberChanged as MemberChanged
from meshnode.gossip.events import SetLoad as SetLoad
from meshnode.gossip.events import Suspect as Suspect
from meshnode.gossip.events import SwimCommand as SwimCommand
from meshnode.gossip.events import SwimEffect as SwimEffect
from meshnode.gossip.events import SwimInput as SwimInput
from meshnode.gossip.events import WantLoads as WantLoads
from meshnode.gossip.glimpses import Glimpse
from meshnode.gossip.hearing import Hearing
from meshnode.gossip.load_talk import LoadTalk
from meshnode.gossip.member import Member
from meshnode.gossip.own import OwnSelf
from meshnode.gossip.owntime import OwnTime
from meshnode.gossip.settings import GossipSettings
from meshnode.gossip.sizes import Packer
from meshnode.gossip.speaker import Speaker
from meshnode.gossip.table import MemberTable
from meshnode.gossip.words import Witness
from meshnode.ids import Contact, NodeId, NodeTag, tag_of
from meshnode.labels import NO_TRAITS, Labels, Traits
from meshnode.machine import Random
from meshnode.wire.messages import (
    Ack,
    Digest,
    Glimpses,
    Gossip,
    MembershipWord,
    Nack,
    Ping,
    PingRequest,
    Received,
    Send,
    Subscribe,
    Summary,
    Want,
)

NEWS_GATHER_S = 0.02
"""News waits this long for company before its first gossip."""
JOIN_MAX = 64
"""Contacts greeted for one Join."""
JOIN_AGAIN = 3
"""More tries, half a second apart, if a contact does not answer; then the hall tries again."""
WELCOME_AGAIN_S = 10.0
"""A node that introduces itself again within this is not told everything again."""
FORGET_EVERY_S = 10.0


class SwimMachine:
    """The node's part in the gossip. `incarnation` is the last one used, plus one."""

    def __init__(
        self,
        own: Contact,
        *,
        name: str,
        caps: Caps,
        incarnation: int,
        traits: Traits = NO_TRAITS,
        settings: GossipSettings,
        witness: Witness,
        rng: Random,
    ) -> None:
        self._own = OwnSelf(
            own, name=name, caps=caps, incarnation=incarnation, witness=witness, traits=traits
        )
        self._settings = settings
        self._rng = rng
        self._time = OwnTime(settings.late_s if settings.local_health else inf)
        self._table = MemberTable(settings)
        self._speaker = Speaker(self._own, self._table, settings=settings, rng=rng)
        self._detector = Detector(
            self._own,
            self._table,
            self._speaker,
            clock=self._time.outside,
            settings=settings,
            rng=rng,
        )
        self.hearing = Hearing(
            self._own,
            self._table,
            self._speaker,
            order=self._detector.order,
            awareness=self._detector.awareness,
            settings=settings,
        )
        self._loads = LoadTalk(own, self._table, self._speaker, settings=settings, rng=rng)
        self._welcomes = Allowances(burst=1, refill_s=WELCOME_AGAIN_S)
        self._started = False
        self._gossip_at = self._news_at = self._forget_at = inf
        self._due_at = inf
        """When something is due next, in own time; of the time after the last input or tick."""
        self._news_sent_at = -inf

    # ------------------------------------------------------------------ read by the hall

    @property
    def incarnation(self) -> int:
        """Our own incarnation, to be kept over a restart."""
        return self._own.incarnation

    @property
    def left_out(self) -> int:
        """How many messages and pieces of news were dropped for want of room."""
        speaker = self._speaker
        return speaker.budget.refused + speaker.queue.dropped + speaker.exchange.dropped

    def member(self, node_id: NodeId) -> Member | None:
        """Return one member, whatever its state, or None if it is not known."""
        return self._table.get(node_id)

    def is_present(self, node_id: NodeId) -> bool:
        """Return whether another member is believed alive or merely suspected."""
        return self._table.knows_tag(tag_of(node_id))

    def members(self) -> tuple[Member, ...]:
        """Return every other member still remembered, whatever its state."""
        return self._table.all()

    def alive(self) -> tuple[Member, ...]:
        """Return the other members believed alive or merely suspected."""
        return tuple(self._table.present())

    def candidates(self, module: NodeTag, labels: Labels = ()) -> list[Member] | None:
        """Return whose loads we follow for one module; None in a small mesh: everybody's."""
        return self._loads.candidates(module, labels)

    def glimpse(self, node_id: NodeId, now: float) -> Glimpse | None:
        """Return what the wide view of a large mesh has of a member."""
        return self._speaker.glimpses.of(tag_of(node_id), self._time.inside(now))

    # ------------------------------------------------------------------ the three verbs

    def handle(self, event: SwimInput, now: float) -> Sequence[SwimEffect]:
        """See `Machine.handle`."""
        if self._own.left:
            return []
        own_now = self._own_time(now)
        if type(event) is Received and type(event.message) is Glimpses and self._started:
            self._hear_glimpses(event.sender, event.message, own_now)
            return ()
        if not self._started:
            self._start(own_now)
        if isinstance(event, Leave):
            self._own.leave()
            return self._speaker.farewell(now)
        return self._done(self._handle(event, now, own_now), now, own_now)

    def tick(self, now: float) -> Sequence[SwimEffect]:
        """Ask helpers, fail probes, end suspicions, start the next probe, gossip."""
        timer = self.next_timer()
        if timer is None or timer > now:
            return []
        own_now = self._own_time(now)
        effects: list[SwimEffect] = [*self._detector.ask_others(own_now)]
        unreached, again = self._detector.failed(own_now)
        effects += again
        for node_id in unreached:
            effects += self._accuse(node_id, now, own_now)
        effects += self.hearing.bury(now, own_now)
        effects += self._detector.probe(own_now)
        if own_now >= self._gossip_at:
            effects += self._gossip(now, own_now)
        if own_now >= self._news_at:
            effects += self._tell_news(now, own_now)
        return self._done(effects, now, own_now)

    def next_timer(self) -> float | None:
        """See `Machine.next_timer`; None before the first input and after leaving."""
        return self._time.timer(self._due_at) if self._started and not self._own.left else None

    # ------------------------------------------------------------------ inputs

    def _handle(
        self, event: SwimCommand | Received, now: float, own_now: float
    ) -> list[SwimEffect]:
        match event:
            case Received():
                return self._receive(event, now, own_now)
            case Join():
                others = [c for c in event.contacts if c.public_key != self._own.public_key]
                greet = partial(self._detector.introduce, now=own_now, again=JOIN_AGAIN)
                return [ping for contact in others[:JOIN_MAX] for ping in greet(contact)]
            case SetLoad():
                return [*self._speaker.set_load(event.load, now)]
            case HearLoad():
                return self._loads.hear([event.load], event.load.node, 0.0, now)
            case WantLoads():
                return [*self._loads.want(event, now, own_now)]
            case Suspect():
                return [*self._detector.hurry(event.node_id, own_now)]
            case Expel():
                return self.hearing.expel(event.node_id, now)

    def _receive(self, event: Received, now: float, own_now: float) -> list[SwimEffect]:
        message, sender = event.message, event.sender
        if sender.public_key == self._own.public_key:
            return []
        match message:
            case Ping():
                effects = self._hear(sender, message, now, own_now)
                effects += self._detector.greet(sender, own_now) if event.proved else []
                return [*effects, *self._answer(event, message, now, own_now)]
            case Ack():
                return self._acked(sender, message, now, own_now)
            case PingRequest():
                return [*self._detector.ping_for(sender, message, own_now, proved=event.proved)]
            case Gossip():
                effects = self._hear(sender, message, now, own_now)
                greeting = self._detector.greet(sender, own_now) if event.proved else []
                return [*effects, *greeting]
            case MembershipWord():
                return self._receive_word(event, message, now, own_now)
            case _:
                return []  # the DHT's

    def _hear_glimpses(self, sender: Contact, message: Glimpses, own_now: float) -> None:
        """Take what is most of a large mesh's messages and makes nothing due."""
        if self._table.knows_tag(tag_of(sender.node_id)):
            self._speaker.glimpses.hear(message.entries, own_now, self._table.tags)

    def _receive_word(
        self, event: Received, message: MembershipWord, now: float, own_now: float
    ) -> list[SwimEffect]:
        """Take one of the smaller messages; answers go only to addresses that are proved."""
        sender = event.sender
        known = self._table.knows_tag(tag_of(sender.node_id))
        match message:
            case Nack():
                self._detector.nacked(sender, message.sequence)
            case Digest() if known and event.proved:
                summary = self._speaker.exchange.compare(
                    sender, message, self._own.incarnation, own_now
                )
                return [] if summary is None else [Send(sender, summary)]
            case Summary() if known and event.proved:
                return self._learn(sender, message, now, own_now)
            case Want() if known and event.proved:
                if self._speaker.exchange.wanted(sender, message, own_now):
                    self._speaker.queue.put(self._own.word)
            case Subscribe() if known:
                return [*self._loads.asked(event, message, now)]
            case _:
                pass
        return []

    # ------------------------------------------------------------------ joining, pings and acks

    def _accuse(self, node_id: NodeId, now: float, own_now: float) -> list[SwimEffect]:
        """Suspect a member, and tell it first (Lifeguard's buddy system)."""
        member = self._table.get(node_id)
        if member is None or not member.state.present:
            return []
        effects = self.hearing.accuse(member, now, own_now)
        if self._settings.buddy_system:
            effects += self._detector.introduce(member.contact, own_now)
        return effects

    def _answer(self, event: Received, ping: Ping, now: float, own_now: float) -> list[SwimEffect]:
        """Ack a ping. Who introduces itself, or has us wrong, gets our word; newcomers get all."""
        sender = event.sender
        if not event.proved:
            return [Send(sender, Ack(sequence=ping.sequence))]
        tag = tag_of(sender.node_id)
        introduced = [u for u in ping.updates if u.contact.public_key == sender.public_key]
        accused = any(a.suspect == self._own.tag for a in ping.accusations)
        member = self._table.by_tag(tag)
        packed = Packer()
        about_us = any(u.contact.public_key == self._own.public_key for u in ping.updates)
        if member is None or introduced or accused or about_us:
            packed.add_update(self._own.word)
        for word in introduced:
            if member is not None and word.incarnation < member.incarnation:
                packed.add_update(member.word())  # it has lost its incarnation
        self._speaker.add_doubts(packed, sender)
        if introduced and self._welcomes.take(tag, own_now):
            self._speaker.welcome(sender)
        return [Send(sender, self._speaker.ack(ping.sequence, packed, now))]

    def _acked(self, sender: Contact, ack: Ack, now: float, own_now: float) -> list[SwimEffect]:
        passed_on, direct = self._detector.acked(sender, ack.sequence, own_now)
        effects: list[SwimEffect] = [*passed_on]
        effects += self._hear(sender, ack, now, own_now)
        effects += self._detector.greet(sender, own_now)
        if direct and self._table.knows_tag(tag_of(sender.node_id)):
            digest = self._speaker.exchange.begin(self._own.incarnation, own_now)
            effects += [] if digest is None else [Send(sender, digest)]
        return [*effects, *self._loads.acked(sender, ack, now)]

    def _hear(
        self, sender: Contact, said: Ping | Ack | Gossip, now: float, own_now: float
    ) -> list[SwimEffect]:
        effects = self.hearing.hear(sender, said.updates, said.accusations, now, own_now)
        if not said.loads:
            return effects
        member = self._table.get(sender.node_id)
        one_way_ms = 0.0 if member is None else (member.rtt_ms or 0.0) / 2
        return effects + self._loads.hear(said.loads, tag_of(sender.node_id), one_way_ms, now)

    def _learn(
        self, sender: Contact, summary: Summary, now: float, own_now: float
    ) -> list[SwimEffect]:
        want, about_us = self._speaker.exchange.learn(sender, summary, own_now)
        effects: list[SwimEffect] = [] if want is None else [Send(sender, want)]
        if about_us:
            effects += self._speaker.own_word(sender, now)
        return effects

    # ------------------------------------------------------------------ gossip

    def _gossip(self, now: float, own_now: float) -> list[SwimEffect]:
        jitter = 1.0 + self._settings.gossip_jitter * (2.0 * self._rng.random() - 1.0)
        self._gossip_at = own_now + self._settings.gossip_every_s * jitter
        if own_now >= self._forget_at:
            self._forget_at = own_now + FORGET_EVERY_S
            self._table.forget_old(now)
        self._detector.forget_old(own_now)
        return [*self._speaker.gossip(now, own_now), *self._loads.ask(now, own_now)]

    def _tell_news(self, now: float, own_now: float) -> list[SwimEffect]:
        self._news_sent_at = own_now
        effects: list[SwimEffect] = [*self._speaker.news(now)]
        again = self._speaker.has_news and self._table.present_count > 0
        self._news_at = own_now + self._speaker.news_at(now) - now if again else inf
        return effects

    # ------------------------------------------------------------------ parts

    def _start(self, own_now: float) -> None:
        """Arm the timers on the first input; nodes started together must not stay in step."""
        self._started = True
        self._detector.start(own_now)
        self._speaker.exchange.start(own_now)
        self._gossip_at = own_now + self._rng.random() * self._settings.gossip_every_s
        self._forget_at = own_now + FORGET_EVERY_S

    def _due(self) -> float:
        """Return when something is due next, in own time."""
        soonest = min(self._gossip_at, self._news_at, self._detector.next_deadline())
        suspicion = self._table.next_deadline()
        return soonest if suspicion is None or soonest < suspicion else suspicion

    def _own_time(self, now: float) -> float:
        own_now, late = self._time.read(now, self._due_at)
        if late:
            self._detector.awareness.worse()
        return own_now

    def _done(self, effects: list[SwimEffect], now: float, own_now: float) -> list[SwimEffect]:
        """Arm the round of news if there is any; leave out what overdraws the budget."""
        if self._news_at == inf and self._speaker.has_news and self._table.present_count > 0:
            earliest = self._news_sent_at + self._settings.news_every_s
            self._news_at = max(own_now + NEWS_GATHER_S, earliest)
        self._due_at = self._due()
        affords = self._speaker.affords
        return [e for e in effects if type(e) is not Send or affords(e, now)] if effects else []
