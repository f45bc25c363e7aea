from meshnode.dht.lookup import Lookup
from meshnode.dht.settings import DhtSettings
from meshnode.ids import Address, Contact, NodeId, PublicKey, distance
from tests.unit.dht.page import numbered

OWN = numbered(0).node_id
TARGET = bytes(32)
SETTINGS = DhtSettings(k=4, alpha=2, rpcs_max=10, candidates_max=12)
# Nearest to the target first, so that a test can say "the nearest" by index.
NODES = sorted((numbered(n) for n in range(1, 60)), key=lambda c: distance(c.node_id, TARGET))


def lookup(start: list[Contact], settings: DhtSettings = SETTINGS) -> Lookup:
    look = Lookup(TARGET, OWN, settings)
    look.add(start)
    return look


def test_it_starts_with_the_nearest_and_no_more_than_alpha() -> None:
    assert lookup([NODES[5], NODES[1], NODES[3]]).next_queries() == [NODES[1], NODES[3]]


def test_with_nobody_to_ask_it_is_finished() -> None:
    empty = lookup([])
    assert empty.finished
    assert empty.closest() == ()


def test_an_answer_frees_its_slot_at_once() -> None:
    look = lookup(NODES[:4])
    assert look.next_queries() == NODES[:2]
    assert look.next_queries() == []
    look.on_answer(NODES[1], [])
    assert look.next_queries() == [NODES[2]]


def test_no_more_are_asked_than_answers_are_wanted() -> None:
    look = lookup(NODES[:4])
    assert look.next_queries(1) == [NODES[0]]
    assert look.next_queries(1) == []
    look.on_silence(NODES[0].node_id)
    assert look.next_queries(1) == [NODES[1]], "silence counts as no answer"
    assert look.next_queries(0) == []
    assert look.next_queries(9) == [NODES[2]]


def test_in_a_hurry_two_are_asked_until_one_answers_and_only_the_nearest_take_a_slot() -> None:
    settings = DhtSettings(k=4, alpha=3, alpha_first=2, alpha_next=4)
    look = lookup(NODES[20:24], settings)
    assert look.next_queries(hurried=True) == NODES[20:22]
    assert look.next_queries(hurried=True) == []
    look.on_answer(NODES[20], NODES[:6])
    assert look.next_queries(hurried=True) == NODES[:4], "the other one cannot have the record"
    assert look.next_queries(hurried=True) == []
    look.on_answer(NODES[0], [])
    assert look.next_queries(2, hurried=True) == [], "no more than are wanted"


def test_silence_frees_the_slot_but_finishes_nothing() -> None:
    look = lookup(NODES[:1])
    look.next_queries()
    look.on_silence(NODES[0].node_id)
    look.add([NODES[1]])
    assert look.next_queries() == [NODES[1]]
    look.on_answer(NODES[1], [])
    assert not look.finished
    look.on_overdue(NODES[0].node_id)
    assert not look.finished
    assert look.nearly_finished
    look.on_answer(NODES[0], [])
    assert look.finished
    assert look.closest() == (NODES[0], NODES[1])


def test_a_failed_contact_is_never_found_and_the_next_takes_its_place() -> None:
    look = lookup(NODES[:5])
    for _ in range(5):
        for contact in look.next_queries():
            if contact == NODES[0]:
                look.on_failure(contact.node_id)
            else:
                look.on_answer(contact, NODES[:5])
    assert look.finished
    assert look.closest() == tuple(NODES[1:5])


def test_it_follows_nearer_contacts_and_leaves_farther_ones_alone() -> None:
    look = lookup(NODES[20:24])
    look.next_queries()
    look.on_answer(NODES[20], [*NODES[:4], *NODES[40:44]])
    asked = []
    while contacts := look.next_queries():
        for contact in contacts:
            asked.append(contact)
            look.on_answer(contact, [])
        look.on_answer(NODES[21], [])
    assert asked == NODES[:4]
    assert look.finished


def test_own_id_known_contacts_and_unusable_addresses_are_skipped() -> None:
    look = lookup([NODES[3]])
    look.next_queries()
    key = PublicKey(b"x" * 32)
    useless = [
        numbered(0),
        NODES[3],
        Contact(key, Address("victim.example", 80)),
        Contact(key, Address("0.0.0.0", 80)),
    ]
    look.on_answer(NODES[3], useless)
    assert look.next_queries() == []
    assert look.finished


def test_an_answer_brings_at_most_k_contacts() -> None:
    look = lookup([NODES[50]], DhtSettings(k=4, alpha=40))
    look.next_queries()
    look.on_answer(NODES[50], NODES[:30])
    assert look.next_queries() == NODES[:4]


def test_endless_nearer_contacts_end_at_the_limit_of_rpcs() -> None:
    look = lookup([NODES[50]], DhtSettings(k=4, alpha=3, rpcs_max=20))
    asked, spare = 0, iter(reversed(NODES[:50]))
    while contacts := look.next_queries():
        for contact in contacts:
            asked += 1
            look.on_answer(contact, [next(spare), next(spare)])
    assert asked == look.rpcs == 20
    assert look.finished


def test_candidates_are_bounded() -> None:
    look = lookup(NODES)
    assert len(look._candidates) == SETTINGS.candidates_max
    assert len(look._states) == SETTINGS.candidates_max


def test_one_address_is_asked_under_few_keys_only() -> None:
    victim = Address("192.0.2.7", 53)
    liars = [Contact(PublicKey(bytes([n]) * 32), victim) for n in range(100)]
    look = lookup([NODES[0]], DhtSettings(k=64))
    look.next_queries()
    look.on_answer(NODES[0], liars[:64])
    asked = 0
    while contacts := look.next_queries():
        asked += len(contacts)
        for contact in contacts:
            look.on_failure(contact.node_id)
    assert asked == 4


def test_a_lie_about_an_address_does_not_hide_a_node() -> None:
    honest = NODES[0]
    lie = Contact(honest.public_key, Address("10.66.66.66", 1))
    for order in ([lie, honest], [lie, lie, honest]):
        look = lookup([NODES[1]])
        look.next_queries()
        look.on_answer(NODES[1], order)
        assert look.next_queries() == [lie]
        look.on_failure(honest.node_id)
        assert look.next_queries() == [honest]
        look.on_failure(honest.node_id)
        assert look.next_queries() == []
        assert look.finished


def test_the_truth_may_come_after_the_lie_has_failed() -> None:
    lie = Contact(NODES[0].public_key, Address("10.66.66.66", 1))
    look = lookup([NODES[1], NODES[2]])
    look.next_queries()
    look.on_answer(NODES[1], [lie])
    look.next_queries()
    look.on_failure(lie.node_id)
    look.on_answer(NODES[2], [NODES[0]])
    assert look.next_queries() == [NODES[0]]


def test_a_contact_that_has_more_is_asked_again_a_few_times() -> None:
    look = lookup([NODES[0]])
    asked = 0
    while contacts := look.next_queries():
        asked += len(contacts)
        look.on_answer(NODES[0], [])
        look.on_more(NODES[0].node_id)
    assert asked == 1 + SETTINGS.subsets_max
    assert look.finished


def test_where_an_answer_came_from_is_the_contact_that_is_found() -> None:
    by_name = Contact(NODES[0].public_key, Address("seed.example", 6174))
    look = lookup([by_name])
    assert look.next_queries() == [by_name]
    look.on_answer(NODES[0], [])
    assert look.closest() == (NODES[0],)


def test_answers_of_nobody_asked_change_nothing() -> None:
    look = lookup(NODES[:2])
    look.on_answer(NODES[0], NODES[2:5])
    look.on_answer(NODES[9], NODES[2:5])
    for call in (look.on_failure, look.on_silence, look.on_overdue, look.on_more):
        call(NODES[0].node_id)
        call(NodeId(b"?" * 32))
    assert look.next_queries() == NODES[:2]


def test_after_answers_in_full_from_the_nearest_it_is_surrounded() -> None:
    look = lookup(NODES[:4], DhtSettings(k=4, alpha=4, full_enough=2))
    look.next_queries()
    look.on_answer(NODES[0], [], in_full=True)
    look.on_answer(NODES[1], [])
    assert not look.surrounded, "who was asked for little may know more"
    look.on_answer(NODES[2], [], in_full=True)
    assert look.surrounded


def test_who_is_no_longer_among_the_nearest_surrounds_nothing() -> None:
    look = lookup(NODES[20:24], DhtSettings(k=4, alpha=4, full_enough=1))
    look.next_queries()
    look.on_answer(NODES[20], NODES[:4], in_full=True)
    assert not look.surrounded
