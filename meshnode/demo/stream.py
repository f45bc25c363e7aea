"""A stream of requests from several sources at once, as cameras send them, and its account."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from time import perf_counter

import numpy as np

from meshnode.client.client import connect
from meshnode.client.results import Result

BURST = 8
"""Images in one request: enough work that a second node is worth its round trip."""


@dataclass(slots=True)
class Account:
    """What became of a stream."""

    ok: int = 0
    wrong: int = 0
    failed: list[str] = field(default_factory=list)
    retried: int = 0
    by_node: Counter[str] = field(default_factory=Counter)
    latencies_ms: list[float] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    overhead_ms: list[float] = field(default_factory=list)
    """Worker time that was not onnxruntime: copies and Wasm."""

    def percentile(self, q: float) -> float:
        """Return a latency percentile in ms."""
        return float(np.percentile(self.latencies_ms, q)) if self.latencies_ms else float("nan")


@dataclass(frozen=True, slots=True)
class Reference:
    """The inputs, and what onnxruntime itself answers in this process."""

    images: np.ndarray
    """float32 [n, 1, 8, 8]."""
    probabilities: np.ndarray
    labels: np.ndarray
    truth: np.ndarray

    def burst(self, number: int) -> slice:
        """Return which images the request with this number carries; requests go round them."""
        first = number * BURST % (len(self.images) - BURST + 1)
        return slice(first, first + BURST)

    def agrees(self, images: slice, outputs: Result) -> bool:
        """Return whether an answer is the reference's: same labels, probabilities within 1e-5."""
        return bool(
            np.array_equal(outputs["label"], self.labels[images])
            and np.allclose(outputs["probabilities"], self.probabilities[images], atol=1e-5)
        )


def run_stream(
    home: Path,
    module: str,
    reference: Reference,
    *,
    requests: int,
    sources: int,
    on_progress: Callable[[int, Counter[str]], None] = lambda done, by_node: None,
) -> Account:
    """Send requests to the node at `home`, a connection for each source; return their account.

    `on_progress` is called with the count so far and the placements, from whichever thread.
    """
    account, lock, todo = Account(), threading.Lock(), SimpleQueue[int]()
    for index in range(requests):
        todo.put(index)

    def work() -> None:
        with connect(home=home) as client:
            while True:
                try:
                    index = todo.get_nowait()
                except Empty:
                    return
                images = reference.burst(index)
                started = perf_counter()
                try:
                    result = client.predict(
                        module,
                        {"images": reference.images[images]},
                        source=f"cam-{index % sources:02d}",
                        deadline=20.0,
                    )
                except Exception as error:
                    with lock:
                        account.failed.append(f"{type(error).__name__}: {error}")
                    continue
                took_ms = (perf_counter() - started) * 1000
                with lock:
                    _enter(account, result, reference.agrees(images, result), took_ms)
                    done = account.ok + account.wrong + len(account.failed)
                on_progress(done, account.by_node)

    _in_threads([work] * sources)
    return account


def _enter(account: Account, result: Result, agrees: bool, took_ms: float) -> None:
    if agrees:
        account.ok += 1
    else:
        account.wrong += 1
    account.retried += len(result.attempts) > 1
    account.by_node[result.node.name] += 1
    account.latencies_ms.append(took_ms)
    account.batches.append(result.batch)
    account.overhead_ms.append(result.timing.run_ms - result.timing.model_ms)


def _in_threads(works: Sequence[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
