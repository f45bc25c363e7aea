"""A member's state, and the precedence that lets words about it arrive in any order.

SWIM section 4.2: a higher incarnation wins; at the same incarnation alive < suspect < dead < left.
Only the member itself raises its incarnation, and it signs that. So the highest word about a member
is the same wherever all words have arrived, in whatever order.
"""

from dataclasses import dataclass, replace
from enum import IntEnum

from meshnode.caps import Caps
from meshnode.ids import Contact, NodeTag, tag_of
from meshnode.labels import NO_TRAITS, Traits
from meshnode.wire.membership import SIGNATURE_BYTES, MemberUpdate

INCARNATION_JUMP_MAX = 2**16
"""A word further ahead than this is refused: nobody is accused that often, and one that spent its
incarnations could never refute again (memberlist #359)."""
INCARNATION_MAX = 2**63
"""Leaves room above every word that is accepted."""
UNSIGNED = bytes(SIGNATURE_BYTES)
"""Under what a member did not say itself: that it was expelled. It is never passed on."""


class MemberState(IntEnum):
    """In order of precedence at equal incarnation."""

    ALIVE = 0
    SUSPECT = 1
    DEAD = 2
    LEFT = 3

    @property
    def present(self) -> bool:
        """Whether the member still counts: a suspect is innocent until its time is up."""
        return self._value_ <= 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """What this node believes about one peer."""

    contact: Contact
    name: str
    caps: Caps
    state: MemberState
    incarnation: int
    traits: Traits = NO_TRAITS
    signature: bytes = UNSIGNED
    """The member's, under its newest word."""
    rtt_ms: float | None = None
    """Moving average of direct acks; None before the first."""
    changed_at: float = 0.0
    """When its state last changed here."""

    @property
    def tag(self) -> NodeTag:
        """The short name of the member."""
        return tag_of(self.contact.node_id)

    def in_state(self, state: MemberState) -> "Member":
        """Return this member as it would be in another state."""
        return replace(self, state=state)

    def word(self) -> MemberUpdate:
        """Return the member's own newest word, to be passed on.

        That it is suspect or dead is in no word of its own: `MemberTable.evidence` has that.
        """
        left = self.state is MemberState.LEFT
        return MemberUpdate(
            contact=self.contact,
            state=int(MemberState.LEFT if left else MemberState.ALIVE),
            incarnation=self.incarnation,
            name=self.name,
            caps=self.caps,
            traits=self.traits,
            signature=self.signature,
        )


def overrides(update: MemberUpdate, member: Member) -> bool:
    """Return whether `update` beats what is believed."""
    return (update.incarnation, update.state) > (member.incarnation, int(member.state))


def plausible(update: MemberUpdate) -> bool:
    """Return whether a word can be true at all; what is not is ignored."""
    return (
        update.state in (MemberState.ALIVE, MemberState.LEFT)
        and 0 <= update.incarnation < INCARNATION_MAX
        and 0 < update.contact.address.port < 65536
        and update.name.isprintable()
    )
