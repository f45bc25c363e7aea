"""Contacts, updates and loads for the tests of this room."""

from meshnode.caps import Caps
from meshnode.gossip.member import NOBODY, MemberState
from meshnode.ids import Address, Contact, NodeTag, PublicKey, tag_of
from meshnode.wire.messages import LoadRecord, MemberUpdate, ModuleLoad

OWN, ANN, BOB, CID, DOT = (
    Contact(PublicKey(bytes([i]) * 32), Address(f"10.0.0.{i}", 6174)) for i in range(1, 6)
)
ALIVE, SUSPECT, DEAD, LEFT = MemberState


def tag(contact: Contact) -> NodeTag:
    return tag_of(contact.node_id)


def update(
    contact: Contact,
    state: int = ALIVE,
    incarnation: int = 1,
    *,
    name: str = "somebody",
    accuser: NodeTag = NOBODY,
) -> MemberUpdate:
    return MemberUpdate(
        contact=contact,
        state=state,
        incarnation=incarnation,
        name=name,
        caps=Caps.CPU,
        accuser=accuser,
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
            ModuleLoad(module=NodeTag(bytes([i]) * 8), warm=True, first=2**32 - 1, unit=2**32 - 1)
            for i in range(modules)
        ),
    )
