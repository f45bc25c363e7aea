"""The one entry to the runtime: a signed module's bytes in, a `LoadedModule` that answers out.

The way of a module: preflight - models to sessions - compile (or cache) - instance - `init` -
self-tests. The way of a batch: check - group by shape - sandbox (`batches.py`). An instance answers
one source at a time: for another source a fresh one is made, unless the guest is known to keep
nothing (`stateless.py`).
"""

import logging
from collections.abc import Hashable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from time import perf_counter

import numpy as np

from meshnode.caps import Caps
from meshnode.errors import BlobNotFound, CannotRunHere, MeshnodeError, ModuleFailed
from meshnode.modules.layout import WEIGHTS_PREFIX
from meshnode.modules.manifest import ITEM_BYTES, Limits, Manifest
from meshnode.modules.sections import custom_section
from meshnode.runtime.aot import AotCache
from meshnode.runtime.batches import Audience, Batches, Item, Nobody, Outcome
from meshnode.runtime.calibrate import calibrate as calibrate
from meshnode.runtime.calls import Abi, InferAbi, SeedAbi
from meshnode.runtime.compiler import Compiler
from meshnode.runtime.engine import make_engine
from meshnode.runtime.hal import Hal
from meshnode.runtime.inputs import InputCheck
from meshnode.runtime.preflight import preflight
from meshnode.runtime.sandbox import CompiledGuest, Sandbox
from meshnode.runtime.self_test import check_self_tests
from meshnode.runtime.sessions import ModelSession, SessionCache
from meshnode.runtime.settings import RuntimeSettings
from meshnode.runtime.stateless import keeps_nothing
from meshnode.runtime.tensors import Arrays
from meshnode.runtime.ticker import Ticker

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class RunResult:
    """What became of a batch: an outcome for each request, in order, and where the time went."""

    outcomes: list[Outcome]
    run_us: int
    """The whole call, guest and models together."""
    model_us: int
    """The part of it that onnxruntime took."""
    failed: bool = False
    """Whether a call failed, so that the time says nothing about the next batch."""


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
                stateless=keeps_nothing(guest),
            )
            loaded.start()
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
        stateless: bool = False,
    ) -> None:
        self.held = ExitStack()
        """Gives the sessions back when it is closed."""
        self.stateless = stateless
        """The guest is known to keep nothing of a request, so sources may share an instance."""
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
        self._check = InputCheck(manifest)
        self._batches = Batches(self._call, self._names, limits.run_ms)
        self._source: str | None = None
        """Whose requests the instance has seen; None if nobody's."""
        self._fresh_bytes = 0
        self._closed = False

    @property
    def memory_bytes(self) -> int:
        """What the instance holds: its memory, and its models' size."""
        guest = self._sandbox.memory_bytes if self._sandbox else 0
        return guest + sum(session.size for session in self._sessions.values())

    @property
    def runs_models(self) -> bool:
        """Whether the host runs models for it, on every core; a pure Wasm module takes one."""
        return bool(self._sessions)

    @property
    def batch_bytes_max(self) -> int:
        """Bytes of inputs and outputs that fit the instance together, as `weight` counts them."""
        room = self._limits.memory_bytes - self._fresh_bytes
        return min(max(0, room) * 3 // 4, 2 * self._limits.output_bytes)

    def weight(self, arrays: Arrays, rows: int) -> int:
        """Return the bytes of a request and, as far as the manifest tells, its answer."""
        given = sum(array.nbytes for array in arrays.values())
        return given + rows * sum(
            ITEM_BYTES[s.dtype] * prod(abs(d) for d in s.shape) for s in self._manifest.outputs
        )

    def kind(self, arrays: Arrays) -> Hashable:
        """Return what requests must share to be run in one call; None if none can be."""
        if not self._manifest.batch:
            return None
        return tuple(arrays[name].shape[1:] for name in self._names)

    def start(self) -> None:
        """Make the instance and pass the self-tests, or raise ModuleFailed."""
        try:
            self._live()
            self._fresh_bytes = self._sandbox.memory_bytes if self._sandbox else 0
            check_self_tests(self._manifest, self._run_alone)
        except MeshnodeError:
            self._drop()
            raise

    def run(
        self,
        requests: Sequence[Arrays],
        sources: Sequence[str] | None = None,
        audience: Audience | None = None,
    ) -> RunResult:
        """Answer a batch: an outcome for each request, and the time it took.

        `sources` says who made each request; without it all are of one source. Raises nothing
        that a request or the module does; that is the request's outcome.
        """
        if self._closed:
            raise ValueError("the module was closed")
        started = perf_counter()
        model_us = self._model_us
        outcomes: list[Outcome] = [ModuleFailed("not run")] * len(requests)
        self._batches.failed = False
        groups = self._groups(requests, sources, outcomes)
        for number, (source, group) in enumerate(groups, 1):
            self._serve(source)
            final = number == len(groups)
            self._batches.run(group, outcomes, audience or _NOBODY, final=final)
        return RunResult(
            outcomes,
            round((perf_counter() - started) * 1e6),
            self._model_us - model_us,
            self._batches.failed,
        )

    def close(self) -> None:
        """Free the instance and let go of its models. Twice is harmless."""
        self._closed = True
        self._drop()
        self._hal = None
        self._sessions = {}  # whoever still holds this object must not hold the models
        self.held.close()

    @property
    def _model_us(self) -> int:
        return 0 if self._hal is None else self._hal.model_us

    def _groups(
        self, requests: Sequence[Arrays], sources: Sequence[str] | None, outcomes: list[Outcome]
    ) -> list[tuple[str, list[Item]]]:
        """Return what can run in one call, and for whom; misfits get their error as outcome."""
        groups: dict[Hashable, tuple[str, list[Item]]] = {}
        together = self._manifest.batch and len(requests) > 1
        for index, arrays in enumerate(requests):
            try:
                item = Item(index, arrays, self._check.rows(arrays))
            except MeshnodeError as error:
                outcomes[index] = error
                continue
            source = "" if sources is None or self.stateless else sources[index]
            key = (source, self.kind(arrays) if together else index)
            groups.setdefault(key, (source, []))[1].append(item)
        # Whoever was here last goes on: then the others need the fewest fresh instances.
        return sorted(groups.values(), key=lambda g: (g[0] != self._source, g[0]))

    def _serve(self, source: str) -> None:
        """See that the instance has seen requests of this source only."""
        if not self.stateless and self._source not in (None, source):
            self._drop()
        self._source = source

    def _run_alone(self, arrays: Arrays) -> Outcome:
        return self._batches.run_one(Item(0, arrays, self._check.rows(arrays)))

    def _call(self, arrays: Arrays, rows: int, limit_ms: int) -> dict[str, np.ndarray]:
        abi = self._live()
        assert self._sandbox is not None, "a live ABI has a sandbox"
        if self._sandbox.limits.run_ms != limit_ms:
            self._sandbox.limits = replace(self._limits, run_ms=limit_ms)
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


_NOBODY = Nobody()


def effective(limits: Limits, settings: RuntimeSettings) -> Limits:
    """Return the limits that count: a module's own, or the node's where those are lower."""
    return Limits(
        memory_bytes=min(limits.memory_bytes, settings.memory_bytes_max),
        run_ms=min(limits.run_ms, settings.run_ms_max),
        output_bytes=min(limits.output_bytes, settings.output_bytes_max),
    )
