"""What is said about the expelled is not listened to."""

import pytest

from meshnode.caps import Caps
from meshnode.gossip.events import MemberChanged
from meshnode.gossip.machine import SwimMachine
from meshnode.gossip.member import MemberState
from meshnode.gossip.settings import GossipSettings
from meshnode.ids import Address, Contact, PublicKey
from meshnode.machine import Random
from meshnode.node.revoking_effects import without
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

ME, FRIEND, GONE = (Contact(PublicKey(bytes([n]) * 32), Address("192.0.2.1", n)) for n in (1, 2, 3))
EXPELLED = frozenset({GONE.public_key})


def alive(contact: Contact, incarnation: int = 5) -> MemberUpdate:
    return MemberUpdate(contact=contact, state=0, incarnation=incarnation, name="n", caps=Caps.CPU)


BOTH = (alive(FRIEND), alive(GONE))


@pytest.mark.parametrize(
    ("message", "left"),
    [
        (Ping(sequence=1, updates=BOTH), Ping(sequence=1, updates=BOTH[:1])),
        (Ack(sequence=1, updates=BOTH), Ack(sequence=1, updates=BOTH[:1])),
        (Gossip(updates=BOTH), Gossip(updates=BOTH[:1])),
        (PingRequest(sequence=1, target=GONE), None),
        (
            PingRequest(sequence=1, target=FRIEND, updates=BOTH),
            PingRequest(sequence=1, target=FRIEND, updates=BOTH[:1]),
        ),
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
        rng=Random(1),
    )
    rumour = Gossip(updates=(alive(FRIEND), alive(GONE, incarnation=9)))
    said = without(rumour, EXPELLED) if defended else rumour
    assert isinstance(said, Gossip)
    effects = machine.handle(Received(FRIEND, said), 1.0)
    met = {e.member.contact for e in effects if isinstance(e, MemberChanged)}
    assert met == ({FRIEND} if defended else {FRIEND, GONE})
    assert all(m.state is MemberState.ALIVE for m in machine.members())
