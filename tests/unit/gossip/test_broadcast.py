"""The queue: least-sent first, a bounded number of times, one word of each member."""

from dataclasses import replace

import pytest

from meshnode.gossip.broadcast import BroadcastQueue, News, sends_max
from meshnode.gossip.sizes import Packer
from tests.unit.gossip.people import ALIVE, ANN, BOB, CID, LEFT, accusation, tag, update

ROOM_FOR_ONE = 200


def taken(queue: BroadcastQueue, room: int = 1000, size: int = 5) -> tuple[News, ...]:
    packer = Packer(room)
    queue.fill(packer, size)
    return (*packer.updates, *packer.accusations)


def test_the_least_sent_goes_first_and_the_newest_of_those() -> None:
    queue = BroadcastQueue(4)
    queue.put(update(ANN))
    queue.put(update(BOB))
    assert taken(queue, room=ROOM_FOR_ONE) == (update(BOB),)
    assert taken(queue, room=ROOM_FOR_ONE) == (update(ANN),)
    queue.put(update(CID))
    assert taken(queue, room=ROOM_FOR_ONE) == (update(CID),)
    assert set(taken(queue)) == {update(ANN), update(BOB), update(CID)}


def test_each_is_sent_a_bounded_number_of_times() -> None:
    queue = BroadcastQueue(4)
    queue.put(update(ANN))
    sent = [taken(queue, size=5) for _ in range(10)]
    assert sent == [(update(ANN),)] * 4 + [()] * 6
    assert len(queue) == 0


def test_a_newer_word_replaces_an_older_one_and_starts_anew() -> None:
    queue = BroadcastQueue(1)
    queue.put(update(ANN, ALIVE))
    queue.put(update(ANN, LEFT))
    assert len(queue) == 1
    assert taken(queue) == (update(ANN, LEFT),)


def test_accusations_lie_beside_each_other_until_they_are_refuted() -> None:
    queue = BroadcastQueue(4)
    queue.put(update(ANN))
    queue.put(accusation(ANN, BOB))
    queue.put(accusation(ANN, CID))
    queue.put(accusation(ANN, CID))
    assert len(queue) == 3
    queue.drop(tag(ANN), (tag(BOB), tag(CID)))
    assert taken(queue) == (update(ANN),)


def test_too_much_news_pushes_the_oldest_out_and_is_counted() -> None:
    queue = BroadcastQueue(4, waiting_max=2)
    queue.put(update(ANN))
    queue.put(update(BOB))
    queue.put(update(CID))
    assert set(taken(queue)) == {update(BOB), update(CID)}
    assert queue.dropped == 1


@pytest.mark.parametrize(("size", "times"), [(1, 4), (9, 4), (10, 8), (99, 8), (2000, 16)])
def test_the_bound_is_that_of_memberlist(size: int, times: int) -> None:
    assert sends_max(4, size) == times


def test_what_is_heard_from_others_meanwhile_counts_half() -> None:
    queue = BroadcastQueue(4)
    queue.put(update(ANN))
    assert taken(queue, size=5) == (update(ANN),)
    for _ in range(4):
        queue.heard(update(ANN))
    assert [taken(queue, size=5) for _ in range(2)] == [(update(ANN),), ()]


def test_only_the_very_words_that_we_tell_count_as_heard() -> None:
    queue = BroadcastQueue(1)
    queue.put(update(ANN, incarnation=2))
    assert taken(queue, room=100) == ()
    for forged in (update(ANN, incarnation=1), replace(update(ANN, incarnation=2), name="other")):
        for _ in range(9):
            queue.heard(forged)
    assert taken(queue) == (update(ANN, incarnation=2),)


def test_news_is_fresh_until_it_was_told_so_often() -> None:
    queue = BroadcastQueue(4)
    assert not queue.has_fresh(2)
    queue.put(update(ANN))
    assert queue.has_fresh(1)
    taken(queue)
    assert queue.has_fresh(2)
    assert not queue.has_fresh(1)
    taken(queue)
    assert not queue.has_fresh(2)
