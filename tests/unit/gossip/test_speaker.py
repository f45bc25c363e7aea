"""What goes into our datagrams, and what waits for room."""

from dataclasses import replace

from meshnode.gossip.settings import GossipSettings, without_lifeguard
from meshnode.gossip.sizes import Packer
from meshnode.gossip.speaker import Speaker
from meshnode.gossip.table import MemberTable
from meshnode.ids import Address, Contact, PublicKey
from meshnode.machine import Random
from meshnode.wire.messages import Glimpses, Gossip, MemberUpdate, Send
from tests.unit.gossip.people import (
    ANN,
    BOB,
    CID,
    DOT,
    LEFT,
    OWN,
    accusation,
    load,
    own_self,
    update,
)


def speaker(settings: GossipSettings | None = None) -> Speaker:
    settings = settings or GossipSettings()
    table = MemberTable(settings)
    for contact in (ANN, BOB, CID, DOT):
        table.apply(update(contact), 0.0)
    return Speaker(own_self(5), table, settings=settings, rng=Random(1))


def words(sends: list[Send]) -> list[MemberUpdate]:
    return [u for s in sends if isinstance(s.message, Gossip) for u in s.message.updates]


def test_an_introduction_has_our_word_then_our_load_then_news() -> None:
    mouth = speaker()
    mouth.set_load(load(OWN, age_ms=100), now=1.0)
    mouth.queue.put(update(CID))
    ping = mouth.ping(3, DOT, 1.5, introduces=True)
    assert ping.updates == (mouth._own.word, update(CID))
    assert ping.loads == (load(OWN, age_ms=600),)


def test_each_round_tells_another_module_and_a_probe_tells_all() -> None:
    mouth = speaker()
    whole = load(OWN, modules=3)
    mouth.set_load(whole, now=1.0)
    told = []
    for now in (1.0, 3.0, 5.0):
        rounds = [
            s.message.loads[0] for s in mouth.gossip(now, now) if isinstance(s.message, Gossip)
        ]
        assert rounds
        assert rounds[1:] == rounds[:-1], "all of a round hear the same"
        told += rounds[0].modules
    assert sorted(told, key=lambda m: m.module) == sorted(whole.modules, key=lambda m: m.module)
    for riding in (mouth.ping(1, ANN, 8.0), mouth.ack(1, Packer(), 8.0)):
        assert [r.modules for r in riding.loads] == [whole.modules]


def test_who_subscribes_hears_all_modules_and_one_with_each_push() -> None:
    mouth = speaker(GossipSettings(small_mesh_max=2))
    whole = load(OWN, modules=3)
    mouth.set_load(whole, now=1.0)
    mouth.subscribers.add(ANN, 1.0)
    (first,) = mouth.first_push(ANN, 1.0)
    assert first.message == Gossip(loads=(whole,))
    pushed = [mouth.set_load(replace(whole, sequence=n), now=n * 1.0)[0].message for n in (2, 3, 4)]
    told = [m for p in pushed if isinstance(p, Gossip) for m in p.loads[0].modules]
    assert {m.module for m in told} == {m.module for m in whole.modules}
    assert len(told) == 3


def test_a_suspect_is_told_by_the_one_that_pings_it() -> None:
    for settings in (GossipSettings(), without_lifeguard(GossipSettings())):
        mouth = speaker(settings)
        mouth._table.accuse(accusation(ANN, BOB), 1.0, 1.0)
        told = (accusation(ANN, OWN),) if settings.buddy_system else ()
        assert mouth.ping(3, ANN, 1.0).accusations == told
        assert mouth.ping(3, BOB, 1.0).accusations == ()


def test_who_is_gone_gets_its_own_last_word_back() -> None:
    mouth = speaker()
    mouth._table.apply(update(ANN, LEFT), 1.0)
    packed = Packer()
    mouth.add_doubts(packed, ANN)
    assert packed.updates == (update(ANN, LEFT),)
    assert packed.accusations == ()


def test_gossip_carries_our_load_and_the_freshest_but_not_the_receivers_own() -> None:
    mouth = speaker()
    mouth.set_load(load(OWN), now=1.0)
    for contact in (ANN, BOB, CID, DOT):
        mouth.loads.hear(load(contact), 0.0, 1.0)
    sends = mouth.gossip(1.0, 1.0)
    assert len(sends) == 3
    for send in sends:
        assert isinstance(send.message, Gossip)
        nodes = [r.node for r in send.message.loads]
        assert nodes[0] == load(OWN).node
        assert len(nodes) == 4
        assert load(send.recipient).node not in nodes
        assert send.message.updates, "a reminder rides along"


def test_many_modules_take_a_second_packet() -> None:
    mouth = speaker(GossipSettings(gossip_fanout=2))  # three of them are more than a second takes
    for number in range(6):
        stranger = replace(ANN, public_key=PublicKey(bytes([100 + number]) * 32))
        mouth.loads.hear(load(stranger, modules=8), 0.0, 1.0)
    mouth.set_load(load(OWN, modules=8), 1.0)
    sends = mouth.gossip(1.0, 1.0)
    assert len(sends) == 4
    for first, second in zip(sends[::2], sends[1::2], strict=True):
        assert first.recipient == second.recipient
        assert isinstance(first.message, Gossip)
        assert isinstance(second.message, Gossip)
        assert len(first.message.loads) + len(second.message.loads) == 7


def test_a_large_mesh_gets_one_glimpse_in_two_packets_and_no_loads() -> None:
    mouth = speaker(GossipSettings(small_mesh_max=4))
    mouth.set_load(load(OWN), now=1.0)
    first, second = mouth.gossip(1.0, 1.0)
    assert isinstance(first.message, Glimpses)
    assert first.message == second.message
    assert first.recipient != second.recipient
    assert mouth.ping(3, ANN, 1.0).loads == ()


def test_a_newcomer_is_told_of_everybody_but_itself() -> None:
    mouth = speaker()
    mouth.welcome(ANN)
    assert {c.contact for c in words(mouth.news(1.0))} == {BOB, CID, DOT}
    assert not mouth.has_news


def test_a_farewell_tells_many_that_we_left() -> None:
    mouth = speaker()
    mouth._own.leave()
    sends = mouth.farewell(1.0)
    assert words(sends) == [mouth._own.word] * 4
    assert mouth._own.word.state == LEFT


def test_news_waits_for_room_and_is_not_lost() -> None:
    mouth = speaker()
    mouth.budget.charge(4_700, 1.0)
    mouth.queue.put(update(CID))
    assert mouth.news(1.0) == []
    assert mouth.ping(3, ANN, 1.0).updates == ()
    assert mouth.news_at(1.0) == 2.0
    assert words(mouth.news(2.0)) != []


def test_what_may_be_left_out_is_left_out_without_room_and_counted() -> None:
    mouth = speaker(GossipSettings(small_mesh_max=1))
    mouth.budget.charge(4_700, 1.0)
    assert mouth.gossip(1.0, 1.0) == []
    assert mouth.budget.refused == 2


def test_subscribers_hear_our_load_at_once_and_with_its_changes() -> None:
    mouth = speaker(GossipSettings(small_mesh_max=1))
    assert mouth.first_push(ANN, 1.0) == []
    mouth.set_load(load(OWN, 1), 1.0)
    assert mouth.subscribers.add(ANN, 1.0)
    assert mouth.first_push(ANN, 1.0) == [Send(ANN, Gossip(loads=(load(OWN, 1),)))]
    changed = replace(load(OWN, 2), wait=500)
    assert mouth.set_load(changed, 2.0) == [Send(ANN, Gossip(loads=(changed,)))]
    stranger = Contact(PublicKey(bytes(32)), Address("10.0.0.9", 1))
    assert mouth.first_push(stranger, 2.0) != []  # whether it may is asked before
