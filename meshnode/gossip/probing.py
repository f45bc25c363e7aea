"""Whom to probe next, which probes are out, and which we make for others.

SWIM section 4.3: members are probed in rounds, each round in a new random order, so that the time
until a member is met is bounded and not only likely.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from meshnode.ids import Contact, NodeId
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
        self._round: list[NodeId] = []

    def next(self, present: Collection[NodeId]) -> NodeId | None:
        """Return the next member of this round, or start a new one; None if nobody is there."""
        known = set(present)
        while self._round:
            node_id = self._round.pop()
            if node_id in known:
                return node_id
        self._round = list(present)
        self._rng.shuffle(self._round)
        return self._round.pop() if self._round else None

    def insert(self, node_id: NodeId) -> None:
        """Give a new member a random place in the present round."""
        self._round.insert(self._rng.randint(0, len(self._round)), node_id)


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

    def hurry(self, now: float, fails_s: float) -> None:
        """Ask others now if that was not done, and fail no later than `fails_s` from now."""
        self.fails_at = min(self.fails_at, now + fails_s)
        if self.ask_at is not None:
            self.ask_at = now


@dataclass(frozen=True, slots=True, kw_only=True)
class Relay:
    """A ping made for somebody else: to whom its ack belongs."""

    asker: Contact
    asked_sequence: int
    target: NodeId
    ends_at: float


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

    def delay(self, by_s: float) -> None:
        """Give every probe the time back that we slept through: its ack may wait in our socket."""
        for probe in self._probes.values():
            probe.fails_at += by_s
            if probe.ask_at is not None:
                probe.ask_at += by_s

    def next_deadline(self) -> float | None:
        """Return when `asking` or `failed` next has something, or None."""
        return min(
            (
                p.fails_at if p.ask_at is None else min(p.ask_at, p.fails_at)
                for p in self._probes.values()
            ),
            default=None,
        )

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
