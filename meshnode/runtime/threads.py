"""Whether a model is run by one thread or by onnxruntime's choice: what was measured to be faster.

onnxruntime gives an operator a thread for each core. For a run of less than a millisecond waking
them can take longer than they save, the more so on a machine that is busy. So a small model is run
both ways when it is loaded, in turns, on made-up inputs of its own shapes; one thread is taken only
if it is clearly faster for a single request, no slower for a batch, and gives the same bits.
"""

import os
from collections.abc import Callable, Sequence
from math import prod
from statistics import median
from typing import Protocol

import numpy as np

DEFAULT, ONE = 0, 1
"""As onnxruntime counts: 0 is its own choice."""
MODEL_BYTES_MAX = 8 << 20
"""Reading more weights than this takes long enough for threads to pay; and for a moment there are
two sessions."""
INPUT_BYTES_MAX = 64 << 10
SHORT_S_MIN, SHORT_S_MAX = 20e-6, 1e-3
"""Of one run: below, no thread was woken; above, waking them is little."""
BATCH_ROWS = 8
ROUNDS = 15
ROUNDS_MIN = 5
BUDGET_S = 0.025
"""May go into measuring with one row, and as much again with several; a run that takes longer is
stopped."""
FASTER, NO_SLOWER = 0.93, 1.0

Arrays = Sequence[np.ndarray]
Run = Callable[[Arrays], Arrays]


class Tensor(Protocol):
    """An input of a model."""

    @property
    def dtype(self) -> str:
        """As numpy has it."""
        ...

    @property
    def shape(self) -> tuple[int | str | None, ...]:
        """Sizes are numbers, symbols, or None for unnamed."""
        ...


def trials(model_bytes: int, inputs: Sequence[Tensor]) -> list[Arrays]:
    """Return made-up inputs to measure with: of one row, and of a batch if the model takes one.

    Empty where measuring is of no use, or nobody knows which sizes make sense.
    """
    if model_bytes > MODEL_BYTES_MAX or (os.cpu_count() or 1) < 2 or not inputs:
        return []
    if not all(isinstance(size, int) and size > 0 for each in inputs for size in each.shape[1:]):
        return []
    batches = all(each.shape and not isinstance(each.shape[0], int) for each in inputs)
    found = [_made_up(inputs, rows) for rows in ((1, BATCH_ROWS) if batches else (1,))]
    return found if sum(array.nbytes for array in found[0]) <= INPUT_BYTES_MAX else []


def is_short(run: Run, arrays: Arrays, *, now: Callable[[], float]) -> bool:
    """Return whether a run takes as long as threads may matter; the best of three, after one."""
    times = []
    for _ in range(4):
        started = now()
        run(arrays)
        times.append(now() - started)
        if times[0] > BUDGET_S:
            return False
    return SHORT_S_MIN <= min(times[1:]) <= SHORT_S_MAX


def one_is_better(
    default: Run, one: Run, inputs: Sequence[Arrays], *, now: Callable[[], float]
) -> bool:
    """Return whether one thread is faster, by enough, and answers with the same bits."""
    for number, arrays in enumerate(inputs):
        ends = now() + BUDGET_S
        if not _same(default(arrays), one(arrays)):
            return False
        times: tuple[list[float], list[float]] = ([], [])
        for round_ in range(ROUNDS):
            for which in (0, 1) if round_ % 2 else (1, 0):  # neither always finds the other's cache
                started = now()
                (default, one)[which](arrays)
                times[which].append(now() - started)
            if now() > ends:
                break
        if len(times[1]) < ROUNDS_MIN:
            return False  # too slow for this, or the machine too busy
        if median(times[1]) > (NO_SLOWER if number else FASTER) * median(times[0]):
            return False
    return True


def _same(left: Arrays, right: Arrays) -> bool:
    return len(left) == len(right) and all(
        a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()
        for a, b in zip(left, right, strict=True)
    )


def _made_up(inputs: Sequence[Tensor], rows: int) -> Arrays:
    rng = np.random.default_rng(0)
    arrays = []
    for each in inputs:
        shape = [size if isinstance(size, int) else rows for size in each.shape]
        if prod(shape) > INPUT_BYTES_MAX * BATCH_ROWS:
            shape = [INPUT_BYTES_MAX + 1]  # too large to be made, and to be measured
        if each.dtype.startswith("float"):
            arrays.append(rng.standard_normal(shape).astype(each.dtype))
        else:
            arrays.append(np.zeros(shape, each.dtype))  # a valid token, index and mask
    return arrays
