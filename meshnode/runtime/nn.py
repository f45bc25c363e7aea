"""wasi-nn (WITX): the six functions of `wasi_ephemeral_nn` for one instance.

Where implementations differ, this is our choice. Names that do not exist are errno 8, bad handles,
indices and pointers 1, encodings other than ONNX 2, what onnxruntime refuses 5, a call that the
module has no capability for 6, a full quota or a small output buffer 7. Results are written only
on success. Handles count up for graphs and contexts together and are never used again, so that
neither can be taken for the other. There is no unload: all is freed with the instance.
"""

from struct import Struct

import numpy as np

from meshnode.runtime.abi import (
    MODEL_NAME_BYTES_MAX,
    NN_BUILDERS_MAX,
    NN_BYTES_MAX,
    NN_CONTEXTS_MAX,
    NN_GRAPHS_MAX,
    RECORD,
    Errno,
)
from meshnode.runtime.binding import GuestMemory, HostCall
from meshnode.runtime.nn_context import Context, Work
from meshnode.runtime.nn_loader import Loader
from meshnode.runtime.sessions import ModelSession, Sessions
from meshnode.wire.limits import RANK_MAX

TARGETS = (0, 1, 2, 3)
"""CPU, GPU, TPU, WasmEdge's "any". Where a model runs is the node's choice all the same."""
_BUILDER = Struct("<II")
_U32 = Struct("<I")
_NO_DIMS = np.empty(0, np.uint8)


class NnHost:
    """The graphs and contexts of one instance.

    Functions return an errno and raise only MeshnodeError, for a model that failed; the caller
    keeps the reason and gives the guest errno 5.
    """

    def __init__(
        self,
        models: Sessions | None,
        work: Work,
        loader: Loader | None,
        *,
        bytes_max: int = NN_BYTES_MAX,
    ) -> None:
        """`models` is None on a node that runs none, `loader` where `load` is not allowed.

        `bytes_max` bounds the inputs and outputs that all contexts keep together.
        """
        self._models = models
        self._work = work
        self._loader = loader
        self._graphs: dict[int, ModelSession] = {}
        self._contexts: dict[int, Context] = {}
        self._handles = 0
        self._bytes_max = bytes_max
        self._kept = 0
        """Bytes of inputs and outputs in all contexts."""

    def calls(self) -> dict[str, HostCall]:
        """Return the functions by their names in the import module."""
        return {
            "load": self._load,
            "load_by_name": self._load_by_name,
            "init_execution_context": self._init_execution_context,
            "set_input": self._set_input,
            "get_output": self._get_output,
            "compute": self._compute,
        }

    # ------------------------------------------------------------------ graphs

    def _load(
        self,
        memory: GuestMemory | None,
        builders: int,
        count: int,
        encoding: int,
        target: int,
        out: int,
    ) -> int:
        if memory is None:
            return Errno.MISSING_MEMORY
        if self._models is None or self._loader is None:
            return Errno.UNSUPPORTED_OPERATION
        if encoding not in self._loader.encodings:
            return Errno.INVALID_ENCODING
        if count > NN_BUILDERS_MAX or len(self._graphs) >= NN_GRAPHS_MAX:
            return Errno.TOO_LARGE
        listed = memory.slice(builders, _BUILDER.size * count)
        written = memory.slice(out, _U32.size)
        if listed is None or written is None or target not in TARGETS:
            return Errno.INVALID_ARGUMENT
        pieces = [memory.slice(*each) for each in _BUILDER.iter_unpack(listed.data)]
        # An ONNX model is one buffer; guests written for two (OpenVINO) leave the other empty.
        filled = [piece for piece in pieces if piece is None or len(piece)]
        if len(filled) != 1 or (data := filled[0]) is None:
            return Errno.INVALID_ARGUMENT
        if len(data) > self._loader.bytes_left:
            return Errno.TOO_LARGE
        return self._add_graph(self._loader.open(data.tobytes()), written)

    def _load_by_name(self, memory: GuestMemory | None, name: int, size: int, out: int) -> int:
        if memory is None:
            return Errno.MISSING_MEMORY
        if self._models is None:
            return Errno.UNSUPPORTED_OPERATION
        if size > MODEL_NAME_BYTES_MAX:
            return Errno.TOO_LARGE
        raw = memory.slice(name, size)
        written = memory.slice(out, _U32.size)
        if raw is None or written is None:
            return Errno.INVALID_ARGUMENT
        session = self._models.get(raw.tobytes().decode("utf-8", "replace"))
        if session is None:
            return Errno.NOT_FOUND
        if len(self._graphs) >= NN_GRAPHS_MAX:
            return Errno.TOO_LARGE
        return self._add_graph(session, written)

    def _add_graph(self, session: ModelSession, written: np.ndarray) -> int:
        self._handles += 1
        self._graphs[self._handles] = session
        _U32.pack_into(written.data, 0, self._handles)
        return Errno.SUCCESS

    # ------------------------------------------------------------------ contexts

    def _init_execution_context(self, memory: GuestMemory | None, graph: int, out: int) -> int:
        if memory is None:
            return Errno.MISSING_MEMORY
        session = self._graphs.get(graph)
        written = memory.slice(out, _U32.size)
        if session is None or written is None:
            return Errno.INVALID_ARGUMENT
        if len(self._contexts) >= NN_CONTEXTS_MAX:
            return Errno.TOO_LARGE
        self._handles += 1
        self._contexts[self._handles] = Context(session)
        _U32.pack_into(written.data, 0, self._handles)
        return Errno.SUCCESS

    def _set_input(self, memory: GuestMemory | None, handle: int, index: int, pointer: int) -> int:
        context = self._contexts.get(handle)
        if memory is None:
            return Errno.MISSING_MEMORY
        if context is None or index >= len(context.inputs):
            return Errno.INVALID_ARGUMENT
        record = memory.slice(pointer, RECORD.size)
        if record is None:
            return Errno.INVALID_ARGUMENT
        dims_pointer, rank, number, data_pointer, size = RECORD.unpack_from(record.data)
        if rank > RANK_MAX:
            return Errno.TOO_LARGE
        dims = memory.slice(dims_pointer, 4 * rank) if rank else _NO_DIMS
        data = memory.slice(data_pointer, size)
        if dims is None or data is None:
            return Errno.INVALID_ARGUMENT
        wanted = context.inputs[index]
        key = (number, size, dims.tobytes())
        if key != wanted.key:
            kept = context.kept_bytes
            if errno := context.prepare(index, key, self._bytes_max - self._kept):
                return errno
            self._kept += context.kept_bytes - kept
        wanted.fill(data)
        return Errno.SUCCESS

    def _compute(self, memory: GuestMemory | None, handle: int) -> int:
        context = self._contexts.get(handle)
        if context is None or context.unset:
            return Errno.INVALID_ARGUMENT
        kept = context.kept_bytes
        try:
            return context.compute(self._work, self._bytes_max - self._kept)
        finally:
            self._kept += context.kept_bytes - kept

    def _get_output(
        self,
        memory: GuestMemory | None,
        handle: int,
        index: int,
        pointer: int,
        room: int,
        out: int,
    ) -> int:
        context = self._contexts.get(handle)
        if memory is None:
            return Errno.MISSING_MEMORY
        if context is None or index >= len(context.session.outputs):
            return Errno.INVALID_ARGUMENT
        if not context.outputs:
            return Errno.RUNTIME_ERROR  # nothing was computed, or it failed
        data = context.outputs[index]
        size = len(data)
        if size > room:
            return Errno.TOO_LARGE
        target = memory.slice(pointer, size)
        written = memory.slice(out, _U32.size)
        if target is None or written is None:
            return Errno.INVALID_ARGUMENT
        target[:] = data
        _U32.pack_into(written.data, 0, size)
        return Errno.SUCCESS
