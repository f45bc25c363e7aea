"""Detector: which pings go out, for ourselves and for others, and which of them failed.

It decides nothing about members: that a probe failed is the machine's business.
"""

from collections.abc import Iterable
from math import inf

from meshnode.gossip.awareness import Awareness
from meshnode.gossip.member import Member, MemberState
from meshnode.gossip.probing import RELAY_KEPT_S, Probe, ProbeOrder, Probes, Relay
from meshnode.gossip.settings import GossipSettings
from meshnode.gossip.speaker import OwnSelf, Speaker
from meshnode.gossip.table import MemberTable
from meshnode.gossip.welcome import Greetings
from meshnode.ids import Contact, NodeId
from meshnode.machine import Random
from meshnode.wire.messages import Ack, MemberUpdate, Ping, PingRequest, Send

LEFT_QUIET_S = 5.0
"""What a member said on its way out may arrive this much later; it is not greeted for it."""
GREET_AGAIN = 1


class Detector:
    """The failure detector's traffic."""

    def __init__(
        self,
        own: OwnSelf,
        table: MemberTable,
        speaker: Speaker,
        *,
        settings: GossipSettings,
        rng: Random,
    ) -> None:
        self._own = own
        self._table = table
        self._speaker = speaker
        self._settings = settings
        self._rng = rng
        self._probes = Probes()
        self._greetings = Greetings()
        self._sequence = rng.getrandbits(32)
        self._probe_at = self._dead_probe_at = inf
        self.order = ProbeOrder(rng)
        self.awareness = Awareness(settings.awareness_max)

    # ------------------------------------------------------------------ timers

    def start(self, now: float) -> None:
        """Arm the timers; nodes started together must not stay in step."""
        self._probe_at = now + self._rng.random() * self._settings.probe_every_s
        self._dead_probe_at = now + self._settings.dead_probe_every_s

    def next_deadline(self) -> float:
        """Return when something is due next."""
        waiting = self._probes.next_deadline()
        return min(self._probe_at, self._dead_probe_at, inf if waiting is None else waiting)

    def probe(self, now: float) -> list[Send]:
        """Return the pings of this period that are due."""
        sends: list[Send] = []
        if now >= self._probe_at:
            sends += self._probe_next(now)
        if now >= self._dead_probe_at:
            self._dead_probe_at = now + self._settings.dead_probe_every_s
            dead = self._table.dead()
            sends += self.introduce(self._rng.choice(dead).contact, now) if dead else []
        return sends

    def failed(self, now: float) -> tuple[list[NodeId], list[Send]]:
        """Return the members that nobody could reach in time, and introductions made again."""
        unreached: list[NodeId] = []
        sends: list[Send] = []
        for probe in self._probes.failed(now):
            if probe.accuses:
                unreached.append(probe.target.node_id)
            elif probe.again > 0:
                sends += self.introduce(probe.target, now, again=probe.again - 1)
        return unreached, sends

    # ------------------------------------------------------------------ what the machine asks for

    def ask_others(self, now: float) -> list[Send]:
        """Have those pinged by others whose own ack is overdue."""
        sends: list[Send] = []
        for sequence, probe in self._probes.asking(now):
            key = probe.target.public_key
            others = [m for m in self._table.present() if m.contact.public_key != key]
            count = min(self._settings.indirect_probes, len(others))
            for helper in self._rng.sample(others, count):
                probe.helpers.add(helper.contact.node_id)
                request = PingRequest(sequence=sequence, target=probe.target)
                sends.append(Send(helper.contact, request))
        return sends

    def introduce(self, contact: Contact, now: float, *, again: int = 0) -> list[Send]:
        """Ping with a claim about ourselves; whoever gets it learns us and answers with its own.

        A member that is not alive to us hears that too, first of all, and can refute it. Without
        an ack it is said up to `again` times more.
        """
        member = self._table.get(contact.node_id)
        about = [self._own.claim, *([] if member is None else unless_alive(member))]
        fails_s = self._settings.probe_timeout_s
        return self._ping(contact, now, about=about, fails_s=fails_s, again=again)

    def hurry(self, node_id: NodeId, now: float) -> list[Send]:
        """Ping a member and have it pinged at once, since a call found it silent already."""
        member = self._table.get(node_id)
        if member is None or member.state is not MemberState.ALIVE:
            return []
        fails_s = self.awareness.scaled(self._settings.hint_fails_s)
        sends: list[Send] = []
        probe = self._probes.out_to(node_id, accusing=True)
        if probe is None:
            sends += self._ping(member.contact, now, ask_s=0.0, fails_s=fails_s, accuses=True)
        else:
            probe.hurry(now, fails_s)
        return sends + self.ask_others(now)

    def greet(self, sender: Contact, now: float) -> list[Send]:
        """Introduce ourselves to somebody who speaks to us but is not alive to us."""
        member = self._table.get(sender.node_id)
        if member is not None:
            leaving = member.state is MemberState.LEFT and now - member.changed_at < LEFT_QUIET_S
            if member.state is MemberState.ALIVE or leaving:
                return []
        if self._probes.out_to(sender.node_id, accusing=False):
            return []
        if not self._greetings.allowed(sender.node_id, now):
            return []
        return self.introduce(sender, now, again=GREET_AGAIN)

    def forget_old(self, now: float) -> None:
        """Drop pings for others that nobody waits for any more."""
        self._probes.forget_relays(now)

    def forgive(self, late_s: float) -> None:
        """When we slept, what others sent may still wait in our socket: give the time back."""
        if late_s > self._settings.late_s:
            self.awareness.worse()
            self._probes.delay(late_s)
            self._table.delay(late_s)

    # ------------------------------------------------------------------ what others ask and answer

    def acked(self, sender: Contact, sequence: int, now: float) -> list[Send]:
        """Take an ack: it ends a probe of ours, or is passed on to who asked for it."""
        relay = self._probes.relayed(sequence, sender.node_id, now)
        if relay is not None:
            return [Send(relay.asker, Ack(sequence=relay.asked_sequence))]
        probe = self._probes.acked(sequence, sender.node_id)
        if probe is not None:
            if probe.target.public_key == sender.public_key:
                self._table.note_rtt(sender.node_id, (now - probe.sent_at) * 1000)
            if probe.accuses:
                self.awareness.better()
        return []

    def ping_for(self, asker: Contact, request: PingRequest, now: float) -> list[Send]:
        """Ping a member for somebody else, at the address that we know: nobody may aim us."""
        target = self._table.get(request.target.node_id)
        if target is None:
            return []
        relay = Relay(
            asker=asker,
            asked_sequence=request.sequence,
            target=target.contact.node_id,
            ends_at=now + RELAY_KEPT_S,
        )
        sequence = self._next_sequence()
        if not self._probes.add_relay(sequence, relay):
            return []
        return [Send(target.contact, Ping(sequence=sequence, updates=tuple(unless_alive(target))))]

    # ------------------------------------------------------------------ parts

    def _probe_next(self, now: float) -> list[Send]:
        every_s = self._settings.probe_every_s / self._settings.probes_per_period
        self._probe_at = now + self.awareness.scaled(every_s)
        node_id = self.order.next([m.contact.node_id for m in self._table.present()])
        member = None if node_id is None else self._table.get(node_id)
        if member is None or self._probes.out_to(member.contact.node_id, accusing=True):
            return []
        return self._ping(
            member.contact,
            now,
            about=unless_alive(member),
            ask_s=self.awareness.scaled(self._settings.ack_timeout_s(member.rtt_ms)),
            fails_s=self.awareness.scaled(self._settings.probe_fails_s),
            accuses=True,
        )

    def _ping(
        self,
        contact: Contact,
        now: float,
        *,
        about: Iterable[MemberUpdate] = (),
        ask_s: float | None = None,
        fails_s: float,
        accuses: bool = False,
        again: int = 0,
    ) -> list[Send]:
        """Ping `contact`, telling it the claims in `about` first."""
        if not self._probes.has_room():
            return []
        sequence = self._next_sequence()
        probe = Probe(
            target=contact,
            sent_at=now,
            ask_at=None if ask_s is None else now + ask_s,
            fails_at=now + fails_s,
            accuses=accuses,
            again=again,
        )
        self._probes.add(sequence, probe)
        packed = self._speaker.packed(about, now)
        ping = Ping(sequence=sequence, updates=packed.updates, loads=packed.loads)
        return [Send(contact, ping)]

    def _next_sequence(self) -> int:
        self._sequence = (self._sequence + 1) % 2**32
        return self._sequence


def unless_alive(member: Member) -> list[MemberUpdate]:
    """Return our claim about a member that it should refute, if there is one."""
    return [] if member.state is MemberState.ALIVE else [member.claim()]
