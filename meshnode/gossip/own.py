"""OwnSelf: what we say about ourselves: one signed word, and the incarnation that only we raise."""

from dataclasses import replace

from meshnode.caps import Caps
from meshnode.gossip.member import INCARNATION_MAX, MemberState
from meshnode.gossip.words import Witness
from meshnode.ids import Contact, NodeId, tag_of
from meshnode.labels import NO_TRAITS, Traits
from meshnode.wire.messages import Accusation, MemberUpdate


class OwnSelf:
    """The own word."""

    def __init__(
        self,
        contact: Contact,
        *,
        name: str,
        caps: Caps,
        incarnation: int,
        witness: Witness,
        traits: Traits = NO_TRAITS,
    ) -> None:
        self.witness = witness
        self.tag = tag_of(contact.node_id)
        self.contact = contact
        self.public_key = contact.public_key
        self.word = witness.signed(
            MemberUpdate(
                contact=contact,
                state=int(MemberState.ALIVE),
                incarnation=incarnation,
                name=name,
                caps=caps,
                traits=traits,
            )
        )
        """As it is gossiped."""
        self.left = False
        """Whether we said that we are going."""

    @property
    def incarnation(self) -> int:
        """The present incarnation."""
        return self.word.incarnation

    def leave(self) -> None:
        """Say from now on that we are going."""
        self.word = self.witness.signed(replace(self.word, state=int(MemberState.LEFT)))
        self.left = True

    def outdone(self, word: MemberUpdate) -> bool:
        """Return whether a word in our name is of an earlier life and stands above our present one.

        It may also be at our incarnation and say something else: another address, or that we left.
        Only one that we signed counts, so nobody else can drive our incarnation up.
        """
        if not self.incarnation <= word.incarnation < INCARNATION_MAX:
            return False
        same = replace(word, signature=self.word.signature) == self.word
        return not same and self.witness.is_own_word(word)

    def rise_above(self, incarnation: int) -> None:
        """Refute everything up to this incarnation."""
        self.word = self.witness.signed(replace(self.word, incarnation=incarnation + 1))

    def accuse(self, suspect: NodeId, incarnation: int) -> Accusation:
        """Return our accusation of a member that does not answer."""
        return self.witness.accuse(suspect, incarnation)
