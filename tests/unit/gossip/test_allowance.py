"""Allowances: a burst, then one in a while; whoever is forgotten has everything."""

from hypothesis import given
from hypothesis import strategies as st

from meshnode.gossip.allowance import NAMES_MAX, Allowances
from meshnode.ids import NodeTag

ANN, BOB = NodeTag(b"a" * 8), NodeTag(b"b" * 8)


def test_a_burst_then_one_in_a_while_for_each_name() -> None:
    allowances = Allowances(burst=2, refill_s=10.0)
    assert [allowances.take(ANN, 1.0) for _ in range(3)] == [True, True, False]
    assert allowances.take(BOB, 1.0)
    assert not allowances.take(ANN, 10.9)
    assert allowances.take(ANN, 11.1)
    assert not allowances.take(ANN, 11.2)


def test_spending_more_than_there_is_makes_no_debt() -> None:
    allowances = Allowances(burst=2, refill_s=10.0)
    for _ in range(50):
        allowances.spend(ANN, 1.0)
    assert not allowances.may(ANN, 10.0)
    assert allowances.may(ANN, 11.1)


def test_the_memory_is_bounded() -> None:
    allowances = Allowances(burst=1, refill_s=10.0)
    for i in range(NAMES_MAX + 10):
        allowances.spend(NodeTag(i.to_bytes(8, "big")), 1.0)
    assert len(allowances._spent) == NAMES_MAX


@given(st.lists(st.floats(0, 5), max_size=60))
def test_nobody_takes_more_than_its_rate(waits: list[float]) -> None:
    allowances = Allowances(burst=3, refill_s=2.0)
    now = taken = 0.0
    for wait in waits:
        now += wait
        taken += allowances.take(ANN, now)
    assert taken <= 3 + now / 2.0 + 1e-6


def test_a_clock_that_is_set_back_makes_nobody_wait() -> None:
    allowances = Allowances(burst=1, refill_s=10.0)
    allowances.spend(ANN, 5000.0)
    assert allowances.take(ANN, 1.0)
    assert not allowances.take(ANN, 1.0)
