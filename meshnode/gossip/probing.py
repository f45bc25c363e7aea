"""Whom to probe next, which probes are out, and which we make for others.

SWIM section 4.3: members are probed in rounds, each round in a new random order, so that the time
until a member is met is bounded and not only likely.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

from meshnode.gossip.member import Member
from meshnode.gossip.table import MemberTable
from meshnode.ids import Contact, NodeId, NodeTag
from meshnode.machine import Random

PROBES_MAX = 512
"""Pings that may be unanswered at once; more are not sent."""
RELAYS_MAX = 256
"""Probes made for others at once; a request above that is dropped."""
RELAY_KEPT_S = 2.0


class ProbeOrder:
    """The rounds."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._round: list[NodeTag] = []

    def next(self, table: MemberTable) -> Member | None:
        """Return the next member of this round, or start a new one; None if nobody is there."""
        while self._round:
            member = table.by_tag(self._draw())
            if member is not None and member.state.present:
                return member
        self._round = [member.tag for member in table.present()]
        return table.by_tag(self._draw()) if self._round else None

    def insert(self, tag: NodeTag) -> None:
        """Let a new member take part in the present round."""
        self._round.append(tag)

    def _draw(self) -> NodeTag:
        """Take anybody of those left; the last one takes the place."""
        place = int(self._rng.random() * len(self._round))
        tag = self._round[place]
        self._round[place] = self._round[-1]
        self._round.pop()
        return tag


@dataclass(slots=True, kw_only=True)
class Probe:
    """One ping that is not answered yet."""

    target: Contact
    sent_at: float
    ask_at: float | None
    """When others are asked to ping too; None: never, or done."""
    fails_at: float
    accuses: bool
    """Failing makes the target a suspect. Not so for greetings and for the dead."""
    again: int = 0
    """How often a ping that accuses nobody is repeated while it fails."""
    helpers: set[NodeId] = field(default_factory=set)
    nacks: set[NodeId] = field(default_factory=set)
    """Helpers that answered us, though the target did not answer them."""

    @property
    def missing(self) -> int:
        """How many helpers were not heard of at all; with none asked, it may be our fault too."""
        return len(self.helpers) - len(self.nacks) if self.helpers else 1

    def hurry(self, now: float, fails_s: float) -> None:
        """Ask others now if that was not done, and fail no later than `fails_s` from now."""
        self.fails_at = min(self.fails_at, now + fails_s)
        if self.ask_at is not None:
            self.ask_at = now


@dataclass(slots=True, kw_only=True)
class Relay:
    """A ping made for somebody else: to whom its ack belongs."""

    asker: Contact
    asked_sequence: int
    target: NodeId
    ends_at: float
    nack_at: float | None
    """When the asker is told that nothing came yet; None: never, or done."""


class Probes:
    """Everything that waits for an ack, by the sequence number of our own ping."""

    def __init__(self) -> None:
        self._probes: dict[int, Probe] = {}
        self._relays: dict[int, Relay] = {}

    def has_room(self) -> bool:
        """Return whether another ping may go out."""
        return len(self._probes) < PROBES_MAX

    def add(self, sequence: int, probe: Probe) -> None:
        """Remember a ping that was sent."""
        self._probes[sequence] = probe

    def out_to(self, node_id: NodeId, *, accusing: bool) -> Probe | None:
        """Return an unanswered ping of this kind to a node, or None."""
        for probe in self._probes.values():
            if probe.accuses is accusing and probe.target.node_id == node_id:
                return probe
        return None

    def acked(self, sequence: int, sender: NodeId) -> Probe | None:
        """Return and end the probe that this ack answers; None unless the sender was asked."""
        probe = self._probes.get(sequence)
        if probe is None or (sender != probe.target.node_id and sender not in probe.helpers):
            return None
        return self._probes.pop(sequence)

    def asking(self, now: float) -> Sequence[tuple[int, Probe]]:
        """Return the probes whose direct ack is overdue, each once."""
        due = [(s, p) for s, p in self._probes.items() if p.ask_at is not None and p.ask_at <= now]
        for _, probe in due:
            probe.ask_at = None
        return due

    def failed(self, now: float) -> list[Probe]:
        """Return and end the probes that nobody answered in time."""
        due = [s for s, p in self._probes.items() if p.fails_at <= now]
        return [self._probes.pop(s) for s in due]

    def nacked(self, sequence: int, sender: NodeId) -> None:
        """Note that a helper answered without the target."""
        probe = self._probes.get(sequence)
        if probe is not None and sender in probe.helpers:
            probe.nacks.add(sender)

    def next_deadline(self) -> float:
        """Return when `asking`, `failed` or `nacking` next has something."""
        soonest = inf
        for probe in self._probes.values():
            at = probe.fails_at if probe.ask_at is None else min(probe.ask_at, probe.fails_at)
            soonest = min(soonest, at)
        for relay in self._relays.values():
            if relay.nack_at is not None:
                soonest = min(soonest, relay.nack_at)
        return soonest

    def nacking(self, now: float) -> list[Relay]:
        """Return the relays whose asker is to be told that nothing came yet, each once."""
        due = [r for r in self._relays.values() if r.nack_at is not None and r.nack_at <= now]
        for relay in due:
            relay.nack_at = None
        return due

    def add_relay(self, sequence: int, relay: Relay) -> bool:
        """Remember a ping made for another; False if there are too many."""
        if len(self._relays) >= RELAYS_MAX:
            return False
        self._relays[sequence] = relay
        return True

    def relayed(self, sequence: int, sender: NodeId, now: float) -> Relay | None:
        """Return and end the relay that this ack answers, if it is the target's and in time."""
        relay = self._relays.get(sequence)
        if relay is None or relay.target != sender:
            return None
        del self._relays[sequence]
        return relay if relay.ends_at > now else None

    def forget_relays(self, now: float) -> None:
        """Drop relays nobody waits for any more."""
        self._relays = {s: r for s, r in self._relays.items() if r.ends_at > now}
