"""Which number of threads is taken, with times that are told and not measured."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from meshnode.runtime import threads
from meshnode.runtime.sessions import ModelTensor
from meshnode.runtime.threads import BATCH_ROWS, is_short, one_is_better, trials

X = [np.ones((1, 4), np.float32)]
BATCH = [np.ones((BATCH_ROWS, 4), np.float32)]


class Clock:
    """A time that runs pass in."""

    def __init__(self) -> None:
        self.now_s = 5.0

    def __call__(self) -> float:
        return self.now_s

    def run(
        self, us: Callable[[int], float], add: float = 0.0
    ) -> Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]:
        """Return a model that takes so long for so many rows."""

        def run(arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
            self.now_s += us(len(arrays[0])) * 1e-6
            return [arrays[0] + np.float32(add)]

        return run


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads.os, "cpu_count", lambda: 2)


def test_one_thread_must_be_clearly_faster_for_one_and_no_slower_for_a_batch() -> None:
    clock = Clock()
    default = clock.run(lambda rows: 80 + 10 * rows)
    for us, better in (
        (lambda rows: 60 + 10 * rows, True),
        (lambda rows: 78 + 10 * rows, False),
        (lambda rows: 40 + 20 * rows, False),
        (lambda rows: 95 + 10 * rows, False),
    ):
        assert one_is_better(default, clock.run(us), [X, BATCH], now=clock) is better


def test_other_bits_keep_the_default() -> None:
    clock = Clock()
    default = clock.run(lambda _: 100)
    assert one_is_better(default, clock.run(lambda _: 50), [X], now=clock)
    assert not one_is_better(default, clock.run(lambda _: 50, add=1e-6), [X], now=clock)
    twice = lambda arrays: [arrays[0], arrays[0]]  # noqa: E731
    assert not one_is_better(default, twice, [X], now=clock)


def test_measuring_ends_with_its_budget() -> None:
    clock = Clock()
    assert not one_is_better(
        clock.run(lambda n: 900 * n), clock.run(lambda n: 500 * n), [X, BATCH], now=clock
    )
    assert clock.now_s < 5.0 + 3 * threads.BUDGET_S


@pytest.mark.parametrize(
    ("us", "short"), [(5, False), (50, True), (900, True), (1100, False), (50_000, False)]
)
def test_only_short_runs_are_compared(us: int, short: bool) -> None:
    clock = Clock()
    assert is_short(clock.run(lambda _: us), X, now=clock) is short


def test_a_long_run_is_made_once() -> None:
    clock = Clock()
    assert not is_short(clock.run(lambda _: 50_000), X, now=clock)
    assert clock.now_s < 5.06


def test_inputs_are_made_up_where_their_sizes_are_known() -> None:
    rows = [ModelTensor("x", "float32", ("N", 4)), ModelTensor("ids", "int64", (None, 2))]
    one, batch = trials(1000, rows)
    assert [a.shape for a in one] == [(1, 4), (1, 2)]
    assert [a.shape for a in batch] == [(BATCH_ROWS, 4), (BATCH_ROWS, 2)]
    assert not one[1].any()
    fixed = [ModelTensor("x", "float32", (1, 4)), ModelTensor("rate", "int64", ())]
    assert [[a.shape for a in each] for each in trials(1000, fixed)] == [[(1, 4), ()]]


@pytest.mark.parametrize(
    "shape", [("N", "H", 4), ("N", None), ("N", 0), ("N", 1 << 20), ("N", 1 << 40), (1 << 40,)]
)
def test_other_shapes_are_not_measured(shape: tuple[int | str | None, ...]) -> None:
    assert trials(1000, [ModelTensor("x", "float32", shape)]) == []


def test_large_models_and_single_cores_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    x = [ModelTensor("x", "float32", ("N", 4))]
    assert trials(threads.MODEL_BYTES_MAX + 1, x) == []
    monkeypatch.setattr(threads.os, "cpu_count", lambda: 1)
    assert trials(1000, x) == []
