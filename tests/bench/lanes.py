"""A lane without a node around it: real module, real thread, callers that are tasks beside it."""

import statistics
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from time import perf_counter

import numpy as np
import trio

from meshnode.assets import asset
from meshnode.batching.settings import BatchingSettings
from meshnode.ids import ContentHash, NodeId
from meshnode.modules.layout import read_head
from meshnode.modules.manifest import Manifest
from meshnode.modules.pack import assemble, runner_manifest
from meshnode.node.lane import Lane, LaneParts
from meshnode.node.pretence import REAL
from meshnode.node.turns import Turns
from meshnode.node.worker import Worker
from meshnode.placement.observe import LoadMeter
from meshnode.runtime.onnx_file import inspect_model
from meshnode.runtime.providers import detect_caps
from meshnode.runtime.runtime import LoadedModule, Runtime
from meshnode.runtime.settings import RuntimeSettings
from tests.scratch import scratch

Inputs = Mapping[str, np.ndarray]
SLICES = 8


def new_runtime() -> Runtime:
    """Return a runtime whose cache is its own."""
    cache = scratch("bench")
    return Runtime(RuntimeSettings(), cache_dir=cache, mac_key=b"k" * 32, caps=detect_caps())


def load_model(runtime: Runtime, model: bytes) -> LoadedModule:
    """Load a model as `meshnode pack` would pack it, unsigned."""
    facts = inspect_model(model)
    about = runner_manifest(
        name="bench", version="1.0.0", inputs=facts.inputs, outputs=facts.outputs, batch=facts.batch
    )
    guest = asset("onnx-runner.wasm").read_bytes()
    wasm, weights = assemble(guest, about, {"model": model}, embed=False)
    return runtime.load(wasm, read_head(wasm).manifest, weights)


def load_guest(runtime: Runtime, name: str, about: Manifest) -> LoadedModule:
    """Load a shipped guest."""
    return runtime.load(asset(f"{name}.wasm").read_bytes(), about, {})


@asynccontextmanager
async def lane_of(
    loaded: LoadedModule, *, batch_max: int, turns: Turns | None = None
) -> AsyncIterator[Lane]:
    """Open a lane; the module is closed with it."""
    async with trio.open_nursery() as nursery:
        parts = LaneParts(
            meter=LoadMeter(NodeId(b"n" * 32), speed=100, batch_max=batch_max),
            turns=turns or Turns(2),
            nursery=nursery,
            pretence=REAL,
            note_came=lambda: None,
            note_finished=lambda: None,
        )
        settings = BatchingSettings(batch_max=batch_max)
        lane = Lane(ContentHash(b"m" * 32), loaded, Worker("bench"), parts, settings)
        nursery.start_soon(lane.run)
        yield lane
        nursery.cancel_scope.cancel()
    lane.close()


async def drive(lane: Lane, inputs: Inputs, *, callers: int, seconds: float) -> "Driven":
    """Let so many callers ask, each again as soon as it is answered."""
    driven, started = Driven(seconds), perf_counter()

    async def caller() -> None:
        while (asked := perf_counter()) < started + seconds:
            answer = await lane.predict(inputs, run_by=trio.current_time() + 60)
            driven.note(perf_counter() - started, perf_counter() - asked, answer.batch)

    async with trio.open_nursery() as nursery:
        for _ in range(callers):
            nursery.start_soon(caller)
    return driven


class Driven:
    """What callers met."""

    def __init__(self, seconds: float) -> None:
        self.width = seconds / SLICES
        self.counts = [0] * SLICES
        self.took_ms: list[float] = []
        self.batches: list[int] = []

    def note(self, at_s: float, took_s: float, batch: int) -> None:
        """One answer came."""
        if (part := int(at_s / self.width)) < SLICES:
            self.counts[part] += 1
        self.took_ms.append(took_s * 1000)
        self.batches.append(batch)

    @property
    def rates(self) -> list[float]:
        """Answers a second, slice by slice; the first, in which the lane learns, is left out."""
        return [count / self.width for count in self.counts[1:]]

    @property
    def mean_batch(self) -> float:
        """Of the requests."""
        return statistics.fmean(self.batches)
