"""MemberTable: what is believed of every peer, and which suspicions run.

Bounded: when it is full, those that are gone make room; if none is, a newcomer is not taken.
Nothing that happens for each datagram or timer looks at every member.
"""

from collections.abc import Collection, Container
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush

from meshnode.gossip.allowance import Allowances
from meshnode.gossip.member import UNSIGNED, Member, MemberState, overrides
from meshnode.gossip.parts import Parts, part_of
from meshnode.gossip.settings import GossipSettings
from meshnode.gossip.suspicion import Suspicion, suspect_from
from meshnode.ids import NodeId, NodeTag, tag_of
from meshnode.machine import Random
from meshnode.wire.messages import Accusation, MemberUpdate

RTT_GAIN = 0.2
"""Weight of the newest sample in the moving average of a member's round trip."""

RTT_JUMP_MAX = 4.0
"""One sample counts as this many times the average at most: an ack that a stopped process sends
seconds late says nothing of the link, while a link that became slow shows within a few acks."""

RECOVERIES_MAX, RECOVERY_KEPT_S = 3, 60.0
"""Suspicions that a member refuted and is remembered for, each so long: it is slow, not dead."""
PATIENCE_EACH = 2.0
"""So many times the shortest suspicion is added for each."""

DRAWS_MAX = 8
"""Draws for each member wanted in a sample, before those not drawn are looked for one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What a word changed here."""

    member: Member
    appeared: bool
    """It was not in the table before, or was gone and is back."""
    changed: bool
    """Something that a reader of the table can see: state, address, name or capabilities."""
    refuted: tuple[Accusation, ...] = ()
    """Accusations that have proved false by it."""


class MemberTable:
    """Every other member still remembered. Knows nothing of the own node.

    Two times: `now` is the clock's, shown to people; `own` is `OwnTime`'s, of the suspicions.
    """

    def __init__(self, settings: GossipSettings) -> None:
        self._settings = settings
        self._members: dict[NodeTag, Member] = {}
        self._roll: list[NodeTag] = []
        """Everybody present, in the order of their coming, and some that are gone since."""
        self._listed: set[NodeTag] = set()
        """Who is on the roll."""
        self._gone: dict[NodeTag, None] = {}
        self._suspicions: dict[NodeTag, Suspicion] = {}
        """Of suspects, and of the dead: why they are."""
        self._deadlines: list[tuple[float, NodeTag]] = []
        """A heap; an entry is void if its suspicion has another deadline by now."""
        self._parts = Parts()
        self._recoveries = Allowances(burst=RECOVERIES_MAX, refill_s=RECOVERY_KEPT_S)
        self.present_count = 0

    def get(self, node_id: NodeId) -> Member | None:
        """Return a member, or None if it is not known."""
        member = self._members.get(tag_of(node_id))
        return member if member is not None and member.contact.node_id == node_id else None

    def by_tag(self, tag: NodeTag) -> Member | None:
        """Return a member by its short name, or None if it is not known."""
        return self._members.get(tag)

    def knows_tag(self, tag: NodeTag) -> bool:
        """Return whether a present member has this tag."""
        return tag in self._members and tag not in self._gone

    @property
    def tags(self) -> Container[NodeTag]:
        """Who is remembered, whatever the state."""
        return self._members

    def all(self) -> tuple[Member, ...]:
        """Return every member remembered, whatever its state."""
        return tuple(self._members.values())

    def present(self) -> list[Member]:
        """Return those alive or merely suspected."""
        return [m for m in self._members.values() if m.state.present]

    def dead(self) -> list[Member]:
        """Return those declared dead, which a healed partition may bring back."""
        gone = (self._members[tag] for tag in self._gone)
        return [m for m in gone if m.state is MemberState.DEAD]

    @property
    def dead_count(self) -> int:
        """How many are gone, those that left included."""
        return len(self._gone)

    def sample(self, count: int, rng: Random, without: Collection[NodeTag] = ()) -> list[Member]:
        """Return up to `count` random present members, each once."""
        chosen: dict[NodeTag, Member] = {}
        draws = DRAWS_MAX * count
        while self._roll and len(chosen) < count and draws:
            draws -= 1
            index = int(rng.random() * len(self._roll))
            tag = self._roll[index]
            if not self.knows_tag(tag):
                self._strike(index)
            elif tag not in chosen and tag not in without:
                chosen[tag] = self._members[tag]
        if len(chosen) < count and len(self._roll) <= DRAWS_MAX * count:
            rest = [m for m in self.present() if m.tag not in chosen and m.tag not in without]
            rng.shuffle(rest)
            chosen.update((m.tag, m) for m in rest[: count - len(chosen)])
        return list(chosen.values())

    def evidence(self, tag: NodeTag) -> tuple[Accusation, ...]:
        """Return why a member is suspect or dead here; empty if it is neither."""
        suspicion = self._suspicions.get(tag)
        return () if suspicion is None else suspicion.accusations

    def row(self, own: NodeTag, incarnation: int) -> bytes:
        """Return the hashes of the parts, the own node included."""
        return self._parts.row(own, incarnation)

    def listed(self, part: int) -> list[Member]:
        """Return who is present in one part."""
        return [m for t, m in self._members.items() if part_of(t) == part and m.state.present]

    # ------------------------------------------------------------------ what is heard

    def wants(self, update: MemberUpdate) -> bool:
        """Return whether a word would change anything, were it true: looked at before verifying."""
        member = self._members.get(tag_of(update.contact.node_id))
        if member is None:
            return update.state == MemberState.ALIVE and self._has_room()
        if member.contact.public_key != update.contact.public_key:
            return False  # two keys with one tag: the first one has it
        jump = update.incarnation - member.incarnation
        return overrides(update, member) and jump <= self._settings.incarnation_jump_max

    def solicited(self, update: MemberUpdate) -> bool:
        """Return whether a word answers a doubt that we hold."""
        member = self._members.get(tag_of(update.contact.node_id))
        return member is not None and member.state is MemberState.SUSPECT

    def apply(self, update: MemberUpdate, now: float) -> Applied | None:
        """Take a verified word of another node; None if it tells nothing new."""
        if not self.wants(update):
            return None
        tag = tag_of(update.contact.node_id)
        member = self._members.get(tag)
        if member is None:
            return self._add(tag, update, now)
        moved = update.contact != member.contact
        state = MemberState(update.state)
        believed = Member(
            contact=update.contact,
            name=update.name,
            caps=update.caps,
            traits=update.traits,
            state=state,
            incarnation=update.incarnation,
            signature=update.signature,
            rtt_ms=None if moved else member.rtt_ms,
            changed_at=member.changed_at if state is member.state else now,
        )
        refuted = self.evidence(tag) if state is MemberState.ALIVE else ()
        self._suspicions.pop(tag, None)
        if refuted:
            self._recoveries.spend(tag, now)
        self._replace(tag, member, believed)
        return Applied(
            member=believed,
            appeared=state.present and not member.state.present,
            changed=_seen(believed) != _seen(member),
            refuted=refuted,
        )

    def doubts(self, accusation: Accusation) -> bool:
        """Return whether an accusation would change anything, were it true."""
        member = self._members.get(accusation.suspect)
        if member is None or member.incarnation != accusation.incarnation:
            return False
        if member.state is MemberState.ALIVE:
            return True
        suspicion = self._suspicions.get(accusation.suspect)
        suspect = member.state is MemberState.SUSPECT
        return suspect and suspicion is not None and suspicion.wants(accusation.accuser)

    def accuse(self, accusation: Accusation, now: float, own: float) -> Applied | None:
        """Take a verified accusation; None if it tells nothing new."""
        if not self.doubts(accusation):
            return None
        tag = accusation.suspect
        member = self._members[tag]
        suspicion = self._suspicions.get(tag)
        if suspicion is not None:
            suspicion = suspicion.confirm(accusation)
        else:
            suspicion = suspect_from(
                own,
                accusation,
                cluster_size=self.present_count + 1,
                settings=self._settings,
                patience=self._patience(tag, now),
            )
        self._suspicions[tag] = suspicion
        heappush(self._deadlines, (suspicion.deadline(), tag))
        if member.state is MemberState.SUSPECT:
            return Applied(member=member, appeared=False, changed=False)
        believed = replace(member, state=MemberState.SUSPECT, changed_at=now)
        self._replace(tag, member, believed)
        return Applied(member=believed, appeared=False, changed=True)

    def expired(self, now: float, own: float) -> list[Member]:
        """Declare those suspects dead whose time is up, and return them."""
        dead = []
        while (deadline := self.next_deadline()) is not None and deadline <= own:
            _, tag = heappop(self._deadlines)
            member = self._members[tag]
            believed = replace(member, state=MemberState.DEAD, changed_at=now)
            self._replace(tag, member, believed)
            dead.append(believed)
        return dead

    def expel(self, node_id: NodeId, now: float) -> Member | None:
        """Take a present member for one that left; None if it is not present."""
        member = self.get(node_id)
        if member is None or not member.state.present:
            return None
        gone = replace(member, state=MemberState.LEFT, signature=UNSIGNED, changed_at=now)
        self._suspicions.pop(member.tag, None)
        self._replace(member.tag, member, gone)
        return gone

    def next_deadline(self) -> float | None:
        """Return when the first suspicion ends, in own time, or None if there is none."""
        while self._deadlines:
            deadline, tag = self._deadlines[0]
            suspicion = self._suspicions.get(tag)
            member = self._members.get(tag)
            if (
                suspicion is not None
                and suspicion.deadline() == deadline
                and member is not None
                and member.state is MemberState.SUSPECT
            ):
                return deadline
            heappop(self._deadlines)
        return None

    def note_rtt(self, node_id: NodeId, sample_ms: float) -> None:
        """Fold one direct ack into the member's round trip."""
        member = self.get(node_id)
        if member is not None:
            old_ms = sample_ms if member.rtt_ms is None else member.rtt_ms
            counted_ms = min(sample_ms, old_ms * RTT_JUMP_MAX)
            rtt_ms = old_ms + RTT_GAIN * (counted_ms - old_ms)
            self._members[tag_of(node_id)] = replace(member, rtt_ms=rtt_ms)

    def forget_old(self, now: float) -> None:
        """Drop those that are gone for long enough."""
        kept_s = {
            MemberState.DEAD: self._settings.dead_kept_s,
            MemberState.LEFT: self._settings.left_kept_s,
        }
        for tag in list(self._gone):
            member = self._members[tag]
            if now - member.changed_at > kept_s[member.state]:
                self._drop(tag)

    # ------------------------------------------------------------------ parts

    def _add(self, tag: NodeTag, update: MemberUpdate, now: float) -> Applied:
        if len(self._members) >= self._settings.members_max:
            self._drop(min(self._gone, key=lambda t: self._members[t].changed_at))
        member = Member(
            contact=update.contact,
            name=update.name,
            caps=update.caps,
            traits=update.traits,
            state=MemberState(update.state),
            incarnation=update.incarnation,
            signature=update.signature,
            changed_at=now,
        )
        self._members[tag] = member
        self._enter(tag, member)
        return Applied(member=member, appeared=True, changed=True)

    def _replace(self, tag: NodeTag, member: Member, believed: Member) -> None:
        """Put a new belief in the place of one."""
        if member.state.present:
            self._leave(tag, member)
        self._members[tag] = believed
        if believed.state.present:
            self._enter(tag, believed)
        else:
            self._gone[tag] = None

    def _enter(self, tag: NodeTag, member: Member) -> None:
        self.present_count += 1
        self._gone.pop(tag, None)
        self._parts.toggle(tag, member.incarnation)
        if tag not in self._listed:
            self._listed.add(tag)
            self._roll.append(tag)

    def _leave(self, tag: NodeTag, member: Member) -> None:
        self.present_count -= 1
        self._parts.toggle(tag, member.incarnation)

    def _strike(self, index: int) -> None:
        """Take somebody who is gone off the roll; the last one takes the place."""
        self._listed.discard(self._roll[index])
        self._roll[index] = self._roll[-1]
        self._roll.pop()

    def _patience(self, tag: NodeTag, now: float) -> float:
        """Return how many times as long a suspect may take that has come back before."""
        if not self._settings.shrinking_suspicion:
            return 1.0
        return 1.0 + PATIENCE_EACH * (RECOVERIES_MAX - self._recoveries.left(tag, now))

    def _has_room(self) -> bool:
        return len(self._members) < self._settings.members_max or bool(self._gone)

    def _drop(self, tag: NodeTag) -> None:
        """Forget somebody who is gone."""
        del self._members[tag]
        self._gone.pop(tag, None)
        self._suspicions.pop(tag, None)
        if len(self._deadlines) > 2 * len(self._suspicions) + 64:
            self._deadlines = [(s.deadline(), t) for t, s in self._suspicions.items()]
            heapify(self._deadlines)


def _seen(member: Member) -> tuple[object, ...]:
    """Return what a reader sees of a member."""
    return member.contact, member.name, member.caps, member.traits, member.state
