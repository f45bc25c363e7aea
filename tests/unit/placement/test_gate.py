"""One load after the other, with a pause; who was refused everywhere is let through."""

from meshnode.placement.gate import ColdGate
from meshnode.placement.settings import PlacementSettings

SETTINGS = PlacementSettings()
PAUSE, LAST = SETTINGS.cold_pause_s, SETTINGS.cold_refusals_max


def test_a_fresh_node_loads_at_once() -> None:
    assert ColdGate().refusal_s(0, 0.0) is None


def test_closed_while_a_module_loads_and_for_a_pause_after_it_began() -> None:
    gate = ColdGate()
    gate.began(10.0)
    assert gate.refusal_s(0, 10.0 + 2 * PAUSE) == PAUSE / 2, "it still loads"
    assert gate.refusal_s(0, 10.0 + PAUSE) is not None
    gate.ended()
    assert gate.refusal_s(0, 10.5) == PAUSE - 0.5
    assert gate.refusal_s(0, 10.0 + PAUSE) is None


def test_a_request_refused_by_many_is_let_through() -> None:
    gate = ColdGate()
    gate.began(0.0)
    assert gate.refusal_s(LAST - 1, 0.0) is not None
    assert gate.refusal_s(LAST, 0.0) is None


def test_an_end_without_a_beginning_opens_nothing_more() -> None:
    gate = ColdGate()
    gate.ended()
    gate.began(0.0)
    assert gate.refusal_s(0, 1.0) is not None


def test_a_node_with_work_loads_nothing_until_it_has_to() -> None:
    gate = ColdGate()
    assert gate.refusal_s(0, 0.0, busy=True) is not None
    assert gate.refusal_s(LAST, 0.0, busy=True) is None
    gate.began(0.0)
    gate.ended()
    assert gate.refusal_s(0, 0.5, busy=True) == PAUSE - 0.5
    assert gate.refusal_s(0, PAUSE, busy=True) is not None
    assert gate.refusal_s(0, PAUSE) is None
