"""The window: waiting only while what the next request gains is more than what the others lose."""

from meshnode.batching.curve import ServiceCurve
from meshnode.batching.window import Arrivals, wait_until


def curve(fixed_s: float, each_s: float) -> ServiceCurve:
    made = ServiceCurve()
    for n in (1, *(1, 2, 4) * 6):
        made.learn(n, fixed_s + each_s * n)
    return made


def arrivals(gap_s: float) -> Arrivals:
    made = Arrivals()
    for number in range(20):
        made.came(number * gap_s)
    return made


def test_it_pays_where_requests_come_fast_and_a_batch_costs_the_same_whatever_its_size() -> None:
    seen = arrivals(0.001)
    until = wait_until(seen, curve(0.010, 0.0001), 1)
    assert until is not None
    assert seen.last is not None
    assert seen.last < until <= seen.last + 0.003


def test_it_does_not_pay_where_every_row_costs() -> None:
    assert wait_until(arrivals(0.001), curve(0.0, 0.010), 1) is None


def test_it_does_not_pay_where_nobody_is_expected_in_time() -> None:
    assert wait_until(arrivals(0.006), curve(0.010, 0.0001), 1) is None


def test_the_more_wait_the_less_it_pays() -> None:
    fast, line = arrivals(0.001), curve(0.010, 0.001)
    assert wait_until(fast, line, 1) is not None
    assert wait_until(fast, line, 6) is None


def test_it_does_not_pay_to_wait_on_a_guess() -> None:
    assert wait_until(arrivals(0.001), ServiceCurve(), 1) is None
    assert wait_until(Arrivals(), curve(0.010, 0.0001), 1) is None
