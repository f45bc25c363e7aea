"""Turns: cores are shared in order; those that need all are not starved."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.batching.fairness import Flow, Shares
from meshnode.node.turns import Turns

RUN_S = 0.01


class Log(list[str]):
    def start(self, name: str) -> Callable[[], None]:
        return lambda: self.append(name)


def test_batches_that_take_every_core_run_one_at_a_time() -> None:
    turns, log = Turns(4), Log()
    for name in "ab":
        turns.ask(4, log.start(name))
    assert log == ["a"]
    turns.give_back(4)
    assert log == ["a", "b"]


def test_as_many_narrow_batches_run_as_there_are_cores() -> None:
    turns, log = Turns(2), Log()
    for name in "abc":
        turns.ask(1, log.start(name))
    assert log == ["a", "b"]
    turns.give_back(1)
    assert log == ["a", "b", "c"]


def test_a_wide_batch_is_not_overtaken() -> None:
    turns, log = Turns(2), Log()
    turns.ask(1, log.start("narrow"))
    turns.ask(2, log.start("wide"))
    turns.ask(1, log.start("late"))
    assert log == ["narrow"]
    turns.give_back(1)
    assert log == ["narrow", "wide"]
    turns.give_back(2)
    assert log == ["narrow", "wide", "late"]


def test_more_cores_than_there_are_means_all_of_them() -> None:
    turns, log = Turns(1), Log()
    turns.ask(8, log.start("a"))
    assert log == ["a"]
    turns.give_back(8)
    with pytest.raises(AssertionError):
        turns.give_back(1)


FLOOD, LIGHT = ("peer", "flood"), ("other", "light")


def served(seconds: float, *, crowded: bool, modules: int = 4) -> dict[Flow, float]:
    """One core; a flood has a batch ready for each module, whenever one ends the next is there.

    Another asks for one more module, one batch after the other. Returns the time that each had.
    """
    shares, had = Shares(), {FLOOD: 0.0, LIGHT: 0.0}
    turns = Turns(1, shares, lambda: crowded)
    running: list[Flow] = []

    def ask(flow: Flow) -> None:
        turns.ask(1, lambda: running.append(flow), [flow])

    for _ in range(modules):
        ask(FLOOD)
    ask(LIGHT)
    for _ in range(round(seconds / RUN_S)):
        flow = running.pop()
        had[flow] += RUN_S
        shares.charge(flow, RUN_S)
        turns.give_back(1)
        ask(flow)
    return had


def test_a_flow_with_many_modules_has_no_more_turns_than_one_with_one() -> None:
    had = served(10.0, crowded=True)
    assert had[LIGHT] == pytest.approx(5.0, abs=2 * RUN_S)


def test_while_all_can_be_held_the_oldest_batch_is_next() -> None:
    assert served(10.0, crowded=False)[LIGHT] == pytest.approx(2.0, abs=0.1)


def test_who_waits_behind_a_flood_s_batch_takes_it_along() -> None:
    shares, log = Shares(), Log()
    turns = Turns(1, shares, lambda: True)
    shares.charge(FLOOD, 1.0)
    turns.ask(1, log.start("running"), [FLOOD])
    turns.ask(1, log.start("of the flood alone"), [FLOOD])
    turns.ask(1, log.start("before the light one"), [FLOOD], lambda: [LIGHT])
    turns.give_back(1)
    assert log == ["running", "before the light one"]


@given(
    st.lists(st.tuples(st.integers(1, 3), st.sampled_from([FLOOD, LIGHT, None])), max_size=20),
    st.booleans(),
)
def test_everybody_has_his_turn_and_no_account_is_left_open(
    asked: list[tuple[int, Flow | None]], crowded: bool
) -> None:
    shares, running = Shares(), list[int]()
    turns = Turns(2, shares, lambda: crowded)
    started = 0
    for cores, flow in asked:
        turns.ask(cores, lambda c=cores: running.append(c), [] if flow is None else [flow])
        assert sum(min(c, 2) for c in running) <= 2
    while running:
        started += 1
        turns.give_back(running.pop(0))
    assert started == len(asked)
    assert not shares._peers._active
