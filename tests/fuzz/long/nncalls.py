"""The six functions of wasi-nn on the memory of a real instance, in sequences that are half right.

A few graphs and contexts live through a block, so that what one call leaves behind is what the next
one finds: inputs set anew between runs, runs that are bound and runs that fail, models that guests
bring. Asserted: only errnos come back and only MeshnodeError is raised; nothing in the guest's
memory changes but the results of a success; handles are never used again; quotas hold.
"""

from collections.abc import Callable, Sequence
from random import Random

import numpy as np
from onnx import TensorProto

from meshnode.errors import MeshnodeError
from meshnode.modules.manifest import Limits
from meshnode.runtime.abi import NN_CONTEXTS_MAX, NN_GRAPHS_MAX, TENSOR_TYPES, Errno
from meshnode.runtime.hal import Hal
from meshnode.runtime.nn import NnHost
from meshnode.runtime.nn_loader import Loader
from meshnode.runtime.sandbox import Sandbox
from meshnode.runtime.sessions import ModelSession, SessionCache, Sessions
from meshnode.runtime.settings import RuntimeSettings
from meshnode.wire.limits import MIB
from tests.fuzz.long.hostcalls import ERRNOS, empty, mixed, packed, spoiled
from tests.fuzz.long.mutate import EDGES, mutated
from tests.fuzz.long.ranges import changed_outside
from tests.scratch import scratch
from tests.unit.runtime.nn_support import typed
from tests.unit.runtime.support import ALL, compiled, dense, engine, manifest, ref, seed_guest

NAMES_AT, BUILDERS_AT, OUT_AT, RECORD_AT, DIMS_AT, DATA_AT, ANSWER_AT, MODEL_AT = (
    *(16, 256, 512, 640, 768),
    *(4096, 16384, 32768),
)
"""Where the good call's things lie."""
NAMES = (b"dense", b"mixed", b"empty", b"nothing")
KEPT_BYTES_MAX = 6 * 1024
"""Of inputs and outputs, so that the quota is met now and then."""
LOAD_BYTES_MAX = 6 * 1024
COMPARED = 1 / 8
TURNS = ("set_input",) * 40 + ("compute",) * 25 + ("get_output",) * 25
TURNS += ("init_execution_context",) * 5 + ("load_by_name",) * 3 + ("load",) * 2


class Fuzzer:
    """Holds the models, and an instance that is made anew for each block."""

    block = 1_000

    def __init__(self) -> None:
        folder = scratch("fuzz")
        self._cache = SessionCache(
            RuntimeSettings(model_threads=1), engine()[1], caps=ALL, empty_dir=folder / "empty"
        )
        files = {"dense": dense(), "mixed": mixed(), "empty": empty()}
        self._models: Sessions = {n: self._cache.acquire(ref(d, n), d) for n, d in files.items()}
        self._brought = [
            dense(),
            empty(),
            typed(TensorProto.INT8, ["N"]),
            typed(TensorProto.BOOL, ["A", 2]),
            typed(TensorProto.FLOAT16, []),
        ]
        self._guest = compiled(seed_guest("i32.const 0"), manifest())
        self._box: Sandbox | None = None
        self._sides: list[_Side] = []
        self.fresh()

    def fresh(self) -> None:
        """Begin a block with a new instance, so that a block can be repeated alone."""
        for side in self._sides:
            side.loader.close()
        if self._box is not None:
            self._box.close()
        limits = Limits(memory_bytes=2 * MIB, run_ms=5000, output_bytes=MIB)
        self._box = Sandbox(self._guest, Hal("fuzz", ALL, {}, log_lines_max=0), limits, engine()[1])
        self._write(NAMES_AT, b"".join(n.ljust(16, b"\0") for n in NAMES))
        self._sides = [
            _Side(self._models, self._loader(), loads=True),
            _Side(self._models, self._loader(), loads=False),
            _Side(None, self._loader(), loads=True),
        ]
        for i in range(len(self._models)):  # graphs 1, 3, 5 and contexts 2, 4, 6
            for side in self._sides[:2]:
                side.call(self._box, "load_by_name", [NAMES_AT + 16 * i, 5, OUT_AT])
                side.call(self._box, "init_execution_context", [2 * i + 1, OUT_AT])

    def round(self, rng: Random) -> str:
        """Make one call."""
        assert self._box is not None
        side = self._sides[rng.choice((0,) * 16 + (1, 1, 1, 2))]
        name = rng.choice(TURNS)
        end = self._box.memory.size
        made = getattr(self, f"_{name}")(rng, side, end)
        args = [a & 0xFFFFFFFF for a in made]
        errno = side.call(self._box, name, args, compare=rng.random() < COMPARED)
        return f"{name} {Errno(errno).name.lower()}"

    def _loader(self) -> Loader:
        encodings = RuntimeSettings().load_encodings
        return Loader(self._cache, bytes_max=LOAD_BYTES_MAX, encodings=encodings)

    def _write(self, at: int, data: bytes) -> None:
        assert self._box is not None
        place = self._box.memory.slice(at, len(data))
        if place is not None:
            place[:] = np.frombuffer(data, np.uint8)

    # ------------------------------------------------------------------ arguments

    def _load(self, rng: Random, side: "_Side", end: int) -> list[int]:
        model = rng.choice(self._brought)
        if rng.random() < 0.3:
            model = mutated(rng, model, self._brought)
        self._write(MODEL_AT, model)
        builders = [[MODEL_AT, len(model)]]
        if rng.random() < 0.3:
            builders.insert(rng.randrange(2), [rng.randrange(end), 0])
        if rng.random() < 0.2:
            builders = [spoiled(rng, b, end, 1) for b in builders]
        words = np.array([[w & 0xFFFFFFFF for w in b] for b in builders], "<u4")
        self._write(BUILDERS_AT, words.tobytes())
        encoding = rng.choice((1, 1, 5, 6, 0, 2))
        args = [BUILDERS_AT, len(builders), encoding, rng.randrange(4), OUT_AT]
        return spoiled(rng, args, end, rng.choice((0, 0, 0, 1)))

    def _load_by_name(self, rng: Random, side: "_Side", end: int) -> list[int]:
        i = rng.randrange(len(NAMES))
        args = [NAMES_AT + 16 * i, len(NAMES[i]), OUT_AT]
        return spoiled(rng, args, end, rng.randrange(3))

    def _init_execution_context(self, rng: Random, side: "_Side", end: int) -> list[int]:
        args = [rng.choice(side.graphs or [1]), OUT_AT + 4 * rng.randrange(4)]
        return spoiled(rng, args, end, rng.choice((0, 0, 1)))

    def _set_input(self, rng: Random, side: "_Side", end: int) -> list[int]:
        handle, session = side.context(rng)
        wrong = rng.choice((0, 0, 0, 0, 1, 1, 2))
        index, record, shape = 0, [DIMS_AT, 0, 1, DATA_AT, 4], []
        if session is not None and session.inputs:
            index = rng.randrange(len(session.inputs))
            record, shape = good(rng, session, index)
        if wrong and rng.random() < 0.4:
            shape = [rng.choice((*EDGES, *shape)) & 0xFFFFFFFF for _ in shape]
        self._write(DIMS_AT, np.array(shape, "<u4").tobytes())
        if wrong and rng.random() < 0.6:
            record = spoiled(rng, record, end, 1)
        self._write(RECORD_AT, packed(record))
        return spoiled(rng, [handle, index, RECORD_AT], end, int(wrong > 1))

    def _compute(self, rng: Random, side: "_Side", end: int) -> list[int]:
        return spoiled(rng, [side.context(rng)[0]], end, int(rng.random() < 0.05))

    def _get_output(self, rng: Random, side: "_Side", end: int) -> list[int]:
        handle, session = side.context(rng)
        index = rng.randrange(len(session.outputs) or 1) if session is not None else 0
        pointer = rng.choice((ANSWER_AT, ANSWER_AT, ANSWER_AT + 1, end - rng.randrange(64)))
        args = [handle, index, pointer, rng.choice((4096, 64, 16)), OUT_AT]
        return spoiled(rng, args, end, rng.choice((0, 0, 0, 1)))


class _Side:
    """The functions as one kind of instance has them, and what it was given by them."""

    def __init__(self, models: Sessions | None, loader: Loader, *, loads: bool) -> None:
        self.loader = loader
        self.graphs: list[int] = []
        self.contexts: list[int] = []
        self._host = NnHost(models, _work, loader if loads else None, bytes_max=KEPT_BYTES_MAX)
        self._calls = self._host.calls()

    def context(self, rng: Random) -> tuple[int, ModelSession | None]:
        """Return a context of this side, mostly one of the first few, and its model."""
        if not self.contexts:
            return 2, None
        handle = rng.choice(self.contexts[:4] if rng.random() < 0.7 else self.contexts)
        return handle, self._host._contexts[handle].session

    def call(self, box: Sandbox, name: str, args: Sequence[int], *, compare: bool = True) -> int:
        """Make a call and check what came of it; return its errno."""
        memory = box.memory
        whole = memory.slice(0, memory.size)
        assert whole is not None
        before = whole.copy() if compare else None
        try:
            errno = int(self._calls[name](memory, *args) or 0)
        except MeshnodeError:
            errno = int(Errno.RUNTIME_ERROR)
            if name not in ("load", "compute"):  # only models fail so
                raise
        assert errno in ERRNOS, errno
        written: list[tuple[int, int]] = []
        if not errno:
            written = self._written(name, args, whole)
        if before is not None:
            assert not changed_outside(before, whole, written), (name, args, errno)
        self._check_quotas()
        return errno

    def _written(self, name: str, args: Sequence[int], memory: np.ndarray) -> list[tuple[int, int]]:
        """Return what a success may have written; its new handle is noted."""
        if name in ("set_input", "compute"):
            return []
        out = args[-1]
        word = int.from_bytes(memory[out : out + 4].tobytes(), "little")
        if name == "get_output":
            assert word <= args[3], "more than the guest has room for"
            return [(out, out + 4), (args[2], args[2] + word)]
        assert word > max((0, *self.graphs, *self.contexts)), "a handle was used again"
        (self.contexts if name == "init_execution_context" else self.graphs).append(word)
        return [(out, out + 4)]

    def _check_quotas(self) -> None:
        assert len(self.graphs) <= NN_GRAPHS_MAX
        assert len(self.contexts) <= NN_CONTEXTS_MAX
        assert self.loader.bytes_left >= 0
        contexts = self._host._contexts.values()
        kept = sum(c.kept_bytes for c in contexts)
        assert kept == self._host._kept <= KEPT_BYTES_MAX
        there = sum(sum(i.size for i in c.inputs) + sum(map(len, c.outputs)) for c in contexts)
        assert there <= kept, "the host keeps more than it counts"


def _work(run: Callable[[float], None]) -> None:
    ticker = engine()[1]
    deadline, _ = ticker.begin(5.0)
    try:
        run(deadline)
    finally:
        ticker.leave()


def good(rng: Random, session: ModelSession, index: int) -> tuple[list[int], list[int]]:
    """Return the record and the dims of a tensor that the model's input takes."""
    tensor = session.inputs[index]
    rows = rng.choice((1, 1, 1, 2, 5, 0, 40))
    shape = [d & 0xFFFFFFFF if isinstance(d, int) else rows for d in tensor.shape] or rng.choice(
        ([], [1])
    )
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(tensor.dtype).itemsize
    data = DATA_AT + rng.choice((0, 0, 0, 1, 4))
    return [DIMS_AT, len(shape), TENSOR_TYPES[tensor.dtype], data, size], shape
