"""What an ONNX file takes and gives, found out with onnxruntime: everything `pack` must know.

A model says little about itself: whether rows may be joined to a batch is tried out, on seeded
inputs, and the same inputs become the module's self-test.
"""

import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from meshnode.errors import ModelFailed, ModuleFailed, UnreadableModel
from meshnode.modules.manifest import DIMENSION_MAX, SelfTest, TensorSpec
from meshnode.runtime import ort, providers
from meshnode.runtime.onnx_proto import OnnxScan, check_model
from meshnode.runtime.self_test import close
from meshnode.runtime.sessions import ModelSession, ModelTensor, Shape
from meshnode.runtime.ticker import Ticker
from meshnode.wire.limits import BODY_BYTES_MAX, KIB, RANK_MAX, TENSORS_MAX

SEED = 20_240_607
"""Of the inputs that are made up; any number, but always the same: packing is reproducible."""
SELF_TEST_BYTES_MAX = 64 * KIB
SELF_TEST_TOLERANCE = 1e-3
"""Kernels of other processors add in another order; a wrong model is wrong by far more."""
BATCH_TOLERANCE = 1e-4
OPEN_SIZES = (1, 8, 64, 224)
"""Tried in turn for dimensions without a size; convolutions need more than 1."""
TRIAL_S_MAX = 20.0
_TRIAL_BYTES_MAX = 4 * BODY_BYTES_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxFacts:
    """An ONNX file, as far as a module's manifest is concerned."""

    inputs: tuple[TensorSpec, ...]
    """-1 for sizes that are open."""
    outputs: tuple[TensorSpec, ...]
    opset: int
    batch: bool
    """Rows may be joined along axis 0: declared by the model, and tried."""
    self_test: SelfTest | None
    """None if no inputs could be made up that are small enough and give the same answer twice."""


def inspect_model(model: Path | bytes) -> OnnxFacts:
    """Return the facts of an ONNX file, or raise UnreadableModel naming what stands against it.

    Refused: tensors of strings, sequences and optional values, and data in other files.
    """
    data = model if isinstance(model, bytes) else _read(model)
    scan = check_model(data)
    with tempfile.TemporaryDirectory(prefix="meshnode-") as empty:
        session = _open(data, Path(empty))
        _check_counts(session)
        trial = _Trial(session)
        seen = trial.shapes()
        _check_ranks(scan, session, tried=bool(seen))
        inputs = tuple(map(_spec, session.inputs))
        outputs = tuple(
            _spec(t, [shapes[i] for shapes in seen]) for i, t in enumerate(session.outputs)
        )
        return OnnxFacts(
            inputs=inputs,
            outputs=outputs,
            opset=scan.opset,
            batch=trial.batches(),
            self_test=trial.self_test(),
        )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableModel(f"{path} cannot be read: {error.strerror}") from error


def _open(data: bytes, empty: Path) -> ModelSession:
    options = ort.session_options(threads=0, spin=False, empty_dir=empty)
    try:
        session = ort.open_session(data, options, [providers.CPU_PROVIDER])
    except ModelFailed as error:
        raise UnreadableModel(error.message) from error
    # The epoch is a guest's; here the ticker only stops runs that take too long.
    return ModelSession(session, Ticker(lambda: None, tick_ms=20), len(data))


def _check_counts(session: ModelSession) -> None:
    if not session.inputs or not session.outputs:
        raise UnreadableModel("the model has no input or no output")
    if max(len(session.inputs), len(session.outputs)) > TENSORS_MAX:
        raise UnreadableModel(f"the model has more than {TENSORS_MAX} inputs or outputs")
    for tensor in (*session.inputs, *session.outputs):
        sizes = [d for d in tensor.shape if isinstance(d, int)]
        if len(tensor.shape) > RANK_MAX or any(d > DIMENSION_MAX for d in sizes):
            raise UnreadableModel(f"'{tensor.name}' has a shape that is too large: {tensor.shape}")


def _check_ranks(scan: OnnxScan, session: ModelSession, *, tried: bool) -> None:
    """Refuse what onnxruntime shows as a scalar only because nobody knows how many axes it has."""
    unknown = scan.unranked_inputs if tried else scan.unranked_inputs | scan.unranked_outputs
    for tensor in (*session.inputs, *session.outputs):
        if not tensor.shape and tensor.name in unknown:
            raise UnreadableModel(
                f"the model does not say how many axes '{tensor.name}' has",
                try_="export it with the shapes of its inputs and outputs; sizes may stay open",
            )


def _spec(tensor: ModelTensor, seen: Sequence[Shape] = ()) -> TensorSpec:
    """Return the manifest's form; what runs have shown counts, not what the model says of it.

    A size that a tool wrote down when it exported the model need not hold for other inputs.
    """
    shape = tuple(d if isinstance(d, int) and d >= 0 else -1 for d in tensor.shape)
    for found in seen:
        if len(found) != len(shape):
            shape = (-1,) * len(found)
        shape = tuple(d if d == size else -1 for d, size in zip(shape, found, strict=True))
    return TensorSpec(name=tensor.name, dtype=tensor.dtype, shape=shape)


class _Trial:
    """Runs a model on made-up inputs, the open sizes as small as it accepts."""

    def __init__(self, session: ModelSession) -> None:
        self._session = session
        self._deadline = session.deadline_in(TRIAL_S_MAX)
        self._open_size = 1
        self.inputs: list[np.ndarray] = []
        self.answers: list[np.ndarray] | None = None
        """None if the model accepted none of the sizes."""
        for size in OPEN_SIZES:
            self._open_size = size
            self.inputs = [self._made_up(t, i, SEED, rows=1) for i, t in enumerate(session.inputs)]
            if sum(a.nbytes for a in self.inputs) > _TRIAL_BYTES_MAX:
                break
            self.answers = self._run(self.inputs)
            if self.answers is not None:
                break

    def shapes(self) -> list[list[Shape]]:
        """Return the outputs' shapes by run: of one row, and of two if the model takes them."""
        if self.answers is None:
            return []
        two = [self._made_up(t, i, SEED, rows=2) for i, t in enumerate(self._session.inputs)]
        runs = (self.answers, self._run(two))
        return [[a.shape for a in answers] for answers in runs if answers is not None]

    def batches(self) -> bool:
        """Return whether two rows together give what each gives alone."""
        tensors = (*self._session.inputs, *self._session.outputs)
        if self.answers is None or not _same_open_axis(tensors):
            return False
        rows = [
            [self._made_up(t, i, SEED + row, rows=1) for i, t in enumerate(self._session.inputs)]
            for row in (1, 2)
        ]
        if not self._stays_apart(rows):
            return False
        if all(tensor.dtype.startswith("float") for tensor in self._session.inputs):
            return True
        # Integers made up are few, so the rows may have been the same, which cannot disturb each
        # other. A second pair is unlike in every tensor; a model that refuses it is not blamed.
        unlike = [_filled(row, value) for value, row in enumerate(rows)]
        return self._stays_apart(unlike) is not False

    def _stays_apart(self, rows: Sequence[Sequence[np.ndarray]]) -> bool | None:
        """Return whether a pair of rows together gives what each gives; None if one fails alone."""
        alone = [self._run(row) for row in rows]
        if alone[0] is None or alone[1] is None:
            return None
        together = self._run([np.concatenate(pair) for pair in zip(*rows, strict=True)])
        if together is None or any(a.shape[:1] != (1,) for a in (*alone[0], *alone[1])):
            return False
        return all(
            both.shape[:1] == (2,) and close(both, np.concatenate((one, two)), BATCH_TOLERANCE)
            for both, one, two in zip(together, alone[0], alone[1], strict=True)
        )

    def self_test(self) -> SelfTest | None:
        """Return the trial as a self-test, if it is small and the model answers the same again."""
        if self.answers is None:
            return None
        tensors = (*self.inputs, *self.answers)
        if sum(t.nbytes for t in tensors) > SELF_TEST_BYTES_MAX or not self._fits_decoding():
            return None
        again = self._run(self.inputs)
        if again is None or not all(
            close(b, a, SELF_TEST_TOLERANCE) for a, b in zip(self.answers, again, strict=True)
        ):
            return None
        return SelfTest(
            inputs=tuple(a.tobytes() for a in self.inputs),
            outputs=tuple(a.tobytes() for a in self.answers),
            tolerance=SELF_TEST_TOLERANCE,
        )

    def _fits_decoding(self) -> bool:
        """Return whether shapes can be told from the buffers: one open size that is not 1."""
        return self._open_size == 1 or all(
            sum(not _is_size(d) for d in t.shape) <= 1 for t in self._session.inputs
        )

    def _run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray] | None:
        with suppress(ModuleFailed):
            return self._session.run(inputs, self._deadline)
        return None

    def _made_up(self, tensor: ModelTensor, index: int, seed: int, *, rows: int) -> np.ndarray:
        """Return a tensor of numbers that hardly any model refuses."""
        shape = [d if isinstance(d, int) and d >= 0 else self._open_size for d in tensor.shape]
        if tensor.shape and not _is_size(tensor.shape[0]):
            shape[0] = rows
        rng = np.random.default_rng((seed, index))
        if tensor.dtype.startswith("float"):
            return rng.standard_normal(shape).astype(tensor.dtype)
        # 0 and 1 are valid as tokens, masks, classes and lengths alike; pixels may be anything.
        most = 255 if tensor.dtype == "uint8" else 1
        return rng.integers(0, most, shape, endpoint=True).astype(tensor.dtype)


def _filled(row: Sequence[np.ndarray], value: int) -> list[np.ndarray]:
    """Return a row whose integers and flags are all this; other numbers are never the same."""
    return [a if a.dtype.kind == "f" else np.full_like(a, value) for a in row]


def _same_open_axis(tensors: Sequence[ModelTensor]) -> bool:
    """Return whether axis 0 of every tensor is open, and by the same symbol where it has one.

    Tools leave it unnamed, and shape inference calls what it cannot name `unk__7`: those say
    nothing against it, the trial decides.
    """
    if any(not t.shape or _is_size(t.shape[0]) for t in tensors):
        return False
    names = {t.shape[0] for t in tensors if isinstance(t.shape[0], str)}
    return len({n for n in names if n and not str(n).startswith("unk__")}) <= 1


def _is_size(size: int | str | None) -> bool:
    return isinstance(size, int) and size >= 0
