"""The one entry to the runtime: a signed module's bytes in, a `LoadedModule` that answers out.

The way of a module: preflight - models to sessions - compile (or cache) - instance - `init` -
self-tests. The way of a batch: check - stack - sandbox - split; a batch that fails is run again
one by one, so that one bad item fails alone.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from meshnode.caps import Caps
from meshnode.errors import BlobNotFound, CannotRunHere, MeshnodeError, ModuleFailed
from meshnode.modules.layout import WEIGHTS_PREFIX
from meshnode.modules.manifest import Limits, Manifest
from meshnode.modules.schema import check_inputs
from meshnode.modules.sections import custom_section
from meshnode.runtime.aot import AotCache
from meshnode.runtime.calibrate import calibrate as calibrate
from meshnode.runtime.calls import Abi, InferAbi, SeedAbi
from meshnode.runtime.compiler import Compiler
from meshnode.runtime.engine import make_engine
from meshnode.runtime.hal import Hal
from meshnode.runtime.preflight import preflight
from meshnode.runtime.sandbox import CompiledGuest, Sandbox
from meshnode.runtime.self_test import check_self_tests
from meshnode.runtime.sessions import ModelSession, SessionCache
from meshnode.runtime.settings import RuntimeSettings
from meshnode.runtime.stack import with_room
from meshnode.runtime.ticker import Ticker
from meshnode.wire.arrays import header

_log = logging.getLogger(__name__)
Arrays = Mapping[str, np.ndarray]
Outcome = dict[str, np.ndarray] | MeshnodeError


@dataclass(slots=True)
class RunResult:
    """What became of a batch: an outcome for each request, in order, and where the time went."""

    outcomes: list[Outcome]
    run_us: int
    """The whole call, guest and models together."""
    model_us: int
    """The part of it that onnxruntime took."""


class Runtime:
    """Loads modules. Thread-safe; what it loads is used by one thread at a time."""

    def __init__(
        self, settings: RuntimeSettings, *, cache_dir: Path, mac_key: bytes, caps: Caps
    ) -> None:
        """`cache_dir` may be deleted at any time; `mac_key` is this node's alone.

        `caps` is what this node offers to modules: never more than `detect_caps` found.
        """
        engine = make_engine()
        self._engine = engine
        self._settings = settings
        self._caps = caps
        self._ticker = Ticker(engine.increment_epoch, tick_ms=settings.epoch_ms)
        self._compiler = Compiler(engine, settings, AotCache(cache_dir, mac_key))
        self._sessions = SessionCache(
            settings, self._ticker, caps=caps, empty_dir=cache_dir / "empty"
        )

    def load(self, wasm: bytes, manifest: Manifest, models: Mapping[str, bytes]) -> "LoadedModule":
        """Return the module ready to answer: compiled, initialised, its self-tests passed.

        `models` are weights by model name; those embedded in `wasm` may be left out. Raises
        TrustError (MalformedModule, UndeclaredImport), CannotRunHere, ModelFailed, CompileLimit
        or ModuleFailed; then nothing of it stays loaded.
        """
        if missing := manifest.required & ~self._caps:
            raise CannotRunHere(
                f"{manifest.name} needs the capability {', '.join(missing.names())}, "
                "which this node does not have",
                because=[f"this node has: {', '.join(self._caps.names())}"],
            )
        settings = self._settings
        guest = preflight(
            wasm,
            manifest,
            allowed=settings.caps_allowed,
            memory_bytes_max=settings.memory_bytes_max,
        )
        with ExitStack() as held:
            sessions = self._open_models(wasm, manifest, models, held)
            compiled = CompiledGuest(
                engine=self._engine,
                module=self._compiler.module(guest),
                imports=tuple((i.module, i.name) for i in guest.imports),
                exports=frozenset(guest.exports),
            )
            loaded = LoadedModule(
                manifest,
                compiled,
                sessions,
                caps=self._caps,
                limits=effective(manifest.limits, settings),
                ticker=self._ticker,
                log_lines_max=settings.log_lines_max,
            )
            with_room(loaded.start)
            loaded.held = held.pop_all()
        return loaded

    def _open_models(
        self, wasm: bytes, manifest: Manifest, models: Mapping[str, bytes], held: ExitStack
    ) -> dict[str, ModelSession]:
        sessions: dict[str, ModelSession] = {}
        if not self._caps & Caps.NN:
            return sessions  # the capability is optional to this module, and absent here
        for ref in manifest.models:
            data = models.get(ref.name)
            if data is None and ref.embedded:
                data = bytes(custom_section(wasm, WEIGHTS_PREFIX + ref.name))
            if data is None:
                raise BlobNotFound(f"the weights '{ref.name}' of {manifest.name} are not here")
            sessions[ref.name] = self._sessions.acquire(ref, data)
            held.callback(self._sessions.release, ref.sha256)
        return sessions


class LoadedModule:
    """A module with a live instance. `run` is called by one thread at a time."""

    def __init__(
        self,
        manifest: Manifest,
        guest: CompiledGuest,
        sessions: Mapping[str, ModelSession],
        *,
        caps: Caps,
        limits: Limits,
        ticker: Ticker,
        log_lines_max: int,
    ) -> None:
        self.held = ExitStack()
        """Gives the sessions back when it is closed."""
        self._manifest = manifest
        self._guest = guest
        self._sessions = dict(sessions)
        self._limits = limits
        self._ticker = ticker
        self._caps = caps
        self._log_lines_max = log_lines_max
        self._hal: Hal | None = None
        self._sandbox: Sandbox | None = None
        self._abi: Abi | None = None
        self._names = [spec.name for spec in manifest.inputs]
        self._closed = False

    @property
    def memory_bytes(self) -> int:
        """What the instance holds: its memory, and its models' size."""
        guest = self._sandbox.memory_bytes if self._sandbox else 0
        return guest + sum(session.size for session in self._sessions.values())

    def start(self) -> None:
        """Make the instance and pass the self-tests, or raise ModuleFailed."""
        try:
            self._live()
            check_self_tests(self._manifest, self._run_one)
        except MeshnodeError:
            self._drop()
            raise

    def run(self, requests: Sequence[Arrays]) -> RunResult:
        """Answer a batch: an outcome for each request, and the time it took.

        Raises nothing that a request or the module does; that is the request's outcome.
        """
        if self._closed:
            raise ValueError("the module was closed")
        return with_room(lambda: self._run(requests))

    def _run(self, requests: Sequence[Arrays]) -> RunResult:
        started = perf_counter()
        model_us = self._model_us
        outcomes: list[Outcome] = [ModuleFailed("not run")] * len(requests)
        for group in self._groups(requests, outcomes):
            for index, outcome in zip(
                group, self._run_group([requests[i] for i in group]), strict=True
            ):
                outcomes[index] = outcome
        return RunResult(
            outcomes, round((perf_counter() - started) * 1e6), self._model_us - model_us
        )

    def close(self) -> None:
        """Free the instance and let go of its models. Twice is harmless."""
        self._closed = True
        self._drop()
        # Nothing here may keep a model: its memory is given back with its last use.
        self._hal = None
        self._sessions.clear()
        self.held.close()

    @property
    def _model_us(self) -> int:
        return 0 if self._hal is None else self._hal.model_us

    def _groups(self, requests: Sequence[Arrays], outcomes: list[Outcome]) -> Iterable[list[int]]:
        """Return the indices of requests that can be run together; misfits get their outcome."""
        groups: dict[object, list[int]] = {}
        for index, arrays in enumerate(requests):
            try:
                self._check(arrays)
            except MeshnodeError as error:
                outcomes[index] = error
                continue
            together = self._manifest.batch and len(requests) > 1
            key = tuple(arrays[n].shape[1:] for n in self._names) if together else index
            groups.setdefault(key, []).append(index)
        return groups.values()

    def _check(self, arrays: Arrays) -> None:
        """Raise InputError unless the arrays are what the manifest declares."""
        heads = [header(name, a.dtype.name, a.shape) for name, a in arrays.items()]
        check_inputs(self._manifest, heads)

    def _run_group(self, requests: Sequence[Arrays]) -> list[Outcome]:
        if len(requests) == 1:
            return [self._run_one(requests[0])]
        rows = [int(r[self._names[0]].shape[0]) for r in requests]
        stacked = {n: np.concatenate([r[n] for r in requests]) for n in self._names}
        try:
            answers = self._call(stacked, sum(rows))
            if any(a.shape[:1] != (sum(rows),) for a in answers.values()):
                raise ModuleFailed("the module did not keep the batch axis")
        except MeshnodeError as error:
            _log.info("%s: a batch failed, running it apart: %s", self._manifest.name, error)
            return [self._run_one(request) for request in requests]
        ends = np.cumsum(rows)[:-1]
        parts = {name: np.split(array, ends) for name, array in answers.items()}
        return [{name: parts[name][i] for name in parts} for i in range(len(requests))]

    def _run_one(self, arrays: Arrays) -> Outcome:
        first = arrays[self._names[0]].shape
        try:
            return self._call(arrays, int(first[0]) if self._manifest.batch and first else 1)
        except MeshnodeError as error:
            return error

    def _call(self, arrays: Arrays, rows: int) -> dict[str, np.ndarray]:
        abi = self._live()
        try:
            answers = abi.run([arrays[name] for name in self._names], rows)
        finally:
            if self._sandbox is not None and not self._sandbox.alive:
                self._drop()
        return dict(zip((s.name for s in self._manifest.outputs), answers, strict=True))

    def _live(self) -> Abi:
        """Return the instance's ABI; a new instance if the last one trapped."""
        if self._abi is None:
            spent_us = self._model_us
            self._hal = Hal(
                self._manifest.name, self._caps, self._sessions, log_lines_max=self._log_lines_max
            )
            self._hal.model_us = spent_us
            self._sandbox = Sandbox(self._guest, self._hal, self._limits, self._ticker)
            abi = SeedAbi if self._manifest.abi == "seed" else InferAbi
            self._abi = abi(self._sandbox, self._manifest)
        return self._abi

    def _drop(self) -> None:
        if self._sandbox is not None:
            self._sandbox.close()
        self._sandbox = self._abi = None


def effective(limits: Limits, settings: RuntimeSettings) -> Limits:
    """Return the limits that count: a module's own, or the node's where those are lower."""
    return Limits(
        memory_bytes=min(limits.memory_bytes, settings.memory_bytes_max),
        run_ms=min(limits.run_ms, settings.run_ms_max),
        output_bytes=min(limits.output_bytes, settings.output_bytes_max),
    )
