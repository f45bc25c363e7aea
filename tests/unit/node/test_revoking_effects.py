"""What is said about the expelled is not listened to."""

import pytest

from meshnode.caps import Caps
from meshnode.gossip.events import MemberChanged
from meshnode.gossip.machine import SwimMachine
from meshnode.gossip.member import MemberState
from meshnode.gossip.settings import GossipSettings
from meshnode.gossip.words import Signatures
from meshnode.identity.keys import Identity
from meshnode.ids import Address, Contact, NetworkId
from meshnode.machine import Random
from meshnode.node.revoking_words import without
from meshnode.wire.messages import (
    Ack,
    Datagram,
    FindNode,
    FoundNodes,
    FoundRecords,
    Gossip,
    MemberUpdate,
    Ping,
    PingRequest,
    Received,
)

KEYS = [Identity.from_seed(bytes([n]) * 32) for n in (1, 2, 3)]
ME, FRIEND, GONE = (
    Contact(key.public_key, Address("192.0.2.1", n)) for n, key in enumerate(KEYS, 1)
)
WITNESSES = {key.public_key: Signatures(key, NetworkId(bytes(16))) for key in KEYS}
EXPELLED = frozenset({GONE.public_key})


def alive(contact: Contact, incarnation: int = 5) -> MemberUpdate:
    return WITNESSES[contact.public_key].signed(
        MemberUpdate(contact=contact, state=0, incarnation=incarnation, name="n", caps=Caps.CPU)
    )


BOTH = (alive(FRIEND), alive(GONE))


@pytest.mark.parametrize(
    ("message", "left"),
    [
        (Ping(sequence=1, updates=BOTH), Ping(sequence=1, updates=BOTH[:1])),
        (Ack(sequence=1, updates=BOTH), Ack(sequence=1, updates=BOTH[:1])),
        (Gossip(updates=BOTH), Gossip(updates=BOTH[:1])),
        (PingRequest(sequence=1, target=GONE), None),
        (FoundNodes(rpc=1, contacts=(GONE, FRIEND)), FoundNodes(rpc=1, contacts=(FRIEND,))),
        (
            FoundRecords(rpc=1, records=(), contacts=(GONE,), more=False),
            FoundRecords(rpc=1, records=(), contacts=(), more=False),
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_names_an_expelled_node_is_left_out(message: Datagram, left: Datagram | None) -> None:
    assert without(message, EXPELLED) == left


@pytest.mark.parametrize(
    "message",
    [
        FindNode(rpc=1, target=bytes(32)),
        Ping(sequence=1, updates=BOTH[:1]),
        FoundNodes(rpc=1, contacts=(FRIEND,)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_everything_else_is_the_same_object(message: Datagram) -> None:
    assert without(message, EXPELLED) is message


@pytest.mark.parametrize("defended", [True, False], ids=["defended", "defence off"])
def test_others_that_have_not_heard_of_it_do_not_bring_it_back(defended: bool) -> None:
    machine = SwimMachine(
        ME,
        name="me",
        caps=Caps.CPU,
        incarnation=1,
        settings=GossipSettings(),
        witness=WITNESSES[ME.public_key],
        rng=Random(1),
    )
    rumour = Gossip(updates=(alive(FRIEND), alive(GONE, incarnation=9)))
    said = without(rumour, EXPELLED) if defended else rumour
    assert isinstance(said, Gossip)
    effects = machine.handle(Received(FRIEND, said), 1.0)
    met = {e.member.contact for e in effects if isinstance(e, MemberChanged)}
    assert met == ({FRIEND} if defended else {FRIEND, GONE})
    assert all(m.state is MemberState.ALIVE for m in machine.members())
