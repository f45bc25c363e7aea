"""What the runtime adds to onnxruntime in the same process, in four parts.

The overhead of each ABI against `session.run` of the same model, interleaved; the stages of a cold
start; what batching gains; and how many requests a lane answers. One onnxruntime thread on both
sides: more would measure the machine's other programs.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np

from meshnode.bench.guests import ABIS, TOLERANCE, AbiCase, Packed, megabyte, packed
from meshnode.bench.models import Model, models
from meshnode.bench.rows import Row, interleaved, timed
from meshnode.bench.throughput import IN_FLIGHT, lane_rates, loop_rates
from meshnode.caps import Caps
from meshnode.modules.signing import verify_module
from meshnode.runtime import ort
from meshnode.runtime.providers import CPU_PROVIDER
from meshnode.runtime.runtime import LoadedModule, Runtime
from meshnode.runtime.settings import RuntimeSettings
from meshnode.runtime.stages import cold_start
from meshnode.wire.limits import MIB

SETTINGS = RuntimeSettings(model_threads=1)
CAPS = Caps.CPU | Caps.NN
BATCHES = (1, 2, 4, 8, 16, 32)
BATCH_MAX = 8
"""Of a lane: the default of `batch.max`."""
HASHED_BYTES = 16 * MIB
_US = 1e6
_MAC_KEY = bytes(32)
"""For compiled code that is removed with the folder it is in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How long each part may take."""

    rounds: int
    budget_s: float
    """Of one interleaved measurement."""
    loads: int
    rate_s: float
    warm_up: int = 20
    batches: tuple[int, ...] = BATCHES
    large: bool = True
    """Whether a guest of a megabyte is compiled too: a second, twice a load."""


FULL = Effort(rounds=2000, budget_s=4.0, loads=5, rate_s=1.2)
QUICK = Effort(rounds=60, budget_s=0.6, loads=1, rate_s=0.2, large=False)
"""Every row, from so few samples that only gross errors show."""


def runtime_rows(effort: Effort) -> Iterator[Row]:
    """Yield every figure as it is measured. Raises MissingPart without onnxruntime."""
    with tempfile.TemporaryDirectory(prefix="meshnode-bench-") as folder:
        root = Path(folder)
        small, middle, large = models()
        for model in (small, middle, large):
            yield from _abi_rows(root, model, effort)
        yield from _cold_rows(root, middle, effort)
        for model in (middle, large):
            yield from _batch_rows(root, model, effort)
        for model in (small, middle, large):
            yield from _lane_rows(root, model, effort)


# ---------------------------------------------------------------------- overhead of the ABIs


def _abi_rows(root: Path, model: Model, effort: Effort) -> Iterator[Row]:
    arrays = {"x": model.rows(1)}
    plain = _session_run(root, model)
    wanted = plain(arrays)
    size = f"{arrays['x'].nbytes / 1000:.3g} KB in"
    for case in ABIS:
        if not case.offered:
            continue
        # One at a time: modules of one runtime share a session, and several would have its weights
        # in the cache more often than `session.run` has those of its own.
        with closing(_loaded(_runtime(root), case, model)) as module:
            got = _answer(module, arrays)
            assert np.allclose(got, wanted, atol=TOLERANCE), f"{case.name} answers differently"
            times = interleaved(
                {"plain": partial(plain, arrays), "module": partial(_answer, module, arrays)},
                rounds=effort.rounds,
                budget_s=effort.budget_s,
                warm_up=effort.warm_up,
                per_s=_US,
                warm_each=True,
            )
        beside = f"{model.name}: session.run beside {case.name}"
        base = Row(what=beside, unit="us", samples=times["plain"], note=size)
        yield base
        what = f"{model.name}: {case.name}"
        yield Row(what=what, unit="us", samples=times["module"], baseline=base)


def _session_run(root: Path, model: Model) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
    """Return `session.run` with the options of a node: what is compared is the way there."""
    empty = root / "empty"
    empty.mkdir(exist_ok=True)
    options = ort.session_options(threads=1, spin=False, empty_dir=empty)
    session = ort.open_session(model.data, options, [CPU_PROVIDER])
    names = ["y"]

    def run(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        answer: np.ndarray = session.run(names, arrays)[0]
        return answer

    return run


def _runtime(root: Path) -> Runtime:
    return Runtime(SETTINGS, cache_dir=root / "aot", mac_key=_MAC_KEY, caps=CAPS)


def _loaded(runtime: Runtime, case: AbiCase, model: Model) -> LoadedModule:
    """Load a module; those of one runtime share the model's session, as in a node."""
    module = packed(case, model)
    return runtime.load(module.wasm, module.manifest, {})


def _answer(module: LoadedModule, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    (outcome,) = module.run([arrays]).outcomes
    if isinstance(outcome, Exception):
        raise outcome
    return outcome["y"]


# ---------------------------------------------------------------------- cold start


def _cold_rows(root: Path, model: Model, effort: Effort) -> Iterator[Row]:
    yield from _hash_rows(effort)
    module = packed(ABIS[0], model)
    opened = [timed(partial(_session_run, root, model)) * 1000 for _ in range(effort.loads)]
    base = Row(what=f"cold {model.name}: InferenceSession(...)", unit="ms", samples=opened)
    yield base
    yield from _stage_rows(root, model.name, module, effort, base)
    if effort.large:
        yield from _stage_rows(root, "1 MB guest", megabyte(), effort, None)


def _hash_rows(effort: Effort) -> Iterator[Row]:
    data = bytes(HASHED_BYTES)
    times = [timed(lambda: sha256(data).digest()) for _ in range(effort.loads + 2)]
    rates = [HASHED_BYTES / 1e6 / t for t in times]
    yield Row(what="cold: SHA-256", unit="MB/s", samples=rates)


def _stage_rows(
    root: Path, name: str, module: Packed, effort: Effort, base: Row | None
) -> Iterator[Row]:
    stages: dict[str, list[float]] = {}
    for _ in range(effort.loads):
        with tempfile.TemporaryDirectory(dir=root) as folder:
            verify = timed(partial(verify_module, module.wasm)) * 1000
            found = cold_start(
                module.wasm,
                module.manifest,
                {},
                caps=CAPS,
                settings=SETTINGS,
                folder=Path(folder),
            )
        each_mb = {"verify and hash, a MB": verify / (len(module.wasm) / 1e6)}
        for stage, took_ms in {"verify and hash": verify, **each_mb, **found.ms}.items():
            stages.setdefault(stage, []).append(took_ms)
    size = f"{len(module.wasm) / MIB:.2g} MiB"
    for stage, samples in stages.items():
        note = size if stage == "verify and hash" else ""
        what = f"cold {name}: {stage}"
        yield Row(what=what, unit="ms", samples=samples, baseline=base, note=note)


# ---------------------------------------------------------------------- batching


def _batch_rows(root: Path, model: Model, effort: Effort) -> Iterator[Row]:
    """Yield answers a second by batch size; the baseline is this module's own batch of one."""
    plain = _session_run(root, model)
    with closing(_loaded(_runtime(root), ABIS[0], model)) as module:
        works: dict[tuple[str, int], Callable[[], object]] = {}
        for size in effort.batches:
            requests = [{"x": model.rows(1, seed)} for seed in range(size)]
            stacked = {"x": np.concatenate([r["x"] for r in requests])}
            works["module", size] = partial(_run_all, module, requests)
            works["session", size] = partial(plain, stacked)
        times = interleaved(
            {f"{side} {size}": work for (side, size), work in works.items()},
            rounds=max(3, effort.rounds // 10),
            budget_s=effort.budget_s,
            warm_up=1,
            per_s=1.0,
        )
    rows: dict[tuple[str, int], Row] = {}
    for side, size in works:
        samples = [size / took_s for took_s in times[f"{side} {size}"]]
        name = "session.run" if side == "session" else "module"
        rows[side, size] = Row(
            what=f"batch {model.name}: {name} of {size}",
            unit="/s",
            samples=samples,
            baseline=rows.get((side, 1)),
        )
    yield from rows.values()


def _run_all(module: LoadedModule, requests: list[dict[str, np.ndarray]]) -> None:
    for outcome in module.run(requests).outcomes:
        if isinstance(outcome, Exception):
            raise outcome


# ---------------------------------------------------------------------- throughput


def _lane_rows(root: Path, model: Model, effort: Effort) -> Iterator[Row]:
    arrays = {"x": model.rows(1)}
    plain = _session_run(root, model)
    loop = loop_rates(partial(plain, arrays), seconds=effort.rate_s)
    base = Row(what=f"lane {model.name}: loop of session.run", unit="/s", samples=loop)
    yield base
    with closing(_loaded(_runtime(root), ABIS[0], model)) as module:
        for batch_max in (1, BATCH_MAX):
            rates = lane_rates(module, arrays, batch_max=batch_max, seconds=effort.rate_s)
            yield Row(
                what=f"lane {model.name}: worker, batches of {batch_max}",
                unit="/s",
                samples=rates,
                baseline=base,
                note=f"{IN_FLIGHT} in flight",
            )
