"""Shares: work is conserved, shares are even within a request of each, nobody is starved."""

from collections import Counter
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.batching.fairness import ACCOUNTS_MAX, Flow, Shares

A, B = ("peer-a", "cam"), ("peer-b", "cam")


def serve(shares: Shares, waiting: Counter[Flow], cost: dict[Flow, float]) -> Flow:
    """Serve who is next, and take it off what waits."""
    flow = next(shares.order(waiting, 0.0))
    shares.charge(flow, cost[flow])
    shares.left(flow)
    waiting[flow] -= 1
    if not waiting[flow]:
        del waiting[flow]
    return flow


def join(shares: Shares, waiting: Counter[Flow], flow: Flow, count: int = 1) -> None:
    for _ in range(count):
        shares.joined(flow)
        waiting[flow] += 1


def test_two_who_always_wait_get_as_much_time_though_one_sends_longer_requests() -> None:
    shares, waiting, given_s = Shares(), Counter[Flow](), Counter[Flow]()
    cost = {A: 0.03, B: 0.01}
    join(shares, waiting, A, 500)
    join(shares, waiting, B, 500)
    for _ in range(400):
        flow = serve(shares, waiting, cost)
        given_s[flow] += cost[flow]  # type: ignore[assignment]
    assert abs(given_s[A] - given_s[B]) <= 0.04


def test_who_idled_has_saved_nothing_up() -> None:
    shares, waiting = Shares(), Counter[Flow]()
    join(shares, waiting, A, 1000)
    for _ in range(500):
        serve(shares, waiting, {A: 1.0})
    join(shares, waiting, B, 100)
    turns = Counter(serve(shares, waiting, {A: 1.0, B: 1.0}) for _ in range(100))
    assert abs(turns[A] - turns[B]) <= 2


def test_inventing_sources_takes_nothing_from_another_peer() -> None:
    shares, waiting = Shares(), Counter[Flow]()
    liars: list[Flow] = [("liar", f"cam-{n}") for n in range(40)]
    for flow in liars:
        join(shares, waiting, flow, 5)
    join(shares, waiting, B, 100)
    cost = dict.fromkeys([*liars, B], 1.0)
    turns = Counter(serve(shares, waiting, cost)[0] for _ in range(100))
    assert abs(turns["liar"] - turns["peer-b"]) <= 2


def test_what_runs_before_one_more_is_what_the_order_says() -> None:
    shares, waiting = Shares(), Counter[Flow]()
    join(shares, waiting, A, 50)
    assert shares.ahead_s(B, {A: 50}, 0.1) == pytest.approx(0.1), "they are even: A came first"
    assert shares.ahead_s(A, {A: 40}, 0.1) == pytest.approx(4.0)
    assert shares.ahead_s(B, {A: 40, B: 3}, 0.1) == pytest.approx(0.3 + 0.4)
    several = {("p", str(n)): 1 for n in range(5)}
    assert shares.ahead_s(("p", "new"), several, 0.1) == pytest.approx(0.5), "one of each"
    join(shares, waiting, B)
    for _ in range(10):
        serve(shares, waiting, {A: 0.1, B: 0.1})
    assert shares.ahead_s(B, {A: 40}, 0.1) == 0.0, "A had a turn since"


def test_what_is_remembered_of_those_who_left_is_bounded() -> None:
    shares = Shares()
    for n in range(3 * ACCOUNTS_MAX):
        shares.joined((n, "x"))
        shares.charge((n, "x"), 1.0)
        shares.left((n, "x"))
    assert len(shares) <= ACCOUNTS_MAX + 1
    for n in range(3 * ACCOUNTS_MAX):
        shares.joined(("one", n))
    for n in range(3 * ACCOUNTS_MAX):
        shares.left(("one", n))
        shares.joined(("one", f"again-{n}"))
        shares.left(("one", f"again-{n}"))


FLOWS = st.tuples(st.sampled_from("PQR"), st.sampled_from("xyz"))
STEPS = st.lists(st.tuples(FLOWS, st.integers(0, 3), st.floats(0.001, 0.1)), max_size=80)


@settings(max_examples=80, deadline=None)
@given(STEPS)
def test_something_is_next_as_long_as_anything_waits_and_all_are_served(
    steps: list[tuple[Flow, int, float]],
) -> None:
    shares, waiting, cost = Shares(), Counter[Flow](), {}
    joined, served = Counter[Flow](), Counter[Flow]()
    for flow, count, seconds in steps:
        cost[flow] = seconds
        if count:
            join(shares, waiting, flow, count)
            joined[flow] += count
        elif waiting:
            served[serve(shares, waiting, cost)] += 1
    order = list(shares.order(waiting, 0.01))
    assert Counter(order) == waiting
    while waiting:
        served[serve(shares, waiting, cost)] += 1
    assert served == joined


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(FLOWS, st.floats(0.001, 0.1), min_size=2, max_size=9), st.integers(10, 200))
def test_peers_that_all_wait_are_within_a_request_of_each_other(
    cost: dict[Flow, float], turns: int
) -> None:
    shares, waiting = Shares(), Counter[Flow]()
    for flow in cost:
        join(shares, waiting, flow, turns)
    given_s: dict[str, float] = dict.fromkeys((str(peer) for peer, _ in cost), 0.0)
    by_flow: dict[Flow, float] = dict.fromkeys(cost, 0.0)
    for _ in range(turns):
        flow = serve(shares, waiting, cost)
        given_s[str(flow[0])] += cost[flow]
        by_flow[flow] += cost[flow]
    bound = 2 * max(cost.values()) + 1e-9
    assert max(given_s.values()) - min(given_s.values()) <= bound
    for peer in given_s:
        sources = [s for f, s in by_flow.items() if f[0] == peer]
        assert max(sources) - min(sources) <= bound


def test_the_order_does_not_depend_on_how_flows_hash() -> None:
    flows: list[Flow] = [(f"p{n % 3}", f"s{n}") for n in range(9)]
    first = list(islice(Shares().order(dict.fromkeys(flows, 2), 0.1), 18))
    assert first == list(islice(Shares().order(dict.fromkeys(flows, 2), 0.1), 18))
    assert first[0] == flows[0]
