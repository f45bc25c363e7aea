"""What the runtime adds to onnxruntime in the same process: to a run, and to a load."""

import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from meshnode.assets import asset
from meshnode.identity.keys import Identity
from meshnode.modules.manifest import Manifest
from meshnode.modules.pack import assemble, runner_manifest
from meshnode.modules.signing import sign, verify_module
from meshnode.runtime.onnx_file import inspect_model
from meshnode.runtime.providers import detect_caps
from meshnode.runtime.runtime import LoadedModule, Runtime
from meshnode.runtime.settings import RuntimeSettings
from tests.bench import models
from tests.bench.rows import Row, interleaved, timed
from tests.bench.sessions import default_run, guarded_run

ROUNDS, BUDGET_S, LOADS, BATCH = 3000, 5.0, 5, 8


def rows() -> Iterator[Row]:
    """Yield the overhead of a run for models of three sizes, then of a load."""
    with tempfile.TemporaryDirectory(prefix="meshnode-bench-") as made:
        root = Path(made)
        for name, make in (("tiny", models.tiny), ("digits", models.digits), ("slow", models.slow)):
            model, inputs = make()
            yield from _runs(root, name, model, inputs)
        yield from _loads(root, models.digits()[0])


def _runs(root: Path, name: str, model: bytes, inputs: Mapping[str, np.ndarray]) -> Iterator[Row]:
    loaded = _runtime(root / "cache").load(*_packed(model), {})
    plain = guarded_run(model, root / "empty")
    stacked = {key: np.repeat(array, BATCH, axis=0) for key, array in inputs.items()}
    try:
        for batch, given in ((1, inputs), (BATCH, stacked)):
            works = {
                "plain": partial(plain, given),
                "loaded": partial(_checked, loaded, [inputs] * batch),
            }
            times = interleaved(works, rounds=ROUNDS, budget_s=BUDGET_S / 2, warm_up=20)
            what = f"{name} session.run, batch {batch}"
            base = Row(what=what, unit="ms", samples=times["plain"])
            yield base
            yield Row(
                what=f"{name} LoadedModule.run, batch {batch}",
                unit="ms",
                samples=times["loaded"],
                baseline=base,
            )
    finally:
        loaded.close()
    alone = interleaved(
        {"alone": partial(default_run(model), inputs)}, rounds=ROUNDS, budget_s=1.0, warm_up=20
    )
    yield Row(
        what=f"{name} session.run, default options",
        unit="ms",
        samples=alone["alone"],
        note="not interleaved: its threads spin",
    )


def _checked(loaded: LoadedModule, requests: list[Mapping[str, np.ndarray]]) -> None:
    for outcome in loaded.run(requests).outcomes:
        if isinstance(outcome, Exception):
            raise outcome


def _loads(root: Path, model: bytes) -> Iterator[Row]:
    wasm, manifest = _packed(model)
    times: dict[str, list[float]] = {"plain": [], "cold": [], "warm": []}
    for number in range(LOADS):
        cache = root / f"cold-{number}"
        times["plain"].append(timed(partial(guarded_run, model, root / "empty")) * 1000)
        for kind in ("cold", "warm"):
            runtime = _runtime(cache)
            opened: list[LoadedModule] = []
            took_s = timed(lambda r=runtime, o=opened: o.append(r.load(wasm, manifest, {})))
            times[kind].append(took_s * 1000)
            opened[0].close()
    base = Row(what="digits InferenceSession(...)", unit="ms", samples=times["plain"])
    yield base
    for kind, note in (("cold", "compiled in a child"), ("warm", "compiled code from the cache")):
        yield Row(
            what=f"digits Runtime.load, {kind}",
            unit="ms",
            samples=times[kind],
            baseline=base,
            note=note,
        )


def _runtime(cache: Path) -> Runtime:
    return Runtime(RuntimeSettings(), cache_dir=cache, mac_key=b"k" * 32, caps=detect_caps())


def _packed(model: bytes) -> tuple[bytes, Manifest]:
    facts = inspect_model(model)
    about = runner_manifest(
        name="bench", version="1.0.0", inputs=facts.inputs, outputs=facts.outputs, batch=facts.batch
    )
    guest = asset("onnx-runner.wasm").read_bytes()
    module = sign(assemble(guest, about, {"model": model}, embed=True)[0], Identity.generate())
    return module, verify_module(module).manifest
