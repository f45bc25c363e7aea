"""A module that is ready: its instance, its models, and the way of a request or a batch in it.

check - group by source and shape - sandbox (`batches.py`). An instance answers one source at a
time: for another source a fresh one is made, unless the guest is known to keep nothing
(`stateless.py`).
"""

from collections.abc import Hashable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from time import perf_counter

import numpy as np

from meshnode.caps import Caps
from meshnode.errors import MeshnodeError, ModuleFailed
from meshnode.modules.manifest import ITEM_BYTES, Limits, Manifest
from meshnode.runtime.batches import Audience, Batches, Item, Nobody
from meshnode.runtime.batches import Outcome as Outcome
from meshnode.runtime.calls import PREPARED_MAX, Abi, InferAbi, Ready
from meshnode.runtime.command import CommandAbi
from meshnode.runtime.hal import Hal
from meshnode.runtime.inputs import InputCheck, kind_of
from meshnode.runtime.nn_loader import Loader
from meshnode.runtime.sandbox import CompiledGuest, Sandbox
from meshnode.runtime.seed_calls import SeedAbi
from meshnode.runtime.self_test import check_self_tests
from meshnode.runtime.sessions import ModelSession, SessionCache
from meshnode.runtime.settings import RuntimeSettings
from meshnode.runtime.stack import has_room, with_room
from meshnode.runtime.tensors import Arrays
from meshnode.runtime.ticker import Ticker
from meshnode.runtime.wasi_stdio import Stdio

_NOBODY = Nobody()
_NOT_READY: tuple[None, int] = (None, 0)


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
        settings: RuntimeSettings,
        cache: SessionCache | None,
    ) -> None:
        """`cache` opens models that the guest brings itself; None if it may not."""
        self.held = ExitStack()
        """Gives the sessions back when it is closed."""
        self.stateless = guest.keeps_nothing
        """The guest is known to keep nothing of a request, so sources may share an instance."""
        self._manifest = manifest
        self._guest = guest
        self._sessions = dict(sessions)
        self._limits = limits
        self._ticker = ticker
        self._caps = caps
        self._settings = settings
        self._cache = cache
        self._hal: Hal | None = None
        self._sandbox: Sandbox | None = None
        self._abi: Abi | None = None
        self._names = [spec.name for spec in manifest.inputs]
        self._output_names = [spec.name for spec in manifest.outputs]
        self._check = InputCheck(manifest)
        self._batches = Batches(self._call, self._names, limits.run_ms)
        self._source: str | None = None
        """Whose requests the instance has seen; None if nobody's."""
        self._ready: dict[object, tuple[Ready, int]] = {}
        """By kind of request: what answers it in the instance at hand, and its rows."""
        self._fresh_bytes = 0
        self._closed = False

    @property
    def memory_bytes(self) -> int:
        """What the instance holds: its memory, and its models' size."""
        guest = self._sandbox.memory_bytes if self._sandbox else 0
        return guest + sum(session.size for session in self._sessions.values())

    @property
    def started_s(self) -> tuple[float, float]:
        """What the instance at hand took to instantiate, and then to initialise itself."""
        return (
            (0.0, 0.0) if self._sandbox is None else (self._sandbox.start_s, self._sandbox.init_s)
        )

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
        if not has_room():
            return with_room(lambda: self.run(requests, sources, audience))
        if len(requests) == 1:
            return self._run_lone(requests[0], "" if sources is None else sources[0])
        return self._run(requests, sources, audience or _NOBODY)

    def _run_lone(self, arrays: Arrays, source: str) -> RunResult:
        """Answer a request that is alone; one like an earlier one has its way prepared."""
        started = perf_counter()
        if not self.stateless:
            self._serve(source)
        hal, box, batches = self._hal, self._sandbox, self._batches
        model_s = 0.0 if hal is None else hal.model_s
        batches.failed = False
        kind = kind_of(arrays)
        call, rows = self._ready.get(kind, _NOT_READY)
        outcome: Outcome | None = None
        if call is not None and box is not None:
            if box.limits.run_ms != self._limits.run_ms:
                box.allow(self._limits.run_ms)
            try:
                outcome = call(arrays)
            except MeshnodeError as error:
                outcome, batches.failed = error, True
            finally:
                if not box.alive:
                    self._drop()
        took_s = perf_counter() - started
        if outcome is None:
            outcome = self._run_alone(arrays)
            if not batches.failed:
                self._prepare_next(kind, arrays)
            took_s = perf_counter() - started
            hal = self._hal  # of a fresh instance, maybe
        elif not batches.failed:
            batches.pace.learn(rows, took_s)
        model_s = 0.0 if hal is None else hal.model_s - model_s
        return RunResult([outcome], int(took_s * 1e6), int(model_s * 1e6), batches.failed)

    def _prepare_next(self, kind: object, arrays: Arrays) -> None:
        """Prepare the way for the next request like this one, which was just answered."""
        if self._abi is None:
            return
        try:
            rows = self._check.rows(arrays)
        except MeshnodeError:  # that was the answer
            return
        ready = self._abi.ready([*map(arrays.__getitem__, self._names)], rows)
        if ready is not None:
            if len(self._ready) >= PREPARED_MAX:
                self._ready.clear()
            self._ready[kind] = ready, rows

    def _run(
        self, requests: Sequence[Arrays], sources: Sequence[str] | None, audience: Audience
    ) -> RunResult:
        started = perf_counter()
        model_s = 0.0 if self._hal is None else self._hal.model_s
        self._batches.failed = False
        outcomes: list[Outcome] = [ModuleFailed("not run")] * len(requests)
        groups = self._groups(requests, sources, outcomes)
        for number, (source, group) in enumerate(groups, 1):
            self._serve(source)
            self._batches.run(group, outcomes, audience, final=number == len(groups))
        run_us = int((perf_counter() - started) * 1e6)
        model_us = int((self._model_s - model_s) * 1e6)
        return RunResult(outcomes, run_us, model_us, self._batches.failed)

    def close(self) -> None:
        """Free the instance and let go of its models. Twice is harmless."""
        self._closed = True
        self._drop()
        self._hal = None
        self._sessions = {}  # whoever still holds this object must not hold the models
        self.held.close()

    @property
    def _model_s(self) -> float:
        return 0.0 if self._hal is None else self._hal.model_s

    def _groups(
        self, requests: Sequence[Arrays], sources: Sequence[str] | None, outcomes: list[Outcome]
    ) -> list[tuple[str, list[Item]]]:
        """Return what can run in one call, and for whom; misfits get their error as outcome."""
        groups: dict[Hashable, tuple[str, list[Item]]] = {}
        for index, arrays in enumerate(requests):
            try:
                item = Item(index, arrays, self._check.rows(arrays))
            except MeshnodeError as error:
                outcomes[index] = error
                continue
            source = "" if sources is None or self.stateless else sources[index]
            key = (source, self.kind(arrays) if self._manifest.batch else index)
            groups.setdefault(key, (source, []))[1].append(item)
        # Whoever was here last goes on: then the others need the fewest fresh instances.
        return sorted(groups.values(), key=lambda g: (g[0] != self._source, g[0]))

    def _serve(self, source: str) -> None:
        """See that the instance has seen requests of this source only."""
        if not self.stateless:
            if self._source not in (None, source):
                self._drop()
            self._source = source

    def _run_alone(self, arrays: Arrays) -> Outcome:
        try:
            rows = self._check.rows(arrays)
        except MeshnodeError as error:
            return error
        return self._batches.run_alone(arrays, rows)

    def _call(self, arrays: Arrays, rows: int, limit_ms: int) -> dict[str, np.ndarray]:
        abi = self._abi or self._live()
        box = self._sandbox
        if box is not None and box.limits.run_ms != limit_ms:
            box.allow(limit_ms)
        try:
            answers = abi.run([*map(arrays.__getitem__, self._names)], rows)
        finally:
            if self._sandbox is not None and not self._sandbox.alive:
                self._drop()
        if len(answers) == 1:  # most have one, and a zip costs half a microsecond
            return {self._output_names[0]: answers[0]}
        return dict(zip(self._output_names, answers, strict=True))

    def _live(self) -> Abi:
        """Return the instance's ABI; a new instance if the last one trapped."""
        if self._abi is None:
            if self._manifest.abi == "command":
                self._abi = CommandAbi(self._start, self._manifest, self._limits)
            else:
                abi = SeedAbi if self._manifest.abi == "seed" else InferAbi
                self._abi = abi(self._start(None), self._manifest)
        return self._abi

    def _start(self, stdio: Stdio | None) -> Sandbox:
        """Make a new instance; `stdio` is a command's request."""
        spent_s = self._model_s
        self._hal = Hal(
            self._manifest.name,
            self._caps,
            self._sessions,
            log_lines_max=self._settings.log_lines_max,
            loader=self._loader(),
            stdio=stdio,
            now=self._ticker.now,
        )
        self._hal.model_s = spent_s
        self._sandbox = Sandbox(self._guest, self._hal, self._limits, self._ticker)
        return self._sandbox

    def _loader(self) -> Loader | None:
        if self._cache is None:
            return None
        settings = self._settings
        return Loader(
            self._cache, bytes_max=settings.load_bytes_max, encodings=settings.load_encodings
        )

    def _drop(self) -> None:
        if self._sandbox is not None:
            self._sandbox.close()
        self._sandbox = self._abi = None
        self._ready = {}
