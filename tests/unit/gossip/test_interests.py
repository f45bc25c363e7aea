"""Interests: candidates by nearness and capacity, and subscriptions that are kept up."""

from dataclasses import replace

from meshnode.caps import Caps
from meshnode.gossip.glimpses import GlimpseTable, entry_of
from meshnode.gossip.interests import INTERESTS_MAX, RENEW_S, TRIES_MAX, Interests
from meshnode.gossip.settings import GossipSettings
from meshnode.gossip.table import MemberTable
from meshnode.ids import Address, Contact, NodeTag, PublicKey, tag_of
from meshnode.labels import NO_TRAITS, Traits
from meshnode.machine import Random
from tests.unit.gossip.people import LEFT, OWN, load, update

SETTINGS = GossipSettings(candidates_max=8)
MODULE = NodeTag(b"m" * 8)


def far(number: int) -> Contact:
    key = PublicKey(number.to_bytes(32, "big"))
    return Contact(key, Address(f"198.51.{number // 250}.{number % 250 + 1}", 6174))


FAR = [far(i) for i in range(1, 101)]
NEAR = [
    Contact(PublicKey(bytes([200 + i]) * 32), Address(f"10.0.0.{50 + i}", 6174)) for i in range(4)
]


def interests(*contacts: Contact) -> Interests:
    table = MemberTable(SETTINGS)
    for contact in contacts:
        table.apply(update(contact), 0.0)
    return Interests(OWN, table, GlimpseTable(SETTINGS), settings=SETTINGS, rng=Random(1))


def test_the_own_lan_is_among_the_candidates_and_others_fill_up() -> None:
    made = interests(*FAR, *NEAR)
    made.want(MODULE, Caps.CPU, 1.0)
    found = [m.contact for m in made.candidates(MODULE)]
    assert len(found) == len(set(found)) == 8
    assert set(NEAR) <= set(found)


def test_a_fast_node_that_holds_the_module_is_drawn_sooner() -> None:
    drawn = 0
    for seed in range(60):
        made = interests(*FAR)
        made._rng = Random(seed)
        fast = replace(load(FAR[0], modules=1), speed=50)
        head = NodeTag(bytes(8))
        entry = entry_of(tag_of(FAR[0].node_id), replace(fast, modules=()))
        made._glimpses.hear(entry, 1.0, made._table.tags)
        made.want(head, Caps.CPU, 1.0)
        drawn += FAR[0] in [m.contact for m in made.candidates(head)]
    assert drawn > 25  # 20 times the weight of the others; without it about 5 of 60


def test_who_lacks_a_capability_is_no_candidate() -> None:
    made = interests(*FAR)
    made.want(MODULE, Caps.CUDA, 1.0)
    assert made.candidates(MODULE) == []


def test_subscriptions_are_made_renewed_and_ended() -> None:
    made = interests(*NEAR)
    made.want(MODULE, Caps.CPU, 1.0)
    asked = made.subscribe(100, 1.0, most=64)
    assert sorted(number for _, number, _ in asked) == [100, 101, 102, 103]
    assert all(wanted for _, _, wanted in asked)
    for contact in NEAR:
        made.heard(tag_of(contact.node_id))
    assert made.subscribe(200, 1.0 + RENEW_S - 0.1, most=64) == []
    assert len(made.subscribe(200, 1.0 + RENEW_S, most=64)) == 4
    ended = made.subscribe(300, 2.0 + SETTINGS.interest_s, most=64)
    assert [wanted for _, _, wanted in ended] == [False] * 4
    assert not made


def test_who_is_silent_is_asked_a_few_times_and_then_with_the_renewals() -> None:
    made = interests(NEAR[0])
    made.want(MODULE, Caps.CPU, 1.0)
    times = [t for t in range(1, 13) if made.subscribe(t, float(t), most=64)]
    assert times == [1, 2, 3]
    assert made.subscribe(13, 13.0, most=64)
    assert TRIES_MAX == 3


def test_a_bare_ack_means_that_the_next_try_counts_but_not_for_ever() -> None:
    made = interests(NEAR[0])
    made.want(MODULE, Caps.CPU, 1.0)
    ((member, number, _),) = made.subscribe(7, 1.0, most=64)
    node_id = member.contact.node_id
    assert not made.acked(node_id, number + 1)
    assert sum(made.acked(node_id, number) for _ in range(20)) == TRIES_MAX
    made.heard(member.tag)
    assert not made.acked(node_id, number)


def test_the_gone_are_no_candidates_and_interests_are_bounded() -> None:
    made = interests(*NEAR)
    for i in range(INTERESTS_MAX + 3):
        made.want(NodeTag(bytes([i]) * 8), Caps.CPU, 1.0 + i)
    assert made.candidates(NodeTag(bytes(8))) == []
    last = NodeTag(bytes([INTERESTS_MAX + 2]) * 8)
    made._table.apply(update(NEAR[0], LEFT), 2.0)
    assert {m.contact for m in made.candidates(last)} == set(NEAR[1:])


def test_who_lacks_a_label_is_no_candidate_and_each_kind_of_work_has_its_own() -> None:
    made = interests()
    asked = (("site", "b"),)
    for i, contact in enumerate(FAR):
        word = replace(update(contact), traits=Traits(asked) if i % 20 == 0 else NO_TRAITS)
        made._table.apply(word, 0.0)
    made.want(MODULE, Caps.CPU, 1.0, asked)
    made.want(MODULE, Caps.CPU, 1.0)
    assert {m.contact for m in made.candidates(MODULE, asked)} == set(FAR[::20])
    assert len(made.candidates(MODULE)) == 8
    followed = {m.contact for m, _, wanted in made.subscribe(1, 1.0, most=64) if wanted}
    assert set(FAR[::20]) <= followed
