"""How many requests a lane answers in a second, against a loop over `session.run`.

A lane here is what it is in a node, without its network: one worker thread that owns the instance,
takes what is queued, at most a batch, and runs it together.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from queue import SimpleQueue
from time import perf_counter

import numpy as np

from meshnode.runtime.runtime import LoadedModule

IN_FLIGHT = 32
"""Requests that wait or run at any moment: a crowd of callers."""
SLICES = 8
ENDS_PER_SLICE_MIN = 8


def loop_rates(run: Callable[[], object], *, seconds: float) -> list[float]:
    """Return how many runs one thread ends in a second, slice by slice."""
    ends: list[float] = []
    started = perf_counter()
    while (now := perf_counter() - started) < seconds:
        run()
        ends.append(now)
    return _sliced(ends, seconds)


def lane_rates(
    module: LoadedModule,
    arrays: Mapping[str, np.ndarray],
    *,
    batch_max: int,
    seconds: float,
    in_flight: int = IN_FLIGHT,
) -> list[float]:
    """Return how many requests a worker thread answers in a second, slice by slice.

    Raises the first failure of a request.
    """
    queue: SimpleQueue[Mapping[str, np.ndarray]] = SimpleQueue()
    answers: SimpleQueue[Sequence[object]] = SimpleQueue()
    stopping = threading.Event()

    def work() -> None:
        while not stopping.is_set():
            batch = [queue.get()]
            while len(batch) < batch_max and not queue.empty():
                batch.append(queue.get())
            answers.put(module.run(batch).outcomes)

    worker = threading.Thread(target=work, name="meshnode-bench-lane")
    worker.start()
    ends: list[float] = []
    started = perf_counter()
    try:
        for _ in range(in_flight):
            queue.put(arrays)
        while (now := perf_counter() - started) < seconds:
            outcomes = answers.get()
            for outcome in outcomes:
                if isinstance(outcome, Exception):
                    raise outcome
                queue.put(arrays)
            ends += [now] * len(outcomes)
    finally:
        stopping.set()
        queue.put(arrays)  # in case it waits
        worker.join()
    return _sliced(ends, seconds)


def _sliced(ends: Sequence[float], seconds: float) -> list[float]:
    """Return rates in parts of the time; where few batches end, in fewer and wider parts."""
    slices = max(1, min(SLICES, len(set(ends)) // ENDS_PER_SLICE_MIN))
    width = seconds / slices
    return [sum(i * width <= t < (i + 1) * width for t in ends) / width for i in range(slices)]
