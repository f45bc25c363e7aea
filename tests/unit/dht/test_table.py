import sys
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.dht.table import Bucket, Candidates, Table, TableNode
from meshnode.ids import Address, Contact, NodeId, PublicKey, distance
from tests.unit.dht.page import numbered

OWN = NodeId(bytes(32))
FULL = 2**256 - 1


class Placed(Contact):
    """A contact whose node id is its key, so that a test can put it anywhere."""

    __slots__ = ()

    @property
    def node_id(self) -> NodeId:
        return NodeId(self.public_key)


def at(point: int, host: str = "10.0.0.1") -> Contact:
    return Placed(PublicKey(point.to_bytes(32, "big")), Address(host, 6174))


def filled(count: int, *, k: int = 16, seed: int = 1) -> tuple[Table, list[Contact]]:
    rng = Random(seed)
    table = Table(NodeId(rng.randbytes(32)), k=k)
    contacts = [numbered(n) for n in range(count)]
    for contact in contacts:
        table.add(contact, 0.0)
    return table, contacts


def test_importing_the_package_starts_no_event_loop() -> None:
    assert "kademlia.network" not in sys.modules
    assert "rpcudp" not in sys.modules


def test_ids_have_256_bits_and_both_ends_of_the_keyspace_have_a_bucket() -> None:
    table = Table(OWN, k=2)
    for point in (1, FULL, 2**255, 2**255 - 1, 2**159, 2**160):
        table.add(at(point), 0.0)
    for point in (0, FULL, 2**255, 2**255 - 1):
        node = TableNode(point.to_bytes(32, "big"))
        assert table.buckets[table.get_bucket_for(node)].has_in_range(node)
    assert table.get(at(FULL).node_id) is not None


@given(st.lists(st.integers(1, FULL), unique=True, max_size=120), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_buckets_tile_the_keyspace_and_hold_what_is_theirs(points: list[int], k: int) -> None:
    table = Table(OWN, k=k)
    for point in points:
        table.add(at(point), 0.0)
    assert table.buckets[0].range[0] == 0
    assert table.buckets[-1].range[1] == FULL
    for left, right in zip(table.buckets, table.buckets[1:], strict=False):
        assert left.range[1] + 1 == right.range[0]
    for bucket in table.buckets:
        assert len(bucket) <= k
        assert len(bucket.replacement_nodes) <= k
        assert all(bucket.has_in_range(node) for node in bucket.get_nodes())
        assert not set(bucket.nodes) & set(bucket.replacement_nodes)
    assert len(table) == sum(map(len, table.buckets))
    assert all(table.get(node_id) for bucket in table.buckets for node_id in bucket.nodes)


@given(st.integers(0, 400), st.integers(0, FULL), st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_closest_is_exactly_the_nearest_by_xor(count: int, target: int, wanted: int) -> None:
    table, _ = filled(count)
    point = target.to_bytes(32, "big")
    true = sorted(table.contacts(), key=lambda c: distance(c.node_id, point))
    assert table.closest(point, wanted) == true[:wanted]
    assert len(true) == len(table)


def test_the_packages_own_method_finds_the_same_neighbours() -> None:
    table, contacts = filled(300)
    node = TableNode(contacts[7].node_id)
    near = [c for c in table.closest(node.id, 17) if c.node_id != node.id]
    assert [n.contact for n in table.find_neighbors(node)] == near[:16]


def test_what_is_handed_out_leaves_out_the_asker_and_the_doubtful() -> None:
    table, contacts = filled(10)
    near = table.closest(OWN, 10)
    table.failed(near[0], asked_at=1.0, now=2.0)
    assert table.closest_sound(OWN, 2, 3.0, exclude=near[1].node_id) == near[2:4]
    assert table.closest(OWN, 10) == near
    assert len(contacts) == 10


def test_under_churn_contacts_unheard_for_long_are_handed_out_last() -> None:
    table, _ = filled(40)
    near = table.closest(OWN, 40)
    for asked_at in (50.0, 70.0):
        for contact in near[20:]:
            table.failed(contact, asked_at=asked_at, now=asked_at + 10.0)
    table.add(near[7], 200.0)
    assert table.closest_sound(OWN, 3, 200.0) == [near[7], near[0], near[1]]


def test_under_churn_one_failure_removes_whom_nobody_heard_for_long() -> None:
    table, _ = filled(40)
    near = table.closest(OWN, 40)
    for asked_at in (50.0, 70.0):
        for contact in near[20:]:
            table.failed(contact, asked_at=asked_at, now=asked_at + 10.0)
    table.add(near[7], 180.0)
    assert table.failed(near[7], asked_at=185.0, now=190.0) is None
    assert table.failed(near[0], asked_at=185.0, now=190.0) == near[0]


def test_where_nobody_dies_the_unheard_are_handed_out_as_they_are() -> None:
    table, _ = filled(40)
    near = table.closest(OWN, 3)
    table.add(near[2], 10_000.0)
    assert table.closest_sound(OWN, 3, 10_000.0) == near


def test_crafted_ids_with_a_common_prefix_shut_nobody_out() -> None:
    table = Table(OWN, k=16)
    prefix = 0b11111 << 251
    for n in range(20):
        table.add(at(prefix + n), 0.0)
    rng = Random(1)
    honest = [at(2**255 + rng.getrandbits(254)) for _ in range(500)]
    assert sum(table.add(contact, 1.0) for contact in honest) > 100


def test_crafted_ids_do_not_split_buckets_for_ever() -> None:
    table = Table(OWN, k=16)
    for n in range(840):
        table.add(at(2**255 + n), 0.0)
    assert len(table.buckets) <= 12
    near = Table(OWN, k=16)
    for n in range(1, 840):
        near.add(at(n), 0.0)
    assert len(near.buckets) <= 65
    assert all(bucket.depth() <= 64 for bucket in near.buckets)


def test_depth_is_of_the_range_not_of_the_ids_inside() -> None:
    bucket = Bucket(0, FULL, 16, 1, 0.0)
    for n in range(5):
        bucket.add_node(TableNode(n.to_bytes(32, "big"), at(n)))
    assert bucket.depth() == 0
    one, two = bucket.split()
    assert one.depth() == two.depth() == 1
    assert one.split()[1].depth() == 2


def test_split_keeps_the_size_of_the_replacement_cache_and_the_order() -> None:
    bucket = Bucket(0, FULL, 4, 3, 7.0)
    for n in (9, 3, 5):
        bucket.add_node(TableNode(n.to_bytes(32, "big"), at(n)))
    one, two = bucket.split()
    assert one.max_replacement_nodes == two.max_replacement_nodes == 12
    assert [node.long_id for node in one.get_nodes()] == [9, 3, 5]
    assert one.last_updated == two.last_updated == 7.0


def test_a_full_bucket_keeps_the_old_ones_and_remembers_newcomers() -> None:
    table = Table(OWN, k=2)
    base = 0b11111 << 251
    old = [at(base + n) for n in range(2)]
    new = [at(base + n) for n in range(2, 6)]
    assert all(table.add(c, 0.0) for c in old)
    assert not any(table.add(c, 1.0) for c in new)
    assert len(table) == 2
    table.failed(old[0], asked_at=2.0, now=3.0)
    assert table.contacts() == old
    assert table.failed(old[0], asked_at=4.0, now=5.0) == old[0]
    assert table.contacts() == [old[1], new[3]]


def test_one_lost_answer_removes_nobody_and_an_answer_clears_it() -> None:
    table = Table(OWN, k=2)
    table.add(at(1), 0.0)
    assert table.failed(at(1), asked_at=1.0, now=2.0) is None
    table.add(at(1), 3.0)
    assert table.failed(at(1), asked_at=4.0, now=5.0) is None
    assert len(table) == 1


def test_failures_of_one_outage_count_once() -> None:
    table = Table(OWN, k=2)
    table.add(at(1), 0.0)
    for when in (2.0, 2.1, 2.2):
        assert table.failed(at(1), asked_at=1.0, now=when) is None
    assert table.failed(at(1), asked_at=2.5, now=4.0) is not None


def test_silence_at_an_address_we_did_not_verify_says_nothing() -> None:
    table = Table(OWN, k=2)
    table.add(at(1, "10.0.0.1"), 0.0)
    for when in (1.0, 3.0, 5.0):
        assert table.failed(at(1, "10.0.0.9"), asked_at=when, now=when + 1) is None
    assert table.contacts() == [at(1, "10.0.0.1")]


def test_whoever_answers_or_asks_goes_to_the_end_of_the_queue() -> None:
    table = Table(OWN, k=3)
    for n in (1, 2, 3):
        table.add(at(n), float(n))
    assert table.least_recently_seen().long_id == 1
    table.add(at(1), 4.0)
    assert table.least_recently_seen().long_id == 2
    table.seen(at(2), 5.0)
    assert table.least_recently_seen().long_id == 3
    table.seen(at(3, "10.9.9.9"), 6.0)
    assert table.least_recently_seen().long_id == 3


def test_a_new_address_is_taken_over_when_it_answers() -> None:
    table = Table(OWN, k=3)
    table.add(at(1, "10.0.0.1"), 0.0)
    assert not table.wants(at(1, "10.0.0.1"))
    assert table.wants(at(1, "10.0.0.2"))
    table.add(at(1, "10.0.0.2"), 1.0)
    assert table.contacts() == [at(1, "10.0.0.2")]


def test_own_id_and_full_buckets_are_not_wanted() -> None:
    table = Table(OWN, k=1)
    assert not table.wants(at(0))
    assert not table.add(at(0), 0.0)
    base = 0b11111 << 251
    table.add(at(base), 0.0)
    assert table.wants(at(base + 1))  # as a replacement
    table.add(at(base + 1), 0.0)
    assert not table.wants(at(base + 1))
    assert not table.wants(at(base + 2))


def test_one_public_network_block_gets_two_places_in_a_bucket_and_ten_in_all() -> None:
    table = Table(OWN, k=16)
    for n in range(1, 9):
        table.add(at(2**255 + n, f"8.8.8.{n}"), 0.0)
    assert len(table) == 2
    for n in range(16):  # elsewhere: sixteen more buckets' worth of room
        for m in range(20):
            table.add(at((n << 251) + m + 1, f"8.8.{8 if m < 2 else 100 + n}.{m}"), 0.0)
    hosts = [c.address.host for c in table.contacts()]
    assert sum(host.startswith("8.8.8.") for host in hosts) <= 10
    table.flush()
    assert table.add(at(1, "8.8.8.8"), 0.0)


def test_a_place_of_a_network_block_is_free_again_when_its_holder_goes() -> None:
    table = Table(OWN, k=16)
    for n in (1, 2, 3):
        table.add(at(2**255 + n, f"8.8.8.{n}"), 0.0)
    gone = at(2**255 + 1, "8.8.8.1")
    table.failed(gone, asked_at=1.0, now=2.0)
    table.failed(gone, asked_at=3.0, now=4.0)
    assert [c.address.host for c in table.contacts()] == ["8.8.8.2", "8.8.8.3"]


def test_private_addresses_are_not_rationed() -> None:
    table = Table(OWN, k=16)
    assert all(table.add(at(n, f"192.168.1.{n}"), 0.0) for n in range(1, 17))


def test_only_our_own_lookups_keep_a_bucket_from_being_lonely() -> None:
    table, _ = filled(100)
    count = len(table.buckets)
    for n in range(50):
        table.closest(numbered(n).node_id, 16)
        table.find_neighbors(TableNode(numbered(n).node_id))
    assert len(table.lonely_buckets(3600.0, 3600.0)) == count
    table.touch(numbered(3).node_id, 100.0)
    assert len(table.lonely_buckets(3600.0, 3600.0)) == count - 1
    assert len(table.lonely_buckets(3700.0, 3600.0)) == count


# ---------------------------------------------------------------- the lookup's heap


def test_candidates_are_sorted_unique_and_bounded() -> None:
    heap = Candidates(bytes(32), 3)
    nodes = [TableNode(n.to_bytes(32, "big"), at(n)) for n in (9, 2, 7, 2, 5, 1)]
    heap.mark_contacted(nodes[0])
    heap.push(nodes)
    assert [node.long_id for node in heap] == [1, 2, 9]
    assert len(heap) == 3
    assert nodes[0] in heap
    assert nodes[2] not in heap
    assert heap.get_ids() == [node.id for node in heap]
    assert not heap.have_contacted_all()


def test_candidates_can_be_replaced_removed_and_taken() -> None:
    heap = Candidates(bytes(32), 9)
    heap.push(TableNode(n.to_bytes(32, "big"), at(n)) for n in (1, 2, 3))
    heap.replace(TableNode((2).to_bytes(32, "big"), at(2, "10.0.0.2")))
    heap.replace(TableNode((8).to_bytes(32, "big"), at(8)))
    assert heap.get_node((2).to_bytes(32, "big")).contact.address.host == "10.0.0.2"
    heap.remove([(1).to_bytes(32, "big"), bytes(32)])
    assert heap.popleft().long_id == 2
    assert [node.long_id for node in heap] == [3]
    heap.remove([(3).to_bytes(32, "big")])
    assert heap.popleft() is None
    assert heap.get_node(bytes(32)) is None


def test_a_bare_point_has_no_contact() -> None:
    with pytest.raises(AssertionError):
        _ = TableNode(bytes(32)).contact
