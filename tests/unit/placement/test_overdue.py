"""A late answer is asked after, forgiven once, and then its node is avoided."""

from meshnode.placement.overdue import Verdict, ping_timeout_s, watch
from meshnode.placement.settings import PlacementSettings

SETTINGS = PlacementSettings()


def test_nothing_is_due_before_the_promise_and_its_grace() -> None:
    late = watch(100.0, 5.0, SETTINGS)
    assert late.due_at == 5.14
    assert late.verdict(5.13, SETTINGS) is Verdict.WAIT
    assert late.verdict(5.14, SETTINGS) is Verdict.PING
    assert late.verdict(9.0, SETTINGS) is Verdict.WAIT, "asked already; the ping has its own time"


def test_the_next_promise_has_twice_the_grace_and_its_breach_is_a_strike() -> None:
    late = watch(100.0, 0.0, SETTINGS)
    assert late.verdict(1.0, SETTINGS) is Verdict.PING
    late.alive(50.0, 1.0, SETTINGS)
    assert round(late.due_at - 1.0, 3) == 0.130
    assert late.verdict(1.12, SETTINGS) is Verdict.WAIT
    assert late.verdict(1.14, SETTINGS) is Verdict.STRIKE


def test_silence_is_judged_by_the_round_trip() -> None:
    assert ping_timeout_s(20.0, SETTINGS) == 0.050
    assert ping_timeout_s(None, SETTINGS) == 0.020
