"""Contacts with keys that sign, words, accusations and loads for the tests of this room."""

from dataclasses import replace

from meshnode.caps import Caps
from meshnode.gossip.member import MemberState
from meshnode.gossip.own import OwnSelf
from meshnode.gossip.words import Signatures
from meshnode.identity.keys import Identity
from meshnode.ids import Address, Contact, NetworkId, NodeTag, tag_of
from meshnode.wire.messages import Accusation, LoadRecord, MemberUpdate, ModuleLoad

NETWORK = NetworkId(b"a mesh of people")
IDENTITIES = [Identity.from_seed(bytes([i]) * 32) for i in range(1, 9)]
OWN, ANN, BOB, CID, DOT, EVE, FAY, GUS = (
    Contact(identity.public_key, Address(f"10.0.0.{i}", 6174))
    for i, identity in enumerate(IDENTITIES, 1)
)
WITNESSES = {
    contact.public_key: Signatures(identity, NETWORK)
    for contact, identity in zip((OWN, ANN, BOB, CID, DOT, EVE, FAY, GUS), IDENTITIES, strict=True)
}
ALIVE, SUSPECT, DEAD, LEFT = MemberState


def tag(contact: Contact) -> NodeTag:
    return tag_of(contact.node_id)


def update(
    contact: Contact, state: int = ALIVE, incarnation: int = 1, *, name: str = "somebody"
) -> MemberUpdate:
    """A member's own word, signed by it if it is one of us."""
    word = MemberUpdate(
        contact=contact, state=state, incarnation=incarnation, name=name, caps=Caps.CPU
    )
    witness = WITNESSES.get(contact.public_key)
    return word if witness is None else witness.signed(word)


def unsigned(word: MemberUpdate) -> MemberUpdate:
    return replace(word, signature=bytes(64))


def accusation(suspect: Contact, accuser: Contact, incarnation: int = 1) -> Accusation:
    return WITNESSES[accuser.public_key].accuse(suspect.node_id, incarnation)


def own_self(incarnation: int = 1, contact: Contact = OWN, name: str = "own") -> OwnSelf:
    return OwnSelf(
        contact,
        name=name,
        caps=Caps.CPU,
        incarnation=incarnation,
        witness=WITNESSES[contact.public_key],
    )


def load(contact: Contact, sequence: int = 1, age_ms: int = 0, modules: int = 0) -> LoadRecord:
    return LoadRecord(
        node=tag(contact),
        sequence=sequence,
        age_ms=age_ms,
        wait=0,
        wait_mean=0,
        wait_sigma=0,
        in_flight=0,
        draining=False,
        speed=100,
        modules=tuple(
            ModuleLoad(
                module=NodeTag(bytes([i]) * 8), warm=True, first=2**32 - 1, unit=2**32 - 1, each=255
            )
            for i in range(modules)
        ),
    )
