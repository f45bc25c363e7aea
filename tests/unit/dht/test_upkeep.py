from itertools import pairwise
from random import Random

from meshnode.dht.settings import DhtSettings
from meshnode.dht.table import Table
from meshnode.dht.upkeep import Care, Upkeep
from meshnode.ids import NodeId, distance
from tests.unit.dht.page import numbered

OWN = NodeId(b"\x5a" * 32)


def upkeep(**settings: float) -> tuple[Upkeep, Table]:
    table = Table(OWN, k=4)
    return Upkeep(table, DhtSettings(**settings), Random(1)), table


def test_there_is_no_timer_before_the_first_input() -> None:
    care, _ = upkeep()
    assert care.next_timer() is None
    assert care.due(1e9) == []
    care.start(100.0)
    timer = care.next_timer()
    assert timer is not None
    assert timer > 100.0
    care.start(900.0)
    assert care.next_timer() == timer


def test_what_is_due_is_due_once_and_comes_back() -> None:
    care, _ = upkeep(check_every_s=10.0)
    care.start(0.0)
    assert Care.CHECK not in care.due(7.4)
    assert Care.CHECK in care.due(12.6)
    assert Care.CHECK not in care.due(12.6)
    assert Care.CHECK in care.due(12.6 + 12.6)


def test_while_alone_joining_is_tried_soon_and_then_less_often() -> None:
    care, table = upkeep(rejoin_lonely_s=4.0, rejoin_every_s=100.0)
    now, gaps = 0.0, []
    care.start(now)
    care.remember([numbered(1)], now)
    last = now
    while len(gaps) < 7:
        now = care.next_timer()
        if Care.REJOIN in care.due(now):
            gaps.append(now - last)
            last = now
    assert all(a < b for a, b in pairwise(gaps[:5]))
    assert gaps[0] < 6.0
    assert max(gaps) <= 125.0
    table.add(numbered(9), now)
    care.remember([numbered(1)], now)
    assert care._due[Care.REJOIN] >= now + 75.0


def test_lost_and_bootstrap_contacts_are_tried_again_until_they_answer() -> None:
    care, table = upkeep()
    care.remember([numbered(1), numbered(2)], 0.0)
    care.lose(numbered(3), 0.0)
    assert set(care.to_try()) == {numbered(1), numbered(2), numbered(3)}
    assert care.lost == (numbered(3),)
    table.add(numbered(1), 1.0)
    care.found(numbered(3))
    assert care.to_try() == [numbered(2)]
    assert care.lost == ()


def test_what_is_remembered_is_bounded() -> None:
    care, _ = upkeep(bootstrap_max=5, lost_max=7, rejoin_sample_lonely=9)
    care.remember([numbered(n) for n in range(50)], 0.0)
    for n in range(100, 150):
        care.lose(numbered(n), 0.0)
    assert len(care._bootstrap) == 5
    assert care.lost == tuple(numbered(n) for n in range(149, 142, -1))
    assert len(care.to_try()) == 9


def test_after_a_join_there_is_one_target_at_each_distance_beyond_the_nearest() -> None:
    care, table = upkeep()
    assert care.spread(OWN) == []  # everybody known fits one bucket: nothing is beyond
    for n in range(200):
        table.add(numbered(n), 0.0)
    shared = [256 - distance(target, OWN).bit_length() for target in care.spread(OWN)]
    assert shared == list(range(len(shared)))
    assert 3 <= len(shared) <= 8


def test_a_lonely_bucket_is_looked_up_within_its_range() -> None:
    care, table = upkeep(refresh_after_s=3600.0)
    for n in range(100):
        table.add(numbered(n), 0.0)
    assert care.next_target(3599.0) is None
    target = care.next_target(3600.0)
    assert target is not None
    first = table.buckets[0]
    assert first.range[0] <= int.from_bytes(target, "big") <= first.range[1]
    table.touch(target, 3600.0)
    second = care.next_target(3600.0)
    assert second is not None
    assert int.from_bytes(second, "big") > first.range[1]


def test_while_few_are_known_we_look_again_at_growing_intervals() -> None:
    care, table = upkeep(settle_first_s=1.0, settle_last_s=8.0)
    care.start(0.0)
    assert Care.SETTLE not in care._due
    care.settle(0.0)
    now, gaps = 0.0, []
    for _ in range(6):
        due = care._due[Care.SETTLE]
        gaps.append(due - now)
        now = due
        assert Care.SETTLE in care.due(now)
        assert Care.SETTLE not in care.due(now)
    assert gaps[0] <= 1.25
    assert 6.0 <= gaps[-1] <= 10.0
    for n in range(100):
        table.add(numbered(n), now)
    assert Care.SETTLE not in care.due(care._due[Care.SETTLE]), "enough are known"
    assert Care.SETTLE not in care._due


def test_a_loss_brings_the_next_check_nearer() -> None:
    care, _ = upkeep(check_every_s=10.0, check_after_loss_s=1.0)
    care.start(0.0)
    care.lose(numbered(1), 2.0)
    assert Care.CHECK in care.due(3.0)
