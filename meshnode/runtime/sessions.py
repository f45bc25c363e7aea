"""onnxruntime sessions by model hash: opened once, shared by modules, stopped at a deadline."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import inf
from pathlib import Path
from time import perf_counter
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from meshnode.caps import Caps
from meshnode.errors import HashMismatch, ModelFailed, TimeLimit, UnreadableModel
from meshnode.ids import ContentHash
from meshnode.modules.manifest import ModelRef
from meshnode.runtime import ort, providers, threads
from meshnode.runtime.onnx_proto import check_model
from meshnode.runtime.settings import RuntimeSettings
from meshnode.runtime.ticker import Alarm, Ticker

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, NodeArg, RunOptions, SessionOptions

_log = logging.getLogger(__name__)
Shape = tuple[int, ...]
MEASURED_MAX = 256
"""Models of which is remembered how many threads they want."""
ORT_DTYPES = {
    "tensor(bool)": "bool",
    "tensor(uint8)": "uint8",
    "tensor(uint16)": "uint16",
    "tensor(uint32)": "uint32",
    "tensor(uint64)": "uint64",
    "tensor(int8)": "int8",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(float16)": "float16",
    "tensor(float)": "float32",
    "tensor(double)": "float64",
}
"""onnxruntime's name of each element type that can cross into a guest, and numpy's."""


@dataclass(frozen=True, slots=True)
class ModelTensor:
    """An input or output of a model. Sizes are numbers, symbols, or None for unnamed."""

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]


def read_tensor(arg: "NodeArg") -> ModelTensor:
    """Return a model's tensor, or raise UnreadableModel naming it if no guest could handle it."""
    if (dtype := ORT_DTYPES.get(arg.type)) is None:
        raise UnreadableModel(
            f"'{arg.name}' is a {arg.type}; tensors of numbers are what a module can take",
            because=[f"element types: {', '.join(ORT_DTYPES.values())}"],
        )
    return ModelTensor(arg.name, dtype, tuple(arg.shape or ()))


def _read_tensors(args: "Sequence[NodeArg]") -> tuple[ModelTensor, ...]:
    try:
        return tuple(map(read_tensor, args))
    except UnicodeDecodeError as error:  # onnxruntime takes names of any bytes, and decodes late
        raise UnreadableModel("the model has a name that is not UTF-8") from error


class _Guard(Alarm):
    """Options for runs, one after the other, with the alarm that ends a late one."""

    def __init__(self) -> None:
        super().__init__()
        self.options = ort.run_options()

    def ring(self) -> None:
        self.options.terminate = True

    def reason(self, error: Exception) -> TimeLimit | ModelFailed:
        """Return why a run with these options has failed."""
        if self.options.terminate:
            return _late()
        return ModelFailed(f"onnxruntime: {ort.trimmed(error)}")


class BoundRun:
    """A model run from and to fixed addresses: the quickest way there is, and nothing is copied.

    Used by one thread at a time.
    """

    __slots__ = ("_guard", "_now", "_run", "_session")

    def __init__(self, session: "ModelSession", run: "Callable[[RunOptions], None]") -> None:
        self._session = session
        self._run = run
        self._now = session.now
        self._guard = session.new_guard()

    def __call__(self, deadline: float) -> None:
        """Run; as `ModelSession.run`, but only while the ticker runs for somebody already."""
        guard = self._guard
        guard.deadline = deadline
        try:
            self._run(guard.options)
        except Exception as error:  # onnxruntime's exceptions have no common base
            raise guard.reason(error) from error
        finally:
            guard.deadline = inf
            if self._now() >= deadline:  # it may be rung even now
                self._guard = self._session.new_guard()


class ModelSession:
    """One model, loaded. Runs may overlap; onnxruntime allows that."""

    def __init__(
        self, session: "InferenceSession", ticker: Ticker, size: int, *, threads: int = 0
    ) -> None:
        """Raises UnreadableModel if the model has strings, sequences or optional values."""
        self.threads = threads
        """For one operator; 0 is onnxruntime's own choice."""
        self.inputs = _read_tensors(session.get_inputs())
        self.outputs = _read_tensors(session.get_outputs())
        self.size = size
        self.provider = str(session.get_providers()[0])
        self._session = session
        self._ticker = ticker
        self.now = ticker.now
        """The time that deadlines are in."""
        self._input_names = [t.name for t in self.inputs]
        self._output_names = [t.name for t in self.outputs]
        self._guards: list[_Guard] = []
        """Those not in use; popping and appending are atomic."""
        # A tensor that is input and output at once is not written to where an output is bound.
        self.on_cpu = session.get_providers() == [providers.CPU_PROVIDER]
        self.bindable = self.on_cpu and not (set(self._input_names) & set(self._output_names))
        """Whether `bind` can be used; set to False by whoever finds that it fails."""

    def deadline_in(self, seconds: float) -> float:
        """Return the deadline for `run` that lies so far ahead."""
        return self._ticker.now() + seconds

    def run(self, inputs: Sequence[np.ndarray], deadline: float) -> list[np.ndarray]:
        """Return the outputs in order; inputs in order too.

        `deadline` is in the ticker's time; a run that passes it is told to stop, which
        happens between two operators. Raises TimeLimit or ModelFailed.
        """
        if self.now() >= deadline:
            raise _late()
        feeds = dict(zip(self._input_names, inputs, strict=True))
        self._ticker.enter()
        guard = self._free_guard()
        guard.deadline = deadline
        try:
            return list(self._session.run(self._output_names, feeds, guard.options))
        except Exception as error:  # onnxruntime's exceptions have no common base
            raise guard.reason(error) from error
        finally:
            guard.deadline = inf
            self._ticker.leave()
            if self.now() < deadline:  # or it may be rung even now
                self._guards.append(guard)

    def bind(
        self, inputs: Sequence[tuple[Shape, int]], outputs: Sequence[tuple[Shape, int]]
    ) -> BoundRun:
        """Return a run of these shapes, from and to these addresses; only if it is `bindable`.

        Outputs are in order, and the last ones may be left out.
        """
        return BoundRun(
            self,
            ort.bound_run(
                self._session,
                [(t.name, t.dtype, *p) for t, p in zip(self.inputs, inputs, strict=True)],
                [(t.name, t.dtype, *p) for t, p in zip(self.outputs, outputs, strict=False)],
            ),
        )

    def _free_guard(self) -> _Guard:
        try:
            return self._guards.pop()
        except IndexError:
            return self.new_guard()

    def new_guard(self) -> _Guard:
        """Return options for runs of this model, with their alarm set up."""
        guard = _Guard()
        self._ticker.add(guard)
        return guard


class SessionCache:
    """The sessions in use, each opened once. Thread-safe."""

    def __init__(
        self, settings: RuntimeSettings, ticker: Ticker, *, caps: Caps, empty_dir: Path
    ) -> None:
        """`empty_dir` is made if need be, and must stay empty."""
        self.fallbacks = providers.Fallbacks()
        self._settings = settings
        self._ticker = ticker
        self._caps = caps
        self._empty_dir = empty_dir
        self._lock = threading.Lock()
        self._open: dict[ContentHash, tuple[ModelSession, int]] = {}
        self._threads: OrderedDict[ContentHash, int] = OrderedDict()
        """What was measured to be best for a model."""

    @property
    def measured(self) -> Mapping[ContentHash, int]:
        """How many threads were found to be best, by model; 0 is onnxruntime's own choice."""
        return MappingProxyType(self._threads)

    def acquire(self, ref: ModelRef, model: bytes, *, measure: bool = False) -> ModelSession:
        """Return the model's session; give it back with `release`.

        With `measure` a small model is run a few times, to learn how many threads it wants.
        Raises HashMismatch if the bytes are not the ones the manifest names, UnreadableModel or
        ModelFailed.
        """
        with self._lock:
            if ref.sha256 in self._open:
                session, users = self._open[ref.sha256]
            else:
                if sha256(model).digest() != ref.sha256:
                    raise HashMismatch(f"the model '{ref.name}' has other bytes than it should")
                session, users = self._load(ref.sha256, model, measure=measure), 0
            self._open[ref.sha256] = (session, users + 1)
            return session

    def release(self, model: ContentHash) -> None:
        """Forget one use; the session goes with its last."""
        with self._lock:
            session, users = self._open.pop(model)
            if users > 1:
                self._open[model] = (session, users - 1)
                return
            del session
        ort.give_back()

    def _load(self, digest: ContentHash, model: bytes, *, measure: bool) -> ModelSession:
        check_model(model)
        self._empty_dir.mkdir(parents=True, exist_ok=True)
        if any(self._empty_dir.iterdir()):
            raise ModelFailed(f"{self._empty_dir} must be empty and is not")
        count = self._settings.model_threads or self._threads.get(digest, threads.DEFAULT)
        session = self._opened(model, count)
        if not measure or self._settings.model_threads or digest in self._threads:
            return session
        self._threads[digest] = threads.DEFAULT
        while len(self._threads) > MEASURED_MAX:
            self._threads.popitem(last=False)
        try:
            one = self._if_better(model, session)
        except (ModelFailed, TimeLimit):  # it does not take what was made up
            one = None
        if one is not None:
            self._threads[digest], session = threads.ONE, one
            _log.info("a model is run by one thread, which was measured to be faster")
        del one
        ort.give_back()  # one of the two has gone
        return session

    def _opened(self, model: bytes, count: int) -> ModelSession:
        return ModelSession(
            self._open_session(model, count), self._ticker, len(model), threads=count
        )

    def _if_better(self, model: bytes, default: ModelSession) -> ModelSession | None:
        """Return the model with one thread, if it is better off with that."""
        inputs = threads.trials(len(model), default.inputs) if default.on_cpu else []
        if not inputs or not threads.is_short(_bounded(default), inputs[0], now=perf_counter):
            return None
        one = self._opened(model, threads.ONE)
        run, alone = _bounded(default), _bounded(one)
        return one if threads.one_is_better(run, alone, inputs, now=perf_counter) else None

    def _open_session(self, model: bytes, count: int) -> "InferenceSession":
        """Return a session on the best accelerator that takes the model, or on the CPU."""
        for each in providers.usable(providers.survey(self._caps), self._caps):
            options = self._options(count)
            options.enable_mem_pattern = each.memory_pattern
            accelerated = (each.provider, dict(each.options))
            try:
                return ort.open_session(model, options, [accelerated, providers.CPU_PROVIDER])
            except ModelFailed as error:
                self.fallbacks.note(each, error.message)
        return ort.open_session(model, self._options(count), [providers.CPU_PROVIDER])

    def _options(self, count: int) -> "SessionOptions":
        return ort.session_options(
            threads=count,
            spin=self._settings.model_spin,
            empty_dir=self._empty_dir,
        )


Sessions = Mapping[str, ModelSession]
"""A module's models, by the name its guest opens them with."""


def _bounded(session: ModelSession) -> threads.Run:
    """Return runs of a model that are stopped if they take longer than measuring may."""
    return lambda arrays: session.run(arrays, session.deadline_in(threads.BUDGET_S))


def _late() -> TimeLimit:
    return TimeLimit("a model run was stopped: the module's time limit had passed")
