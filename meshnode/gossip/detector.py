"""Detector: which pings go out, for ourselves and for others, and which of them failed.

It decides nothing about members: that a probe failed is the machine's business. All times here
are own time (`owntime.py`).
"""

from collections.abc import Callable
from math import inf

from meshnode.gossip.awareness import Awareness
from meshnode.gossip.member import Member, MemberState
from meshnode.gossip.own import OwnSelf
from meshnode.gossip.probing import RELAY_KEPT_S, Probe, ProbeOrder, Probes, Relay
from meshnode.gossip.settings import GossipSettings
from meshnode.gossip.speaker import Speaker
from meshnode.gossip.table import MemberTable
from meshnode.gossip.welcome import Greetings
from meshnode.ids import Contact, NodeId
from meshnode.machine import Random
from meshnode.wire.messages import Ack, Nack, PingRequest, Send

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
        clock: Callable[[float], float],
        settings: GossipSettings,
        rng: Random,
    ) -> None:
        self._clock = clock
        """Says what the clock shows at an own time: what is said is charged by the clock."""
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
        self.awareness = Awareness(settings.awareness_max if settings.local_health else 0)

    # ------------------------------------------------------------------ timers

    def start(self, now: float) -> None:
        """Arm the timers; nodes started together must not stay in step."""
        self._probe_at = now + self._rng.random() * self._settings.probe_every_s
        self._dead_probe_at = now + self._settings.dead_probe_every_s

    def next_deadline(self) -> float:
        """Return when something is due next."""
        return min(self._probe_at, self._dead_probe_at, self._probes.next_deadline())

    def probe(self, now: float) -> list[Send]:
        """Return the pings of this period that are due, and word to those who wait for one."""
        sends: list[Send] = []
        if now >= self._probe_at:
            sends += self._probe_next(now)
        if now >= self._dead_probe_at:
            sends += self._probe_dead(now)
        for relay in self._probes.nacking(now):
            sends.append(Send(relay.asker, Nack(sequence=relay.asked_sequence)))
        return sends

    def failed(self, now: float) -> tuple[list[NodeId], list[Send]]:
        """Return the members that nobody could reach in time, and introductions made again."""
        unreached: list[NodeId] = []
        sends: list[Send] = []
        for probe in self._probes.failed(now):
            if probe.accuses:
                unreached.append(probe.target.node_id)
                self.awareness.worse(probe.missing)
            elif probe.again > 0:
                sends += self.introduce(probe.target, now, again=probe.again - 1)
        return unreached, sends

    # ------------------------------------------------------------------ what the machine asks for

    def ask_others(self, now: float) -> list[Send]:
        """Have those pinged by others whose own ack is overdue."""
        sends: list[Send] = []
        for sequence, probe in self._probes.asking(now):
            target = self._table.get(probe.target.node_id)
            without = () if target is None else (target.tag,)
            for helper in self._table.sample(self._settings.indirect_probes, self._rng, without):
                probe.helpers.add(helper.contact.node_id)
                request = PingRequest(sequence=sequence, target=probe.target)
                sends.append(Send(helper.contact, request))
        return sends

    def introduce(self, contact: Contact, now: float, *, again: int = 0) -> list[Send]:
        """Ping with our word; whoever gets it learns us and answers with its own.

        A member that is not alive to us hears that too, and can refute it. Without an ack it is
        said up to `again` times more.
        """
        fails_s = self._settings.probe_timeout_s
        return self._ping(contact, now, introduces=True, fails_s=fails_s, again=again)

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
            if member.state is MemberState.SUSPECT and not self._settings.buddy_system:
                return []
        if self._probes.out_to(sender.node_id, accusing=False):
            return []
        if not self._greetings.allowed(sender.node_id, now):
            return []
        return self.introduce(sender, now, again=GREET_AGAIN)

    def forget_old(self, now: float) -> None:
        """Drop pings for others that nobody waits for any more."""
        self._probes.forget_relays(now)

    # ------------------------------------------------------------------ what others ask and answer

    def acked(self, sender: Contact, sequence: int, now: float) -> tuple[list[Send], bool]:
        """Take an ack: it ends a probe of ours, or is passed on to who asked for it.

        Also returns whether the sender itself answered a probe of ours in time.
        """
        relay = self._probes.relayed(sequence, sender.node_id, now)
        if relay is not None:
            return [Send(relay.asker, Ack(sequence=relay.asked_sequence))], False
        probe = self._probes.acked(sequence, sender.node_id)
        if probe is None:
            return [], False
        direct = probe.target.public_key == sender.public_key
        if direct:
            self._table.note_rtt(sender.node_id, (now - probe.sent_at) * 1000)
        if probe.accuses:
            self.awareness.better()
        return [], direct

    def nacked(self, sender: Contact, sequence: int) -> None:
        """Take a helper's word that the target does not answer it either."""
        self._probes.nacked(sequence, sender.node_id)

    def ping_for(
        self, asker: Contact, request: PingRequest, now: float, *, proved: bool
    ) -> list[Send]:
        """Ping a member for somebody else, at the address that we know: nobody may aim us.

        The asker gets an Ack, or soon a Nack, if its address is proved.
        """
        target = self._table.get(request.target.node_id)
        if target is None:
            return []
        nacks = proved and self._settings.local_health
        relay = Relay(
            asker=asker,
            asked_sequence=request.sequence,
            target=target.contact.node_id,
            ends_at=now + RELAY_KEPT_S,
            nack_at=now + self._settings.probe_timeout_s_min if nacks else None,
        )
        sequence = self.next_sequence()
        if not self._probes.add_relay(sequence, relay):
            return []
        return [
            Send(target.contact, self._speaker.ping(sequence, target.contact, self._clock(now)))
        ]

    def next_sequence(self) -> int:
        """Return a number for a question."""
        self._sequence = (self._sequence + 1) % 2**32
        return self._sequence

    # ------------------------------------------------------------------ parts

    def _probe_next(self, now: float) -> list[Send]:
        small = self._speaker.mesh_is_small
        probes = self._settings.probes_per_period if small else 1
        self._probe_at = now + self.awareness.scaled(self._settings.probe_every_s / probes)
        member = self.order.next(self._table)
        if member is None or self._probes.out_to(member.contact.node_id, accusing=True):
            return []
        return self._ping(
            member.contact,
            now,
            ask_s=self.awareness.scaled(self._settings.ack_timeout_s(member.rtt_ms)),
            fails_s=self.awareness.scaled(self._settings.probe_fails_s),
            accuses=True,
        )

    def _probe_dead(self, now: float) -> list[Send]:
        dead: list[Member] = self._table.dead()
        wait_s = self._settings.dead_probe_s(self._table.present_count + 1, len(dead))
        self._dead_probe_at = now + wait_s * (0.5 + self._rng.random())
        return self.introduce(self._rng.choice(dead).contact, now) if dead else []

    def _ping(
        self,
        contact: Contact,
        now: float,
        *,
        introduces: bool = False,
        ask_s: float | None = None,
        fails_s: float,
        accuses: bool = False,
        again: int = 0,
    ) -> list[Send]:
        """Ping `contact`, telling it first what we doubt of it, and our word if it `introduces`."""
        if not self._probes.has_room():
            return []
        sequence = self.next_sequence()
        probe = Probe(
            target=contact,
            sent_at=now,
            ask_at=None if ask_s is None else now + ask_s,
            fails_at=now + fails_s,
            accuses=accuses,
            again=again,
        )
        self._probes.add(sequence, probe)
        said = self._speaker.ping(sequence, contact, self._clock(now), introduces=introduces)
        return [Send(contact, said)]
