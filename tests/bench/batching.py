"""What batching gains by size and by kind of model, and what a lane costs beside its module."""

from collections.abc import Callable, Iterator
from functools import partial
from time import perf_counter

import numpy as np
import trio

from meshnode.bench.rows import Row, interleaved
from meshnode.caps import Caps
from meshnode.modules.manifest import TensorSpec
from meshnode.node.turns import Turns
from meshnode.node.worker import Worker
from meshnode.runtime.runtime import LoadedModule, Runtime
from tests.bench import lanes, models
from tests.unit.runtime.support import manifest

SIZES = (1, 2, 4, 8, 16, 32)
CALLERS, DRIVE_S, ROUNDS = 32, 1.5, 3
HOPS = 1500
TINY_WORK_S, HOP_WAIT_S = 20e-6, 0.001
Make = Callable[[], tuple[bytes, dict[str, np.ndarray]]]
KINDS: dict[str, Make] = {
    "perceptron": models.perceptron,
    "transformer": models.transformer,
    "convolution": models.slow,
}


def rows() -> Iterator[Row]:
    """Yield the gain of a batch by size, throughput at 32 callers, hops, and lanes side by side."""
    runtime = lanes.new_runtime()
    for name, make in KINDS.items():
        model, inputs = make()
        yield from _sizes(runtime, name, model, inputs)
    for name, make in KINDS.items():
        model, inputs = make()
        yield from _crowd(runtime, name, model, inputs)
    yield from _hops()
    yield from _side_by_side(runtime)


def _sizes(runtime: Runtime, name: str, model: bytes, inputs: lanes.Inputs) -> Iterator[Row]:
    loaded = lanes.load_model(runtime, model)
    works = {n: partial(_run, loaded, [inputs] * n) for n in SIZES}
    times = interleaved({str(n): w for n, w in works.items()}, rounds=400, budget_s=5.0)
    loaded.close()
    base: Row | None = None
    for n in SIZES:
        samples = [t / n for t in times[str(n)]]
        row = Row(
            what=f"{name}, a row in a batch of {n}", unit="ms", samples=samples, baseline=base
        )
        base = base or row
        yield row


def _run(loaded: LoadedModule, requests: list[lanes.Inputs]) -> None:
    for outcome in loaded.run(requests).outcomes:
        if isinstance(outcome, Exception):
            raise outcome


def _crowd(runtime: Runtime, name: str, model: bytes, inputs: lanes.Inputs) -> Iterator[Row]:
    found: dict[int, list[lanes.Driven]] = {1: [], 32: []}

    async def measure() -> None:
        for _ in range(ROUNDS):
            for batch_max, driven in found.items():
                loaded = lanes.load_model(runtime, model)
                async with lanes.lane_of(loaded, batch_max=batch_max) as lane:
                    driven.append(await lanes.drive(lane, inputs, callers=CALLERS, seconds=DRIVE_S))

    trio.run(measure)
    off, on = found[1], found[32]
    what = f"{name}, c={CALLERS}, batching"
    base = Row(what=f"{what} off", unit="/s", samples=[r for d in off for r in d.rates])
    yield base
    mean = np.mean([d.mean_batch for d in on])
    yield Row(
        what=f"{what} on",
        unit="/s",
        samples=[r for d in on for r in d.rates],
        baseline=base,
        note=f"mean batch {mean:.1f}",
    )


# ---------------------------------------------------------------------- the way into the thread


def _hops() -> Iterator[Row]:
    times: dict[str, list[float]] = {}
    trio.run(_measure_hops, times)
    base = Row(what="20 us of work in the event loop", unit="ms", samples=times.pop("here"))
    yield base
    for name, samples in times.items():
        yield Row(what=f"the same {name}", unit="ms", samples=samples, baseline=base)


async def _measure_hops(times: dict[str, list[float]]) -> None:
    worker, limiter = Worker("bench"), trio.CapacityLimiter(1)

    async def here() -> None:
        _work()
        await trio.lowlevel.checkpoint()

    async def tiny() -> None:
        over = trio.Event()
        worker.submit_tiny(_work, lambda _: over.set(), wait_s=HOP_WAIT_S)
        await over.wait()

    ways = {
        "here": here,
        "in trio's thread (to_thread)": partial(trio.to_thread.run_sync, _work, limiter=limiter),
        "in a lane's thread": partial(worker.run, _work),
        "in a lane's thread, the loop waits": tiny,
    }
    for _ in range(HOPS):
        for name, way in ways.items():
            started = perf_counter()
            await way()
            times.setdefault(name, []).append((perf_counter() - started) * 1000)
    worker.stop()


def _work() -> None:
    ends = perf_counter() + TINY_WORK_S
    while perf_counter() < ends:
        pass


# ---------------------------------------------------------------------- several lanes


def _side_by_side(runtime: Runtime) -> Iterator[Row]:
    """Two pure Wasm modules, busy at once: one core after the other, or both."""
    about = manifest(
        required=Caps.CPU,
        batch=False,
        outputs=(TensorSpec(name="y", dtype="float32", shape=(-1, 3)),),
    )
    inputs = {"x": np.ones((20_000, 4), np.float32)}
    found: dict[int, list[float]] = {1: [], 2: []}

    async def measure() -> None:
        for _ in range(ROUNDS):
            for cores, rates in found.items():
                turns, driven = Turns(cores), []

                async def busy(turns: Turns = turns, driven: list[lanes.Driven] = driven) -> None:
                    loaded = lanes.load_guest(runtime, "linear", about)
                    async with lanes.lane_of(loaded, batch_max=1, turns=turns) as lane:
                        driven.append(await lanes.drive(lane, inputs, callers=2, seconds=DRIVE_S))

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(busy)
                    nursery.start_soon(busy)
                rates += [a + b for a, b in zip(*(d.rates for d in driven), strict=True)]

    trio.run(measure)
    base = Row(what="two pure Wasm lanes, one at a time", unit="/s", samples=found[1])
    yield base
    yield Row(what="two pure Wasm lanes, a core each", unit="/s", samples=found[2], baseline=base)
