"""onnxruntime sessions by model hash: opened once, shared by modules, stopped at a deadline."""

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from meshnode.caps import Caps
from meshnode.errors import HashMismatch, ModelFailed, TimeLimit, UnreadableModel
from meshnode.ids import ContentHash
from meshnode.modules.manifest import ModelRef
from meshnode.runtime import ort, providers
from meshnode.runtime.onnx_proto import check_model
from meshnode.runtime.settings import RuntimeSettings
from meshnode.runtime.ticker import Ticker

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, NodeArg

_log = logging.getLogger(__name__)
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


class ModelSession:
    """One model, loaded. Runs may overlap; onnxruntime allows that."""

    def __init__(self, session: "InferenceSession", ticker: Ticker, size: int) -> None:
        """Raises UnreadableModel if the model has strings, sequences or optional values."""
        self.inputs = tuple(map(read_tensor, session.get_inputs()))
        self.outputs = tuple(map(read_tensor, session.get_outputs()))
        self.size = size
        self.provider = str(session.get_providers()[0])
        self._session = session
        self._ticker = ticker
        self._input_names = [t.name for t in self.inputs]
        self._output_names = [t.name for t in self.outputs]

    def deadline_in(self, seconds: float) -> float:
        """Return the deadline for `run` that lies so far ahead."""
        return self._ticker.now() + seconds

    def run(self, inputs: Sequence[np.ndarray], deadline: float) -> list[np.ndarray]:
        """Return the outputs in order; inputs in order too.

        `deadline` is in the ticker's time; a run that passes it is told to stop, which
        happens between two operators. Raises TimeLimit or ModelFailed.
        """
        options = ort.run_options()
        if self._ticker.now() >= deadline:
            raise _late()
        self._ticker.enter()
        key = self._ticker.watch(deadline, lambda: setattr(options, "terminate", True))
        try:
            feeds = dict(zip(self._input_names, inputs, strict=True))
            return list(self._session.run(self._output_names, feeds, options))
        except Exception as error:  # onnxruntime's exceptions have no common base
            if options.terminate:
                raise _late() from error
            raise ModelFailed(f"onnxruntime: {ort.trimmed(error)}") from error
        finally:
            self._ticker.unwatch(key)
            self._ticker.leave()


class SessionCache:
    """The sessions in use, each opened once. Thread-safe."""

    def __init__(
        self, settings: RuntimeSettings, ticker: Ticker, *, caps: Caps, empty_dir: Path
    ) -> None:
        """`empty_dir` is made if need be, and must stay empty."""
        self._settings = settings
        self._ticker = ticker
        self._caps = caps
        self._empty_dir = empty_dir
        self._lock = threading.Lock()
        self._open: dict[ContentHash, tuple[ModelSession, int]] = {}

    def acquire(self, ref: ModelRef, model: bytes) -> ModelSession:
        """Return the model's session; give it back with `release`.

        Raises HashMismatch if the bytes are not the ones the manifest names, UnreadableModel or
        ModelFailed.
        """
        with self._lock:
            if ref.sha256 in self._open:
                session, users = self._open[ref.sha256]
            else:
                if sha256(model).digest() != ref.sha256:
                    raise HashMismatch(f"the model '{ref.name}' has other bytes than it should")
                session, users = self._load(model), 0
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

    def _load(self, model: bytes) -> ModelSession:
        check_model(model)
        self._empty_dir.mkdir(parents=True, exist_ok=True)
        if any(self._empty_dir.iterdir()):
            raise ModelFailed(f"{self._empty_dir} must be empty and is not")
        options = ort.session_options(
            threads=self._settings.model_threads,
            spin=self._settings.model_spin,
            empty_dir=self._empty_dir,
        )
        wanted = providers.choose(ort.available_providers(), self._caps)
        try:
            session = ort.open_session(model, options, wanted)
        except ModelFailed as error:
            if len(wanted) == 1:
                raise
            _log.warning("no session with %s, using the CPU: %s", wanted[0], error)
            session = ort.open_session(model, options, [providers.CPU_PROVIDER])
        return ModelSession(session, self._ticker, len(model))


Sessions = Mapping[str, ModelSession]
"""A module's models, by the name its guest opens them with."""


def _late() -> TimeLimit:
    return TimeLimit("a model run was stopped: the module's time limit had passed")
