"""Sizing: climbs where batches pay, stays at one where they do not, and notices a change.

Each case is a service that takes so long for n rows, under noise that only makes it slower, as on
a machine that is shared: single stalls, and seconds in which everything takes three times as long.
"""

from collections.abc import Callable

import pytest

from meshnode.batching.sizing import FAILS, PATIENCE_MAX, Sizing
from meshnode.machine import Random

Service = Callable[[int], float]


def mlp(n: int) -> float:
    return 0.0003 + 0.00002 * n


def conv(n: int) -> float:
    return 0.005 * n


def conv_in_cache(n: int) -> float:
    """Rows cost more as soon as two of them do not fit the cache."""
    return 0.0025 if n == 1 else 0.0042 * n


def late_gain(n: int) -> float:
    return 0.001 * n if n < 8 else 0.0005 * n


def best_at_eight(n: int) -> float:
    return 0.001 + 0.0002 * n if n <= 8 else 0.0006 * n


def rate(
    service: Service, seed: int, *, most: int = 32, bursts: bool, sizing: Sizing | None = None
) -> float:
    """Return rows a second of a lane for which 32 requests wait whenever it is free."""
    rng, took_s, rows = Random(seed), 0.0, 0
    sizing = sizing or Sizing(most)
    for number in range(2000):
        n = min(sizing.next_bound(32), 32)
        slow = 3.0 if bursts and number // 150 % 2 else 1.0
        stall_s = 9 * service(1) if number % 97 == 96 else 0.0
        spent_s = service(n) * slow * (1 + abs(rng.gauss(0, 0.2))) + stall_s
        sizing.learn(n, spent_s)
        took_s, rows = took_s + spent_s, rows + n
    return rows / took_s


@pytest.mark.parametrize("bursts", [False, True])
@pytest.mark.parametrize("service", [conv, conv_in_cache, mlp, late_gain, best_at_eight])
def test_learning_is_never_worse_than_not_batching(service: Service, bursts: bool) -> None:
    for seed in range(3):
        without = rate(service, seed, most=1, bursts=bursts)
        assert rate(service, seed, bursts=bursts) >= 0.97 * without


@pytest.mark.parametrize(("service", "gain"), [(mlp, 9.0), (late_gain, 1.8), (best_at_eight, 3.0)])
def test_what_pays_is_found(service: Service, gain: float) -> None:
    without = rate(service, 1, most=1, bursts=False)
    assert rate(service, 1, bursts=False) >= gain * without


def test_a_convolution_net_stays_at_one() -> None:
    sizing = Sizing(32)
    rate(conv_in_cache, 1, bursts=True, sizing=sizing)
    assert sizing.bound == 1


def test_a_change_is_noticed_both_ways() -> None:
    sizing = Sizing(32)
    rate(mlp, 1, bursts=False, sizing=sizing)
    assert sizing.bound >= 16
    rate(conv_in_cache, 2, bursts=False, sizing=sizing)
    assert sizing.bound == 1
    rate(mlp, 3, bursts=False, sizing=sizing)
    assert sizing.bound >= 16


def test_before_anything_was_measured_batches_are_greedy() -> None:
    assert Sizing(32).next_bound(20) == 32


def test_sizes_are_stepped_up_one_at_a_time() -> None:
    sizing, seen = Sizing(32), []
    for _ in range(100):
        n = sizing.next_bound(32)
        seen.append(n)
        sizing.learn(n, mlp(n))
    firsts = sorted(set(seen[1:]), key=seen[1:].index)
    assert [n for n in firsts if n > 1] == [2, 4, 8, 16, 32]


def test_tries_stand_between_batches_of_the_best_size() -> None:
    sizing, seen = Sizing(32), []
    for _ in range(100):
        seen.append(sizing.next_bound(32))
        sizing.learn(seen[-1], mlp(seen[-1]))
    first = seen.index(2)
    assert seen[first : first + 7] == [2, 1, 1, 2, 1, 1, 2]


def test_what_saves_nothing_twice_is_not_tried_further() -> None:
    sizing, seen = Sizing(32), []
    for _ in range(16):
        seen.append(sizing.next_bound(32))
        sizing.learn(seen[-1], conv_in_cache(seen[-1]))
    assert seen[1:].count(2) == FAILS
    assert set(seen[1:]) == {1, 2}


@pytest.mark.parametrize("service", [conv, conv_in_cache])
def test_looks_that_save_nothing_become_rare(service: Service) -> None:
    sizing, others = Sizing(32), []
    for number in range(4000):
        n = min(sizing.next_bound(32), 32)
        sizing.learn(n, service(n))
        if number and n > 1:
            others.append(number)
    assert len([n for n in others if n >= 2000]) <= 2000 / PATIENCE_MAX * 4


def test_finding_out_costs_a_hundredth_at_most() -> None:
    """Of the first three seconds of a crowd; the first batch is a lone request."""
    sizing, spent_s, rows = Sizing(32), 0.0, 0
    while spent_s < 3:
        n = min(sizing.next_bound(32), 32) if rows else 1
        sizing.learn(n, conv_in_cache(n))
        spent_s, rows = spent_s + conv_in_cache(n), rows + n
    assert rows * conv_in_cache(1) >= 0.985 * spent_s


def test_a_size_that_would_take_for_ever_is_not_tried() -> None:
    sizing, sizes = Sizing(32), []
    for _ in range(200):
        sizes.append(sizing.next_bound(32))
        sizing.learn(sizes[-1], 1.0 * sizes[-1])
    assert max(sizes[1:]) == 2


@pytest.mark.parametrize("most", [1, 3, 12, 32])
def test_no_batch_is_larger_than_the_operator_allows(most: int) -> None:
    sizing = Sizing(most)
    for _ in range(300):
        n = sizing.next_bound(64)
        assert 1 <= n <= most
        sizing.learn(n, mlp(n))
    assert sizing.bound == most


def test_the_same_batches_give_the_same_sizes() -> None:
    def played() -> list[int]:
        sizing, sizes = Sizing(32), []
        for number in range(200):
            sizes.append(sizing.next_bound(number % 40))
            sizing.learn(sizes[-1], best_at_eight(sizes[-1]))
        return sizes

    assert played() == played()
