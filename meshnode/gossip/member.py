"""A member's state, and the precedence that lets updates arrive in any order.

SWIM section 4.2: a higher incarnation wins; at the same incarnation alive < suspect < dead < left.
Only the member itself raises its incarnation. So the highest claim about a member is the same
wherever all claims have arrived, in whatever order.
"""

from dataclasses import dataclass, replace
from enum import IntEnum

from meshnode.caps import Caps
from meshnode.ids import Contact, NodeTag
from meshnode.wire.messages import MemberUpdate

INCARNATION_JUMP_MAX = 2**16
"""A claim further ahead than this is refused: nobody is falsely accused that often, and a forged
one must not push a member out of reach of its own refutation (memberlist #359)."""
INCARNATION_MAX = 2**63
"""Leaves room above every claim that is accepted."""
NOBODY = NodeTag(b"\0" * 8)


class MemberState(IntEnum):
    """In order of precedence at equal incarnation."""

    ALIVE = 0
    SUSPECT = 1
    DEAD = 2
    LEFT = 3

    @property
    def present(self) -> bool:
        """Whether the member still counts: a suspect is innocent until its time is up."""
        return self <= MemberState.SUSPECT


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """What this node believes about one peer."""

    contact: Contact
    name: str
    caps: Caps
    state: MemberState
    incarnation: int
    rtt_ms: float | None = None
    """Moving average of direct acks; None before the first."""
    changed_at: float = 0.0
    """When its state last changed here."""

    def in_state(self, state: MemberState) -> "Member":
        """Return this member as it would be in another state."""
        return replace(self, state=state)

    def claim(self, accuser: NodeTag = NOBODY) -> MemberUpdate:
        """Return this belief as an update to gossip."""
        return MemberUpdate(
            contact=self.contact,
            state=int(self.state),
            incarnation=self.incarnation,
            name=self.name,
            caps=self.caps,
            accuser=accuser,
        )


def overrides(update: MemberUpdate, member: Member) -> bool:
    """Return whether `update` beats what is believed."""
    return (update.incarnation, update.state) > (member.incarnation, int(member.state))


def plausible(update: MemberUpdate) -> bool:
    """Return whether an update can be true at all; what is not is ignored."""
    return (
        0 <= update.state <= MemberState.LEFT
        and 0 <= update.incarnation < INCARNATION_MAX
        and 0 < update.contact.address.port < 65536
        and update.name.isprintable()
    )
