"""Tries a module out as its author wants it tried before anybody else runs it.

No node and no mesh: the same runtime as a node's, on this machine's CPU. Its own self-tests three
times, on two instances; hundreds of hard inputs; batches against single runs; and how long it all
takes. What is wrong is returned as failures, each with the error class that a node would raise.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from meshnode.caps import Caps
from meshnode.errors import (
    GuestStatus,
    InputError,
    MemoryLimit,
    MeshnodeError,
    ModelFailed,
    ModuleFailed,
    OutputLimit,
    SelfTestFailed,
    TimeLimit,
    Trapped,
)
from meshnode.modules.manifest import Manifest
from meshnode.runtime.hard_inputs import Case, Inputs, Worth
from meshnode.runtime.runtime import LoadedModule, Outcome, Runtime
from meshnode.runtime.self_test import close, decode
from meshnode.runtime.settings import RuntimeSettings
from meshnode.runtime.stages import cold_start

RUNS = 3
"""Of each self-test: twice on one instance, once on a fresh one."""
BATCH = 4
BATCH_TOLERANCE = 1e-4
"""Kernels of a larger batch may add in another order; the same as `pack` asks of a model."""
FAILURES_MAX = 5
"""After so many there is nothing more to learn, and a module that hangs would take hours."""
DEFAULT_S_MAX = 45.0
"""The inputs that nobody asked for stop here; those of `--fuzz` do not."""
LATENCY_RUNS, LATENCY_S_MAX = 300, 3.0
OPEN_SIZES = (1, 8, 64, 224)
"""Tried for open sizes where no self-test tells one; a convolution needs more than 1."""
_MAC_KEY = bytes(32)
"""For a cache that lives as long as the trial."""

Progress = Callable[[int, int], None]


@dataclass(slots=True)
class Counts:
    """What became of the hard inputs."""

    ok: int = 0
    refused: int = 0
    """By the schema, before the guest."""
    status: int = 0
    """The guest returned an error, or its model did not take the input: an orderly answer."""
    traps: int = 0
    over_limit: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.ok + self.refused + self.status + self.traps + self.over_limit


@dataclass(slots=True)
class Trial:
    """What was found; filled in as the trial goes on."""

    stages_ms: Mapping[str, float] = field(default_factory=dict)
    """The stages of a cold start; see `stages`."""
    self_tests: int = 0
    made_up: bool = False
    """The module has no self-test, so a made-up input stands in for it."""
    deterministic: bool = True
    inputs: Counts = field(default_factory=Counts)
    wanted: int = 0
    """How many hard inputs there should have been."""
    latency_ms: list[float] = field(default_factory=list)
    overhead_ms: list[float] = field(default_factory=list)
    """Of the same runs, what was not spent in onnxruntime."""
    threads: dict[str, int] = field(default_factory=dict)
    """Of models that were measured, for one operator; 0 is onnxruntime's own choice."""
    batch: str = ""
    """How a batch compares with single runs; empty if the module does not batch."""
    notes: list[str] = field(default_factory=list)
    """What is allowed, and worth knowing."""
    failures: list[MeshnodeError] = field(default_factory=list)

    @property
    def exit_status(self) -> int:
        """0, or that of the first failure."""
        return self.failures[0].exit_status if self.failures else 0


class Examiner:
    """Tries one module out."""

    def __init__(
        self,
        wasm: bytes,
        manifest: Manifest,
        models: Mapping[str, bytes],
        *,
        caps: Caps,
        folder: Path,
    ) -> None:
        """`folder` holds compiled code for the time of the trial."""
        self._wasm = wasm
        self._manifest = manifest
        self._models = models
        self._caps = caps
        self._folder = folder
        self._runtime = Runtime(
            trial_settings(manifest), cache_dir=folder, mac_key=_MAC_KEY, caps=caps
        )
        self.trial = Trial()

    def run(self, *, fuzz: int, more: int, seed: int, progress: Progress) -> Trial:
        """Return what was found. Raises what `Runtime.load` raises if it does not even load.

        `fuzz` inputs are tried as long as `DEFAULT_S_MAX` allows, `more` after them without end.
        """
        trial = self.trial
        with self._loaded() as module:
            measured = self._runtime.model_threads
            trial.threads = {
                ref.name: measured[ref.sha256]
                for ref in self._manifest.models
                if ref.sha256 in measured
            }
            trial.stages_ms = cold_start(
                self._wasm,
                self._manifest,
                self._models,
                caps=self._caps,
                settings=trial_settings(self._manifest),
                folder=self._folder / "stages",
            ).ms
            inputs = self._inputs(module)
            self._self_tests(module, inputs)
            self._hard_inputs(module, inputs, range(seed, seed + fuzz), progress, DEFAULT_S_MAX)
            rest = range(seed + fuzz, seed + fuzz + more)
            self._hard_inputs(module, inputs, rest, progress, None)
            if not trial.failures:
                self._batches(module, inputs)
                self._latency(module, inputs)
        return trial

    @contextmanager
    def _loaded(self) -> Iterator[LoadedModule]:
        with closing(self._runtime.load(self._wasm, self._manifest, self._models)) as module:
            yield module

    # ------------------------------------------------------------------ self-tests

    def _inputs(self, module: LoadedModule) -> Inputs:
        """Return the maker of inputs, with sizes that the module accepts."""
        manifest = self._manifest
        if manifest.self_tests:
            arrays = decode(manifest.inputs, manifest.self_tests[0].inputs)
            return Inputs(manifest, {name: a.shape for name, a in arrays.items()})
        outcome: Outcome = ModuleFailed("not run")
        for size in OPEN_SIZES:
            shapes = {
                s.name: tuple(
                    (1 if manifest.batch and not axis else size) if d < 0 else d
                    for axis, d in enumerate(s.shape)
                )
                for s in manifest.inputs
            }
            inputs = Inputs(manifest, shapes)
            (outcome,) = module.run([inputs.ordinary(0)]).outcomes
            if not isinstance(outcome, MeshnodeError):
                return inputs
        assert isinstance(outcome, MeshnodeError), "an answer was returned above"
        error = _about("a made-up input of ordinary numbers (input 0)", outcome)
        error.try_ = error.try_ or "meshnode pack --test IN.npy:OUT.npy   tells an input that works"
        raise error

    def _self_tests(self, module: LoadedModule, inputs: Inputs) -> None:
        """Run every vector three times, the last time on an instance of its own."""
        tests = [decode(self._manifest.inputs, t.inputs) for t in self._manifest.self_tests]
        self.trial.self_tests = len(tests)
        self.trial.made_up = not tests
        vectors = tests or [inputs.ordinary(0)]
        hashes = [[digest(self._answer(module, v)) for v in vectors] for _ in range(RUNS - 1)]
        with self._loaded() as other:
            hashes.append([digest(self._answer(other, v)) for v in vectors])
        for number, seen in enumerate(zip(*hashes, strict=True), 1):
            if len(set(seen)) > 1:
                self.trial.deterministic = False
                where = "on a fresh instance" if seen[0] == seen[1] else "when it was run again"
                self.trial.failures.append(
                    SelfTestFailed(
                        f"{self._manifest.name} answers self-test {number} differently {where}",
                        because=["sha256 of the outputs: " + ", ".join(h[:12] for h in seen)],
                    )
                )

    def _answer(self, module: LoadedModule, arrays: Mapping[str, np.ndarray]) -> Outcome:
        (outcome,) = module.run([arrays]).outcomes
        return outcome

    # ------------------------------------------------------------------ hard inputs

    def _hard_inputs(
        self,
        module: LoadedModule,
        inputs: Inputs,
        seeds: Sequence[int],
        progress: Progress,
        seconds: float | None,
    ) -> None:
        started = perf_counter()
        self.trial.wanted += len(seeds)
        for seed in seeds:
            late = seconds is not None and perf_counter() - started > seconds
            if late or len(self.trial.failures) >= FAILURES_MAX:
                why = f"{seconds:g} s are over" if late else f"{FAILURES_MAX} have failed"
                total = f"{self.trial.inputs.total} of {self.trial.wanted}"
                self.trial.notes.append(f"stopped after {total} inputs: {why}")
                return
            case = inputs.case(seed)
            self._judge(case, self._answer(module, case.arrays))
            progress(self.trial.inputs.total, self.trial.wanted)

    def _judge(self, case: Case, outcome: Outcome) -> None:
        counts, named = self.trial.inputs, f"input {case.seed} ({case.kind})"
        match outcome:
            case dict():
                counts.ok += 1
                if case.worth is Worth.BAD:
                    self._fail(ModuleFailed(f"{named} is against the schema and was answered"))
            case InputError():
                counts.refused += 1
                if case.worth is Worth.GOOD:
                    self._fail(ModuleFailed(f"{named} is as declared and was refused: {outcome}"))
            case Trapped():
                counts.traps += 1
                self._fail(_about(named, outcome))
            case TimeLimit() | MemoryLimit() | OutputLimit():
                counts.over_limit += 1
                if case.worth is Worth.GOOD:
                    self._fail(_about(named, outcome))
                else:
                    self._note(f"{named}: {outcome.message}")
            case GuestStatus() | ModelFailed():
                counts.status += 1
            case _:
                counts.status += 1
                self._fail(_about(named, outcome))

    def _fail(self, error: MeshnodeError) -> None:
        self.trial.failures.append(error)

    def _note(self, text: str) -> None:
        if len(self.trial.notes) < FAILURES_MAX:
            self.trial.notes.append(text)

    # ------------------------------------------------------------------ batches and time

    def _batches(self, module: LoadedModule, inputs: Inputs) -> None:
        """Compare one run of several rows with a run of each."""
        if not self._manifest.batch:
            return
        rows = [inputs.ordinary(seed) for seed in range(BATCH)]
        alone = [self._answer(module, row) for row in rows]
        stacked = {n: np.concatenate([row[n] for row in rows]) for n in rows[0]}
        together = self._answer(module, stacked)
        for outcome in (*alone, together):
            if isinstance(outcome, MeshnodeError):
                self._fail(_about(f"a batch of {BATCH}", outcome))
                return
        exact = True
        for spec in self._manifest.outputs:
            got = _of(together, spec.name)
            wanted = np.concatenate([_of(row, spec.name) for row in alone])
            if not close(got, wanted, BATCH_TOLERANCE):
                self.trial.batch = "differs"
                self._fail(
                    ModuleFailed(
                        f"'{spec.name}' of a batch of {BATCH} is not what single runs give",
                        because=[f"they may differ by {BATCH_TOLERANCE:g}"],
                        try_="batch = false in module.toml, if rows depend on each other",
                    )
                )
                return
            exact = exact and got.tobytes() == wanted.tobytes()
        self.trial.batch = "equal bit for bit" if exact else f"equal within {BATCH_TOLERANCE:g}"

    def _latency(self, module: LoadedModule, inputs: Inputs) -> None:
        arrays = inputs.ordinary(0)
        ends = perf_counter() + LATENCY_S_MAX
        for _ in range(LATENCY_RUNS):
            result = module.run([arrays])
            self.trial.latency_ms.append(result.run_us / 1000)
            self.trial.overhead_ms.append((result.run_us - result.model_us) / 1000)
            if perf_counter() > ends:
                break


def trial_settings(manifest: Manifest) -> RuntimeSettings:
    """Return a node's settings, with every capability that the module declares allowed."""
    defaults = RuntimeSettings()
    declared = manifest.required | manifest.optional
    return RuntimeSettings(caps_allowed=defaults.caps_allowed | declared)


def digest(outcome: Outcome) -> str:
    """Return the SHA-256 of an answer's tensors, or of the way in which it failed."""
    if isinstance(outcome, MeshnodeError):
        return sha256(f"{outcome.code} {outcome.message}".encode()).hexdigest()
    hashed = sha256()
    for name, array in sorted(outcome.items()):
        hashed.update(f"{name} {array.dtype} {array.shape}\0".encode())
        hashed.update(np.ascontiguousarray(array).tobytes())
    return hashed.hexdigest()


def percentiles(samples: Sequence[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile."""
    ordered = sorted(samples)
    return median(ordered), ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]


def _of(outcome: Outcome, name: str) -> np.ndarray:
    assert not isinstance(outcome, MeshnodeError), "failures were looked for before"
    return outcome[name]


def _about(named: str, error: MeshnodeError) -> MeshnodeError:
    """Return the same error, saying which input it was."""
    return type(error)(f"{named}: {error.message}", because=error.because, try_=error.try_)
