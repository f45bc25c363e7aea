"""What a long life leaves behind: resident memory over requests, traps, loads and unloads.

Each part warms up first, so that caches and arenas have what they keep; the drift is what the
process then holds more at the end than at the beginning. The target is flat within 5 %.
"""

import gc
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from meshnode.assets import asset
from meshnode.bench.rows import Row
from meshnode.errors import MeshnodeError
from meshnode.modules.layout import read_module
from meshnode.modules.manifest import Limits, Manifest
from meshnode.modules.pack import assemble, runner_manifest
from meshnode.runtime.onnx_file import inspect_model
from meshnode.runtime.providers import detect_caps
from meshnode.runtime.runtime import LoadedModule, Runtime
from meshnode.runtime.settings import RuntimeSettings
from meshnode.wire.limits import MIB
from tests.bench import models
from tests.unit.runtime.support import SEED_HEAD, dist, manifest, seed_guest

REQUESTS, TRAPS, CYCLES = 100_000, 10_000, 100
SAMPLES = 50
"""Of resident memory in each part."""
ROW = np.array([[1, 0, 0, 0]], np.float32)
TRAPPING = "(if (f32.gt (f32.load (local.get $in)) (f32.const 0)) (then unreachable)) i32.const 0"


def rows() -> Iterator[Row]:
    """Yield resident memory over each part, and how far it drifted."""
    with tempfile.TemporaryDirectory(prefix="meshnode-soak-") as folder:
        runtime = Runtime(
            RuntimeSettings(), cache_dir=Path(folder), mac_key=b"k" * 32, caps=detect_caps()
        )
        tiny, about = packed(models.tiny()[0])
        loaded = runtime.load(tiny, about, {})
        x = {spec.name: np.ones([abs(d) for d in spec.shape], spec.dtype) for spec in about.inputs}
        yield part("requests to a model of 10 us", REQUESTS, lambda _: right(loaded, x))
        loaded.close()

        echo = runtime.load(dist("echo"), small(), {})
        big = {"x": np.ones((4096, 4), np.float32)}
        some = ({"x": ROW}, big)
        yield part(
            "requests of 16 B and 64 KiB in turn", REQUESTS, lambda i: right(echo, some[i % 2])
        )
        echo.close()

        trapping = runtime.load(seed_guest(TRAPPING), small(), {})
        yield part("traps, each with a new instance after", TRAPS, lambda _: wrong(trapping))
        trapping.close()

        digits, described = packed(asset("digits.onnx").read_bytes())
        image = {"images": np.zeros((1, 1, 8, 8), np.float32)}

        def cycle(i: int) -> None:
            """Load, ask and unload a model, and a guest that was never seen before."""
            guests = (
                (digits, described, image),
                (seed_guest(f"(drop (i32.const {i})) i32.const 0", SEED_HEAD), small(), {"x": ROW}),
            )
            for wasm, its, request in guests:
                module = runtime.load(wasm, its, {})
                right(module, request)
                module.close()

        yield part("cycles of load, one request, unload", CYCLES, cycle)


def part(what: str, count: int, work: Callable[[int], None]) -> Row:
    """Do it so many times, after a tenth of that to warm up."""
    for i in range(-max(count // 10, 40), 0):
        work(i)
    before, samples = resident_mib(), []
    for i in range(count):
        work(i)
        if i % max(1, count // SAMPLES) == 0:
            samples.append(resident_mib(collect=False))
    after = resident_mib()
    drift = 100 * (after - before) / before
    note = f"{before:.1f} MiB before, {after:.1f} after {count}: {drift:+.2f} %"
    return Row(what=what, unit="MiB", samples=[before, *samples, after], note=note)


def right(module: LoadedModule, request: dict[str, np.ndarray]) -> None:
    (outcome,) = module.run([request]).outcomes
    assert not isinstance(outcome, MeshnodeError), outcome


def wrong(module: LoadedModule) -> None:
    (outcome,) = module.run([{"x": ROW}]).outcomes
    assert isinstance(outcome, MeshnodeError)


def packed(model: bytes) -> tuple[bytes, Manifest]:
    """Return the module of a model, and its manifest."""
    facts = inspect_model(model)
    made, _ = assemble(
        asset("onnx-runner.wasm").read_bytes(),
        runner_manifest(
            name="soak",
            version="1.0.0",
            inputs=facts.inputs,
            outputs=facts.outputs,
            batch=facts.batch,
        ),
        {"model": model},
        embed=True,
    )
    return made, read_module(made).head.manifest


def small() -> Manifest:
    """Return the manifest of a guest of float32 x[?,4] -> y[?,4]."""
    return manifest(limits=Limits(memory_bytes=4 * MIB, run_ms=1000, output_bytes=MIB))


def resident_mib(*, collect: bool = True) -> float:
    """Return what this process holds of the machine's memory now."""
    if collect:
        gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB
