"""Subscribers: leases, and pushes that are quick with changes and never too many."""

from dataclasses import replace

from meshnode.gossip.settings import GossipSettings
from meshnode.gossip.subscribers import LEASE_S, Subscribers
from meshnode.ids import Address, Contact, PublicKey
from tests.unit.gossip.people import ANN, BOB, OWN, load, tag

IDLE = load(OWN, 1)
BUSY = replace(load(OWN, 2), wait=5000)


def subscribers(**bounds: int) -> Subscribers:
    made = Subscribers(GossipSettings(**bounds))
    made.add(ANN, 0.0)
    made.add(BOB, 0.0)
    return made


def test_a_load_that_stays_is_pushed_each_second() -> None:
    made = subscribers()
    times = [t / 4 for t in range(12) if made.due(IDLE, 150, t / 4)]
    assert times == [0.0, 1.0, 2.0]


def test_a_change_by_a_tenth_is_pushed_at_once() -> None:
    made = subscribers()
    assert made.due(IDLE, 150, 0.0) == [ANN, BOB]
    assert made.due(IDLE, 150, 0.25) == []
    assert made.due(BUSY, 150, 0.5) == [ANN, BOB]
    assert made.due(replace(BUSY, wait=5300), 150, 0.75) == []
    assert made.due(replace(BUSY, wait=5600), 150, 1.0) == [ANN, BOB]
    assert made.due(replace(BUSY, wait=5600, draining=True), 150, 1.25) == [ANN, BOB]


def test_many_subscribers_hear_less_often_and_cost_no_more() -> None:
    made = subscribers()
    for i in range(48):
        made.add(Contact(PublicKey(bytes([i + 9]) * 32), Address("h", 1)), 0.0)
    loads = (IDLE, BUSY)
    pushed = sum(len(made.due(loads[t % 2], 150, t / 4)) for t in range(40))
    assert pushed * 150 / 10 <= 4500 + 50 * 150 / 10


def test_leases_end_and_their_number_is_bounded() -> None:
    made = subscribers(subscribers_max=2)
    third = Contact(PublicKey(bytes([9]) * 32), Address("h", 1))
    assert not made.add(third, 1.0)
    assert made.refused == 1
    assert made.add(ANN, 20.0)
    assert made.add(third, LEASE_S + 0.1)  # Bob's is over
    made.remove(tag(ANN))
    assert made.due(IDLE, 150, LEASE_S + 1.0) == [third]


def test_a_clock_that_is_set_back_delays_no_push() -> None:
    made = subscribers()
    assert made.due(IDLE, 150, 1000.0) == []  # leases are over
    made.add(ANN, 1000.0)
    assert made.due(IDLE, 150, 1000.0) == [ANN]
    assert made.due(IDLE, 150, 5.0) == [ANN]
