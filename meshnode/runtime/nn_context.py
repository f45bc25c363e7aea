"""An execution context of wasi-nn: a model, the inputs it was given, and what it last answered.

Once a run has shown how large the answers to such inputs are, further runs are bound to buffers
that stay: onnxruntime then neither makes arrays nor copies into them, which is a third of the time
of a small model. Models whose answers have no size beforehand are never bound.
"""

from collections.abc import Callable, Sequence

import numpy as np

from meshnode.errors import ModelFailed
from meshnode.runtime.abi import Errno
from meshnode.runtime.nn_inputs import Input, Key
from meshnode.runtime.sessions import BoundRun, ModelSession

Work = Callable[[Callable[[float], None]], None]
"""Calls what it is given with the deadline of the call at hand, and counts the time it takes."""


class Context:
    """Used by one thread at a time, as the guest is."""

    __slots__ = (
        *("_arrays", "_bound", "_output_bytes", "_settled"),
        *("inputs", "kept_bytes", "outputs", "session", "unset"),
    )

    def __init__(self, session: ModelSession) -> None:
        self.session = session
        self.inputs = [Input(tensor) for tensor in session.inputs]
        self.unset = len(self.inputs)
        self.outputs: list[np.ndarray] = []
        """As bytes; empty until a run has succeeded."""
        self._arrays: list[np.ndarray] = [np.empty(0, np.uint8)] * len(self.inputs)
        """The inputs, ready for a run once none is unset."""
        self._settled = False
        """The last run was of inputs of these shapes."""
        self._bound: tuple[BoundRun, list[np.ndarray]] | None = None
        """A run from and to fixed buffers, and the bytes of its outputs."""
        self.kept_bytes = 0
        """What the host keeps for this context."""
        self._output_bytes = 0

    def prepare(self, index: int, key: Key, room: int) -> int:
        """Make an input ready for tensors of another key; `room` is what more bytes may be kept.

        Returns an errno; on any but success the input stays what it was.
        """
        wanted = self.inputs[index]
        if (shape := wanted.shape(key)) is None:
            return Errno.INVALID_ARGUMENT
        if (more := key[1] - wanted.size) > room:
            return Errno.TOO_LARGE
        self.kept_bytes += more
        self.unset -= wanted.array is None
        self._arrays[index] = wanted.prepare(key, shape)
        self._settled, self._bound = False, None
        return Errno.SUCCESS

    def compute(self, work: Work, room: int) -> int:
        """Run the model; all inputs are set. `room` is what further bytes may be kept.

        Raises TimeLimit or ModelFailed; the outputs are then gone.
        """
        bound = self._bound
        if bound is None:
            return self._compute_apart(work, room)
        self.outputs = []
        try:
            work(bound[0])
        except ModelFailed:
            # Either the model fails on these numbers, and now again, or its outputs are not as it
            # declares them.
            status = self._compute_apart(work, room)
            self.session.bindable, self._bound = False, None
            return status
        self.outputs = bound[1]
        return Errno.SUCCESS

    def _compute_apart(self, work: Work, room: int) -> int:
        """Run on arrays that onnxruntime makes; what comes shows whether the next can be bound."""
        room += self._output_bytes
        self._keep(0)
        found: list[np.ndarray] = []

        def run(deadline: float) -> None:
            found.extend(self.session.run(self._arrays, deadline))

        work(run)
        size = sum(array.nbytes for array in found)
        if size > room:
            return Errno.TOO_LARGE
        if self._settled and self._bound is None:
            found = self._bind(found)
        self._keep(size)
        self._settled = True
        self.outputs = [flat(array) for array in found]
        if self._bound is not None:
            self._bound = self._bound[0], self.outputs
        return Errno.SUCCESS

    def _keep(self, size: int) -> None:
        """The outputs have so many bytes now."""
        self.outputs = []
        self.kept_bytes += size - self._output_bytes
        self._output_bytes = size

    def _bind(self, found: list[np.ndarray]) -> list[np.ndarray]:
        """Bind further runs to these outputs, if they will be of the same sizes; return them."""
        session = self.session
        if not session.bindable or not sizes_follow(session):
            return found
        outputs = [np.ascontiguousarray(a).reshape(a.shape) for a in found]
        every = (*self._arrays, *outputs)
        if not all(a.nbytes and a.flags.writeable and a.flags.aligned for a in every):
            return found
        try:
            run = session.bind(
                [(a.shape, a.ctypes.data) for a in self._arrays],
                [(a.shape, a.ctypes.data) for a in outputs],
            )
        except ModelFailed:
            session.bindable = False
            return found
        self._bound = run, []
        return outputs


def sizes_follow(session: ModelSession) -> bool:
    """Return whether the sizes of a model's outputs are declared, or names of sizes of inputs."""
    named = {d for tensor in session.inputs for d in tensor.shape if isinstance(d, str)}
    dims: Sequence[int | str | None] = [d for tensor in session.outputs for d in tensor.shape]
    return all(d in named if isinstance(d, str) else d is not None and d > 0 for d in dims)


def flat(array: np.ndarray) -> np.ndarray:
    """Return an array's bytes; a view of them if they lie in order."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
