"""Turns: cores are shared in order; those that need all are not starved."""

from collections.abc import Callable

import pytest

from meshnode.node.turns import Turns


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
