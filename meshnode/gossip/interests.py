"""Interests: the kinds of work this node gives away, the candidates for each, and whose load is
therefore subscribed to.

placement.md: a view of at most 32, the own LAN and, by their capacity, others that have the
capability. Candidates are drawn from the members and the wide view, and drawn anew now and then.
"""

from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import TypeAlias

from meshnode.caps import Caps
from meshnode.gossip.glimpses import MODULE_BYTES, GlimpseTable
from meshnode.gossip.member import Member, MemberState
from meshnode.gossip.settings import GossipSettings
from meshnode.gossip.table import MemberTable
from meshnode.ids import Contact, NodeId, NodeTag, tag_of
from meshnode.labels import Labels
from meshnode.machine import Random

Work: TypeAlias = tuple[NodeTag, Labels]
"""A kind of work: a module, and the labels that whoever does it must have."""
INTERESTS_MAX = 8
"""Kinds of work at once; the one not asked for longest goes first."""
REDRAW_S = 30.0
SUBSCRIPTIONS_MAX = 64
RENEW_S = 10.0
"""A third of a lease: two renewals may be lost."""
RETRY_S = 1.0
TRIES_MAX = 3
"""After so many without any load heard, a candidate is asked only with the renewals."""
NEAR_MS = 3.0
"""A round trip within a LAN."""
NEAR_SHARE = 0.75
"""Of the candidates may be near; the rest see what the others do not."""
HELD_WEIGHT = 4.0
SPEED_UNKNOWN = 1000


@dataclass(slots=True)
class _Interest:
    required: Caps
    asked_at: float
    drawn_at: float = -1e9
    members: list[NodeTag] = field(default_factory=list)


@dataclass(slots=True)
class _Subscription:
    sequence: int
    asked_at: float
    heard: bool = False
    tries: int = 1


class Interests:
    """What we want to know of others' loads."""

    def __init__(
        self,
        own: Contact,
        table: MemberTable,
        glimpses: GlimpseTable,
        *,
        settings: GossipSettings,
        rng: Random,
    ) -> None:
        self._lan = _lan_of(own.address.host)
        self._table = table
        self._glimpses = glimpses
        self._settings = settings
        self._rng = rng
        self._interests: dict[Work, _Interest] = {}
        self._subscriptions: dict[NodeTag, _Subscription] = {}

    def __bool__(self) -> bool:
        """Return whether there is anything to keep up."""
        return bool(self._interests or self._subscriptions)

    def want(self, module: NodeTag, required: Caps, now: float, labels: Labels = ()) -> None:
        """Take part in, or go on with, one kind of work."""
        work = module, labels
        interest = self._interests.pop(work, None)
        if interest is None or interest.required != required:
            interest = _Interest(required, now)
        interest.asked_at = now
        self._interests[work] = interest
        if len(self._interests) > INTERESTS_MAX:
            del self._interests[next(iter(self._interests))]
        if now - interest.drawn_at > REDRAW_S:
            self._draw(work, interest, now)

    def candidates(self, module: NodeTag, labels: Labels = ()) -> list[Member]:
        """Return the candidates for one kind of work that are still there."""
        interest = self._interests.get((module, labels))
        found = map(self._table.by_tag, interest.members) if interest is not None else ()
        return [m for m in found if m is not None and m.state.present]

    def subscribe(self, sequence: int, now: float, *, most: int) -> list[tuple[Member, int, bool]]:
        """Return whom to ask now, with which number, and whether for or against a subscription.

        Who is beyond the first `most` is asked next time.
        """
        self._age(now)
        wanted: dict[NodeTag, Member] = {}
        for module, labels in reversed(self._interests):
            wanted.update((m.tag, m) for m in self.candidates(module, labels))
        chosen = dict(list(wanted.items())[:SUBSCRIPTIONS_MAX])
        asks: list[tuple[Member, int, bool]] = []
        for tag in [t for t in self._subscriptions if t not in chosen][:most]:
            del self._subscriptions[tag]
            member = self._table.by_tag(tag)
            if member is not None and member.state.present:
                asks.append((member, sequence + len(asks), False))
        for tag, member in chosen.items():
            if len(asks) >= most:
                break
            if self._is_due(tag, now):
                tries = self._subscriptions[tag].tries + 1 if tag in self._subscriptions else 1
                number = sequence + len(asks)
                self._subscriptions[tag] = _Subscription(number, now, tries=tries)
                asks.append((member, number, True))
        return asks

    def acked(self, sender: NodeId, sequence: int) -> bool:
        """Return whether a subscription was answered by a bare ack, and is to be said again.

        That is how a node answers whose cookie we lacked; now we have it.
        """
        subscription = self._subscriptions.get(tag_of(sender))
        again = (
            subscription is not None
            and subscription.sequence == sequence
            and not subscription.heard
            and subscription.tries <= TRIES_MAX
        )
        if again and subscription is not None:
            subscription.tries += 1
        return again

    def heard(self, tag: NodeTag) -> None:
        """A load came from a member itself."""
        subscription = self._subscriptions.get(tag)
        if subscription is not None:
            subscription.heard, subscription.tries = True, 0

    # ------------------------------------------------------------------ parts

    def _is_due(self, tag: NodeTag, now: float) -> bool:
        subscription = self._subscriptions.get(tag)
        if subscription is None:
            return True
        eager = not subscription.heard and subscription.tries < TRIES_MAX
        return now - subscription.asked_at >= (RETRY_S if eager else RENEW_S)

    def _age(self, now: float) -> None:
        for work, interest in list(self._interests.items()):
            if now - interest.asked_at > self._settings.interest_s:
                del self._interests[work]
            elif now - interest.drawn_at > REDRAW_S:
                self._draw(work, interest, now)

    def _draw(self, work: Work, interest: _Interest, now: float) -> None:
        """Draw the candidates of one kind of work anew: near ones first, then by capacity."""
        interest.drawn_at = now
        module, labels = work
        asked = set(labels)
        count = self._settings.candidates_max
        able = [
            m
            for m in self._table.present()
            if m.state is MemberState.ALIVE
            and m.caps.satisfies(interest.required)
            and asked <= set(m.traits.labels)
        ]
        near = [m for m in able if self._is_near(m)]
        near.sort(key=lambda m: NEAR_MS if m.rtt_ms is None else m.rtt_ms)
        chosen = [m.tag for m in near[: int(count * NEAR_SHARE)]]
        taken = set(chosen)
        # Efraimidis and Spirakis: the largest u^(1/weight) are a sample by weight.
        drawn = sorted(
            (m for m in able if m.tag not in taken),
            key=lambda m: -(self._rng.random() ** (1.0 / self._weight(m, module, now))),
        )
        interest.members = chosen + [m.tag for m in drawn[: count - len(chosen)]]

    def _is_near(self, member: Member) -> bool:
        if member.rtt_ms is not None:
            return member.rtt_ms <= NEAR_MS
        return self._lan is not None and _lan_of(member.contact.address.host) == self._lan

    def _weight(self, member: Member, module: NodeTag, now: float) -> float:
        """Return how much work a member takes, as far as it was glimpsed."""
        glimpse = self._glimpses.of(member.tag, now)
        if glimpse is None:
            return 1.0
        if glimpse.draining:
            return 0.01
        weight = SPEED_UNKNOWN / max(1, glimpse.speed or SPEED_UNKNOWN)
        return weight * (HELD_WEIGHT if module[:MODULE_BYTES] in glimpse.modules else 1.0)


def _lan_of(host: str) -> str | None:
    """Return the /24 (/64) of a private address, or None for any other."""
    try:
        ip = ip_address(host)
    except ValueError:
        return None
    if not ip.is_private:
        return None
    return str(ip_network((ip, 24 if ip.version == 4 else 64), strict=False))
