"""MemberTable: what is believed of every peer, and which suspicions run.

Bounded: when it is full, those that are gone make room; if none is, a newcomer is not taken.
"""

from dataclasses import dataclass, replace

from meshnode.gossip.member import INCARNATION_JUMP_MAX, NOBODY, Member, MemberState, overrides
from meshnode.gossip.settings import GossipSettings
from meshnode.gossip.suspicion import Suspicion, suspect_from
from meshnode.ids import NodeId, NodeTag, tag_of
from meshnode.wire.messages import MemberUpdate

RTT_GAIN = 0.2
"""Weight of the newest sample in the moving average of a member's round trip."""

RTT_JUMP_MAX = 4.0
"""One sample counts as this many times the average at most: an ack that a stopped process sends
seconds late says nothing of the link, while a link that became slow shows within a few acks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What an update changed here."""

    member: Member
    appeared: bool
    """It was not in the table before, or was gone and is back."""
    changed: bool
    """Something that a reader of the table can see: state, address, name or capabilities."""


class MemberTable:
    """Every other member still remembered. Knows nothing of the own node."""

    def __init__(self, settings: GossipSettings) -> None:
        self._settings = settings
        self._members: dict[NodeId, Member] = {}
        self._tags: dict[NodeTag, NodeId] = {}
        self._suspicions: dict[NodeId, Suspicion] = {}
        self._present_count = 0

    def get(self, node_id: NodeId) -> Member | None:
        """Return a member, or None if it is not known."""
        return self._members.get(node_id)

    def knows_tag(self, tag: NodeTag) -> bool:
        """Return whether a present member has this tag."""
        node_id = self._tags.get(tag)
        return node_id is not None and self._members[node_id].state.present

    @property
    def present_count(self) -> int:
        """How many are alive or merely suspected."""
        return self._present_count

    def all(self) -> tuple[Member, ...]:
        """Return every member remembered, whatever its state."""
        return tuple(self._members.values())

    def present(self) -> list[Member]:
        """Return those alive or merely suspected."""
        return [m for m in self._members.values() if m.state.present]

    def dead(self) -> list[Member]:
        """Return those declared dead, which a healed partition may bring back."""
        return [m for m in self._members.values() if m.state is MemberState.DEAD]

    def apply(self, update: MemberUpdate, now: float) -> Applied | None:
        """Take a plausible update about another node; None if it tells nothing new."""
        node_id = update.contact.node_id
        member = self._members.get(node_id)
        if member is None:
            return self._add(node_id, update, now)
        if update.incarnation > member.incarnation + INCARNATION_JUMP_MAX:
            return None
        if not overrides(update, member):
            return self._confirm(node_id, member, update)
        state = MemberState(update.state)
        believed = replace(member, state=state, incarnation=update.incarnation)
        if update.incarnation > member.incarnation:
            moved = update.contact != member.contact
            believed = replace(
                believed,
                contact=update.contact,
                name=update.name,
                caps=update.caps,
                rtt_ms=None if moved else member.rtt_ms,
            )
        if state is not member.state:
            believed = replace(believed, changed_at=now)
        self._members[node_id] = believed
        self._present_count += state.present - member.state.present
        self._follow(node_id, update, now)
        return Applied(
            member=believed,
            appeared=state.present and not member.state.present,
            changed=replace(believed, incarnation=member.incarnation) != member,
        )

    def note_rtt(self, node_id: NodeId, sample_ms: float) -> None:
        """Fold one direct ack into the member's round trip."""
        member = self._members.get(node_id)
        if member is not None:
            old_ms = sample_ms if member.rtt_ms is None else member.rtt_ms
            counted_ms = min(sample_ms, old_ms * RTT_JUMP_MAX)
            rtt_ms = old_ms + RTT_GAIN * (counted_ms - old_ms)
            self._members[node_id] = replace(member, rtt_ms=rtt_ms)

    def next_deadline(self) -> float | None:
        """Return when the first suspicion ends, or None if there is none."""
        return min((s.deadline() for s in self._suspicions.values()), default=None)

    def expired(self, now: float) -> list[Member]:
        """Return the suspects whose time is up."""
        return [self._members[i] for i, s in self._suspicions.items() if s.deadline() <= now]

    def delay(self, by_s: float) -> None:
        """Give every suspect the time back that we slept through ourselves."""
        for node_id, suspicion in self._suspicions.items():
            self._suspicions[node_id] = suspicion.delayed(by_s)

    def forget_old(self, now: float) -> None:
        """Drop those that are gone for long enough."""
        kept_s = {
            MemberState.DEAD: self._settings.dead_kept_s,
            MemberState.LEFT: self._settings.left_kept_s,
        }
        for node_id, member in list(self._members.items()):
            if not member.state.present and now - member.changed_at > kept_s[member.state]:
                self._drop(node_id)

    # ------------------------------------------------------------------ parts

    def _add(self, node_id: NodeId, update: MemberUpdate, now: float) -> Applied | None:
        state = MemberState(update.state)
        if not state.present or not self._has_room():
            return None
        member = Member(
            contact=update.contact,
            name=update.name,
            caps=update.caps,
            state=state,
            incarnation=update.incarnation,
            changed_at=now,
        )
        self._members[node_id] = member
        self._tags[tag_of(node_id)] = node_id
        self._present_count += 1
        self._follow(node_id, update, now)
        return Applied(member=member, appeared=True, changed=True)

    def _confirm(self, node_id: NodeId, member: Member, update: MemberUpdate) -> Applied | None:
        """Count another accuser of a suspect; news only as long as that shortens its time."""
        suspicion = self._suspicions.get(node_id)
        accuses = update.state == MemberState.SUSPECT and update.incarnation == member.incarnation
        if suspicion is None or not accuses or update.accuser == NOBODY:
            return None
        confirmed = suspicion.confirm(update.accuser)
        if confirmed is suspicion:
            return None
        self._suspicions[node_id] = confirmed
        return Applied(member=member, appeared=False, changed=False)

    def _follow(self, node_id: NodeId, update: MemberUpdate, now: float) -> None:
        """Start or end the suspicion that goes with a member's state."""
        self._suspicions.pop(node_id, None)
        if update.state == MemberState.SUSPECT:
            self._suspicions[node_id] = suspect_from(
                now,
                accuser=update.accuser,
                cluster_size=self._present_count + 1,
                settings=self._settings,
            )

    def _has_room(self) -> bool:
        if len(self._members) < self._settings.members_max:
            return True
        gone = [m for m in self._members.values() if not m.state.present]
        if gone:
            self._drop(min(gone, key=lambda m: m.changed_at).contact.node_id)
        return bool(gone)

    def _drop(self, node_id: NodeId) -> None:
        self._present_count -= self._members.pop(node_id).state.present
        self._tags.pop(tag_of(node_id), None)
        self._suspicions.pop(node_id, None)
