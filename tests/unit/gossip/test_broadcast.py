"""The queue: least-sent first, a bounded number of times, one claim about each member."""

import pytest

from meshnode.gossip.broadcast import BroadcastQueue, sends_max
from meshnode.gossip.sizes import Packer
from meshnode.wire.messages import MemberUpdate
from tests.unit.gossip.people import ALIVE, ANN, BOB, CID, DEAD, update


def taken(queue: BroadcastQueue, room: int = 1000, size: int = 5) -> tuple[MemberUpdate, ...]:
    packer = Packer(room)
    queue.fill(packer, size)
    return packer.updates


def test_the_least_sent_goes_first_and_the_newest_of_those() -> None:
    queue = BroadcastQueue(4)
    queue.put(update(ANN))
    queue.put(update(BOB))
    assert taken(queue, room=110) == (update(BOB),)
    assert taken(queue, room=110) == (update(ANN),)
    queue.put(update(CID))
    assert taken(queue, room=110) == (update(CID),)
    assert set(taken(queue)) == {update(ANN), update(BOB), update(CID)}


def test_each_is_sent_a_bounded_number_of_times() -> None:
    queue = BroadcastQueue(4)
    queue.put(update(ANN))
    sent = [taken(queue, size=5) for _ in range(10)]
    assert sent == [(update(ANN),)] * 4 + [()] * 6
    assert len(queue) == 0


def test_a_newer_claim_replaces_an_older_one_and_starts_anew() -> None:
    queue = BroadcastQueue(1)
    queue.put(update(ANN, ALIVE))
    queue.put(update(ANN, DEAD))
    assert len(queue) == 1
    assert taken(queue) == (update(ANN, DEAD),)


@pytest.mark.parametrize(("size", "times"), [(1, 4), (9, 4), (10, 8), (99, 8), (2000, 16)])
def test_the_bound_is_that_of_memberlist(size: int, times: int) -> None:
    assert sends_max(4, size) == times
