"""A node that cannot be connected to is a client of the DHT."""

from types import SimpleNamespace

import pytest

from meshnode.ids import Address, Contact
from meshnode.machine import Random
from meshnode.net.tokens import Tokens
from meshnode.node.standing import Reachability
from meshnode.reach.verdicts import Standing
from meshnode.wire.messages import FindNode, FoundNodes, GetRecords, PutRecord, Received
from tests.unit.net.mesh import ALICE, BOB, EVE

OWN = Contact(ALICE.public_key, Address("192.0.2.1", 1))
MEMBER = Contact(BOB.public_key, Address("192.0.2.2", 2))
SEED = Contact(EVE.public_key, Address("192.0.2.3", 3))
QUESTIONS = (
    FindNode(rpc=1, target=bytes(32)),
    GetRecords(rpc=1, key=bytes(32)),
    PutRecord(rpc=1, record=b"record"),
)


def standing(known: Standing) -> Reachability:
    found = Reachability(
        own=OWN,
        links=SimpleNamespace(seeds=[]),  # type: ignore[arg-type] - not asked here
        pool=None,  # type: ignore[arg-type] - not used here
        tokens=Tokens(),
        rng=Random(1),
        seeds={SEED.public_key},
        alive=list,
        met=lambda _: None,
    )
    found._standing = known
    return found


@pytest.mark.parametrize("question", QUESTIONS)
def test_only_seeds_are_answered_by_a_node_that_cannot_be_connected_to(question: object) -> None:
    unreachable = standing(Standing.UNREACHABLE)
    assert not unreachable.lets_in(Received(MEMBER, question))  # type: ignore[arg-type]
    assert unreachable.lets_in(Received(SEED, question))  # type: ignore[arg-type]
    for known in (Standing.REACHABLE, Standing.UNKNOWN):
        assert standing(known).lets_in(Received(MEMBER, question))  # type: ignore[arg-type]


def test_answers_come_in_all_the_same() -> None:
    answer = FoundNodes(rpc=1, contacts=())
    assert standing(Standing.UNREACHABLE).lets_in(Received(MEMBER, answer))
