"""Batches: who was to blame is found cheaply, and nobody else pays for it. No guest is needed."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from meshnode.errors import (
    DeadlineExceeded,
    MemoryLimit,
    MeshnodeError,
    ModuleFailed,
    TimeLimit,
    Trapped,
)
from meshnode.runtime.batches import GROW_AFTER, Batches, Item, Nobody, Outcome, Pace
from meshnode.runtime.tensors import Arrays

RUN_MS = 5000
TRAP, SLOW = 13.0, 66.0
Rule = Callable[[np.ndarray], MeshnodeError | None]


def traps(x: np.ndarray) -> MeshnodeError | None:
    return Trapped("unreachable") if TRAP in x else None


def spins(x: np.ndarray) -> MeshnodeError | None:
    return TimeLimit("stopped") if SLOW in x else None


def at_most(rows: int) -> Rule:
    return lambda x: MemoryLimit("too much") if len(x) > rows else None


class Module:
    """Answers 2x, unless the rule has it fail; notes each call's rows and time limit."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.calls: list[tuple[int, int]] = []
        self.batches = Batches(self.call, ["x"], RUN_MS)

    def call(self, arrays: Arrays, rows: int, limit_ms: int) -> dict[str, np.ndarray]:
        self.calls.append((rows, limit_ms))
        if (error := self.rule(arrays["x"])) is not None:
            raise error
        return {"y": arrays["x"] * 2}

    def run(self, values: Sequence[float], audience: Nobody | None = None) -> list[Outcome]:
        items = [Item(i, {"x": np.full((1, 1), v, np.float32)}, 1) for i, v in enumerate(values)]
        outcomes: list[Outcome] = [ModuleFailed("not run")] * len(items)
        self.batches.run(items, outcomes, audience or Nobody())
        return outcomes


class Listener(Nobody):
    """Hears what is ready before the batch is; some are not waited for."""

    def __init__(self, gone: Sequence[int] = ()) -> None:
        self.heard: list[int] = []
        self.gone = gone

    def wanted(self, index: int) -> bool:
        return index not in self.gone

    def answered(self, index: int, outcome: Outcome) -> None:
        self.heard.append(index)


def good(outcomes: Sequence[Outcome]) -> list[int]:
    for outcome in outcomes:
        if not isinstance(outcome, MeshnodeError):
            assert outcome["y"].shape == (1, 1)
    return [i for i, o in enumerate(outcomes) if not isinstance(o, MeshnodeError)]


def test_a_batch_is_one_call_and_its_answers_are_cut_apart() -> None:
    module = Module(traps)
    outcomes = module.run([1, 2, 3])
    assert [o["y"].item() for o in outcomes if not isinstance(o, MeshnodeError)] == [2, 4, 6]
    assert module.calls == [(3, RUN_MS)]
    assert not module.batches.failed


@pytest.mark.parametrize("bad", range(11))
def test_ten_good_requests_and_a_bad_one_give_ten_good_answers(bad: int) -> None:
    module = Module(traps)
    outcomes = module.run([TRAP if i == bad else 1.0 for i in range(11)])
    assert good(outcomes) == [i for i in range(11) if i != bad]
    assert isinstance(outcomes[bad], Trapped)
    assert module.batches.failed
    assert len(module.calls) < 12, "halving costs less than one by one"


def test_one_bad_of_many_costs_two_calls_for_each_halving() -> None:
    module = Module(traps)
    assert len(good(module.run([TRAP, *[1.0] * 31]))) == 31
    assert len(module.calls) <= 1 + 2 * 5


def test_many_bad_ones_cost_little_more_than_one_call_each() -> None:
    module = Module(traps)
    assert good(module.run([TRAP] * 32)) == []
    assert len(module.calls) <= 32 + 2 * 5


def test_a_batch_out_of_time_is_run_one_by_one_and_the_endless_burn_their_limit_once() -> None:
    module = Module(spins)
    for _ in range(10):
        module.run([1.0])
    module.calls.clear()
    listener = Listener()
    outcomes = module.run([1.0, SLOW, 2.0, SLOW, *[3.0] * 28], listener)
    assert good(outcomes) == [i for i in range(32) if i not in (1, 3)]
    full = [limit for _, limit in module.calls if limit == RUN_MS]
    assert len(full) == 2, "each endless request had its whole limit, once"
    assert module.calls[-2:] == [(1, RUN_MS)] * 2, "and after all the others"
    assert set(listener.heard) >= set(good(outcomes)), "who were told before"


def test_without_a_known_pace_nobody_is_cut_short() -> None:
    module = Module(spins)
    module.run([1.0, SLOW, 2.0])
    assert {limit for _, limit in module.calls} == {RUN_MS}
    assert len(module.calls) == 4


def test_a_lone_request_always_has_its_full_time() -> None:
    module = Module(spins)
    for _ in range(20):
        module.run([1.0])
    assert {limit for _, limit in module.calls} == {RUN_MS}


def test_after_a_failure_nobody_is_run_who_is_not_waited_for() -> None:
    module = Module(spins)
    outcomes = module.run([1.0, SLOW, 2.0, 3.0], Listener(gone=[1, 3]))
    assert good(outcomes) == [0, 2]
    assert isinstance(outcomes[1], DeadlineExceeded)
    assert len(module.calls) == 3


def test_a_size_that_does_not_fit_is_tried_once_and_grows_again_later() -> None:
    module = Module(at_most(8))
    assert len(good(module.run([1.0] * 16))) == 16
    module.calls.clear()
    for _ in range(GROW_AFTER // 2):
        assert len(good(module.run([1.0] * 16))) == 16
    assert {rows for rows, _ in module.calls} == {8}
    module.rule = at_most(16)
    module.run([1.0] * 16)
    assert module.calls[-1][0] == 16


def test_a_poisoned_request_does_not_make_batches_smaller() -> None:
    module = Module(lambda x: MemoryLimit("poison") if TRAP in x else None)
    module.run([TRAP, *[1.0] * 7])
    assert module.batches.rows_max is None


def test_a_module_that_loses_the_batch_axis_is_run_apart() -> None:
    module = Module(lambda x: None)
    whole = module.batches._call
    module.batches._call = lambda a, r, ms: {n: y[:1] for n, y in whole(a, r, ms).items()}
    assert len(good(module.run([1.0] * 4))) == 4
    module.calls.clear()
    module.run([1.0] * 4)
    module.run([1.0] * 4)
    assert (4, RUN_MS) not in module.calls


def test_the_leash_is_a_multiple_of_what_is_usual_and_never_short() -> None:
    pace = Pace()
    assert pace.leash_ms(1, RUN_MS) == RUN_MS
    for _ in range(8):
        pace.learn(1, 0.001)
    assert pace.leash_ms(1, RUN_MS) == 100
    pace.learn(1, 0.1)
    assert pace.leash_ms(1, RUN_MS) == 800
    assert pace.leash_ms(4, RUN_MS) == 3200
    assert pace.leash_ms(100, RUN_MS) == RUN_MS
    for _ in range(400):
        pace.learn(1, 0.001)
    assert pace.leash_ms(1, RUN_MS) == 100
