"""What goes into our datagrams, and what we say about ourselves."""

from dataclasses import replace

import pytest

from meshnode.caps import Caps
from meshnode.gossip.settings import GossipSettings
from meshnode.gossip.speaker import OwnSelf, Speaker
from meshnode.gossip.table import MemberTable
from meshnode.ids import Address, PublicKey
from meshnode.machine import Random
from meshnode.wire.messages import Gossip
from tests.unit.gossip.people import (
    ALIVE,
    ANN,
    BOB,
    CID,
    DEAD,
    DOT,
    LEFT,
    OWN,
    SUSPECT,
    load,
    update,
)


def own_self() -> OwnSelf:
    return OwnSelf(OWN, name="own", caps=Caps.CPU, incarnation=5)


def speaker() -> Speaker:
    table = MemberTable(GossipSettings())
    for contact in (ANN, BOB, CID, DOT):
        table.apply(update(contact), 0.0)
    return Speaker(own_self(), table, settings=GossipSettings(), rng=Random(1))


@pytest.mark.parametrize("state", [SUSPECT, DEAD, LEFT])
def test_a_false_claim_is_refuted_above_its_incarnation(state: int) -> None:
    own = own_self()
    assert own.refutes(update(OWN, state, 8, name="own"))
    assert own.incarnation == 9
    assert own.claim == update(OWN, ALIVE, 9, name="own")


def test_our_own_words_and_old_claims_need_no_answer() -> None:
    own = own_self()
    assert not own.refutes(update(OWN, ALIVE, 5, name="own"))
    assert not own.refutes(update(OWN, DEAD, 4))
    assert own.incarnation == 5


def test_a_claim_of_an_earlier_life_is_refuted_too() -> None:
    own = own_self()
    old = update(replace(OWN, address=Address("10.7.7.7", 1)), ALIVE, 5, name="own")
    assert own.refutes(old)
    assert own_self().refutes(update(OWN, ALIVE, 6, name="own"))


def test_an_absurd_incarnation_is_not_followed() -> None:
    own = own_self()
    assert not own.refutes(update(OWN, DEAD, 5 + 2**16 + 1))
    assert own.incarnation == 5


def test_what_must_be_heard_comes_first_then_our_load_then_news() -> None:
    mouth = speaker()
    mouth.set_load(load(OWN, age_ms=100), now=1.0)
    mouth.queue.put(update(CID))
    packed = mouth.packed([update(DOT, DEAD)], now=1.5)
    assert packed.updates == (update(DOT, DEAD), update(CID))
    assert packed.loads == (load(OWN, age_ms=600),)


def test_gossip_carries_our_load_and_the_freshest_but_not_the_receivers_own() -> None:
    mouth = speaker()
    mouth.set_load(load(OWN), now=1.0)
    for contact in (ANN, BOB, CID, DOT):
        mouth.loads.hear(load(contact), 0.0, 1.0)
    sends = mouth.gossip(1.0)
    assert len(sends) == 3
    for send in sends:
        assert isinstance(send.message, Gossip)
        nodes = [r.node for r in send.message.loads]
        assert nodes[0] == load(OWN).node
        assert len(nodes) == 4
        assert load(send.recipient).node not in nodes
        assert send.message.updates, "a reminder rides along"


def test_many_modules_take_a_second_packet() -> None:
    mouth = speaker()
    for number in range(6):
        stranger = replace(ANN, public_key=PublicKey(bytes([100 + number]) * 32))
        mouth.loads.hear(load(stranger, modules=8), 0.0, 1.0)
    mouth.set_load(load(OWN, modules=8), 1.0)
    sends = mouth.gossip(1.0)
    assert len(sends) == 6
    for first, second in zip(sends[::2], sends[1::2], strict=True):
        assert first.recipient == second.recipient
        assert isinstance(first.message, Gossip)
        assert isinstance(second.message, Gossip)
        assert len(first.message.loads) + len(second.message.loads) == 7


def test_a_newcomer_is_told_of_everybody_but_itself() -> None:
    mouth = speaker()
    mouth.welcome(ANN, 1.0)
    told = [
        claim
        for send in mouth.news(1.0)
        if isinstance(send.message, Gossip)
        for claim in send.message.updates
    ]
    assert {c.contact for c in told} == {BOB, CID, DOT}
    assert not mouth.has_news


def test_a_farewell_tells_many_that_we_left() -> None:
    mouth = speaker()
    mouth._own.leave()
    for send in (sends := mouth.farewell(1.0)):
        assert isinstance(send.message, Gossip)
        assert send.message.updates == (update(OWN, LEFT, 5, name="own"),)
    assert len(sends) == 4
