"""Asks and bytes have a rate."""

from meshnode.reach.rate import KEYS_MAX, AskRate, ByteRate


def test_a_burst_then_one_each_step_for_each_key() -> None:
    rate = AskRate(every_s=1.0, burst=3)
    assert [rate.allows("a", 0.0) for _ in range(4)] == [True, True, True, False]
    assert rate.allows("b", 0.0)
    assert not rate.allows("a", 0.5)
    assert rate.allows("a", 1.0)
    assert not rate.allows("a", 1.0)


def test_the_keys_remembered_are_bounded() -> None:
    rate = AskRate(every_s=1.0, burst=1)
    for key in range(2 * KEYS_MAX):
        rate.allows(key, 0.0)
    assert len(rate) == KEYS_MAX


def test_bytes_over_the_rate_wait() -> None:
    rate = ByteRate(1000.0, burst_s=0.1)
    assert rate.take(100, 0.0) == 0.0
    assert rate.take(500, 0.0) == 0.5
    assert rate.take(100, 10.0) == 0.0
