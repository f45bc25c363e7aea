"""Host functions on the memory of a real instance, with arguments and records that are half right.

A call that is wrong in everything ends at the first check; so each starts from a good one and gets
one to four things wrong. Asserted: only errnos come back, nothing is raised, a failure has its
reason, and errno 1 has changed nothing in the guest's memory. That no byte outside it was touched
shows in that the process lives.
"""

from collections.abc import Callable
from contextlib import suppress
from random import Random

import numpy as np
from onnx import TensorProto, helper

from meshnode.errors import MeshnodeError
from meshnode.modules.manifest import Limits
from meshnode.runtime.abi import IMPORTS, RECORD, TENSOR_TYPES, Errno
from meshnode.runtime.binding import HostCall, NoMemory
from meshnode.runtime.hal import Hal
from meshnode.runtime.sandbox import Sandbox
from meshnode.runtime.sessions import ModelSession, SessionCache, Sessions
from meshnode.runtime.settings import RuntimeSettings
from meshnode.wire.limits import MIB
from tests.fuzz.long.mutate import EDGES
from tests.fuzz.long.quiet import quiet_guests
from tests.scratch import scratch
from tests.unit.runtime.support import (
    ALL,
    compiled,
    dense,
    engine,
    manifest,
    model,
    ref,
    seed_guest,
)

NAMES_AT, IN_AT, OUT_AT, DIMS_AT, DATA_AT = 16, 256, 512, 1024, 4096
"""Where the good call's things lie; each tensor has 64 bytes of dims and 1 KiB of data."""
NAMES = (b"dense", b"mixed", b"empty", b"nothing")
ERRNOS = {int(e) for e in Errno}
COMPARED = 1 / 8


def mixed() -> bytes:
    """A model of four inputs of other types, a scalar among them, and three outputs."""
    return model(
        [
            helper.make_node("Cast", ["flags"], ["f"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["x", "rate"], ["a"]),
            helper.make_node("Add", ["a", "f"], ["y"]),
            helper.make_node("Add", ["ids", "ids"], ["twice"]),
            helper.make_node("NonZero", ["flags"], ["where"]),
        ],
        {
            "x": (TensorProto.FLOAT, ["N", 3]),
            "rate": (TensorProto.FLOAT, []),
            "ids": (TensorProto.INT64, ["N"]),
            "flags": (TensorProto.BOOL, ["N", 3]),
        },
        {
            "y": (TensorProto.FLOAT, ["N", 3]),
            "twice": (TensorProto.INT64, ["N"]),
            "where": (TensorProto.INT64, [2, "K"]),
        },
    )


def empty() -> bytes:
    """A model without inputs."""
    return model(
        [helper.make_node("Constant", [], ["y"], value_floats=[1.0, 2.0])],
        {},
        {"y": (TensorProto.FLOAT, [2])},
    )


class Fuzzer:
    """Holds the models and an instance, which is made anew for each block."""

    block = 5_000

    def __init__(self) -> None:
        quiet_guests()
        folder = scratch("fuzz")
        cache = SessionCache(
            RuntimeSettings(model_threads=1), engine()[1], caps=ALL, empty_dir=folder / "empty"
        )
        files = {"dense": dense(), "mixed": mixed(), "empty": empty()}
        self._sessions: Sessions = {n: cache.acquire(ref(d, n), d) for n, d in files.items()}
        self._models = list(self._sessions.values())
        self._guest = compiled(seed_guest("i32.const 0"), manifest())
        self._box: Sandbox | None = None
        self.fresh()

    def fresh(self) -> None:
        """Begin a block with a new instance, so that a block can be repeated alone."""
        if self._box is not None:
            self._box.close()
        limits = Limits(memory_bytes=2 * MIB, run_ms=5000, output_bytes=MIB)
        self._hal = Hal("fuzz", ALL, self._sessions, log_lines_max=4)
        self._box = Sandbox(self._guest, self._hal, limits, engine()[1])
        self._calls: dict[str, HostCall] = {
            key[1]: each.call
            for key, each in self._hal.imports([k for k in IMPORTS if k[0] == "meshnode"]).items()
        }
        self._write(NAMES_AT, b"".join(n.ljust(16, b"\0") for n in NAMES))
        for i in range(len(self._models)):  # handles 1, 2, 3
            self._calls["model_open"](self._box.memory, NAMES_AT + 16 * i, 5)

    def round(self, rng: Random) -> str:
        """Make one call."""
        assert self._box is not None
        memory = self._box.memory
        if rng.random() < 0.001:
            with suppress(NoMemory):
                memory.grow(rng.choice((0, 1, 3)))
        end = memory.size
        name = rng.choice(
            ("infer", "infer", "infer", "describe", "model_open", "log", "query_caps")
        )
        args = getattr(self, f"_{name}")(rng, end)
        before = None
        if rng.random() < COMPARED:
            whole = memory.slice(0, end)
            assert whole is not None
            before = whole.copy()
        self._hal.begin(engine()[1].now() + 5.0)
        result = self._calls[name](memory, *[a & 0xFFFFFFFF for a in args])
        return f"{name} {self._checked(name, result, before)}"

    def _checked(self, name: str, result: int | None, before: np.ndarray | None) -> str:
        if name in ("log", "query_caps"):
            assert result == (None if name == "log" else 1)
            return "done"
        assert result is not None
        if name == "model_open" and result > 0:
            return "opened"
        errno = abs(result)
        assert errno in ERRNOS, result
        if errno == Errno.RUNTIME_ERROR:
            assert isinstance(self._hal.fault, MeshnodeError)
            assert "a host function failed" not in self._hal.fault.message, self._hal.fault
        else:
            assert self._hal.fault is None
        if errno == Errno.INVALID_ARGUMENT and before is not None and self._box is not None:
            after = self._box.memory.slice(0, len(before))
            assert after is not None
            assert np.array_equal(before, after), "errno 1 changed the guest's memory"
        return Errno(errno).name.lower()

    def _write(self, at: int, data: bytes) -> None:
        assert self._box is not None
        place = self._box.memory.slice(at, len(data))
        if place is not None:
            place[:] = np.frombuffer(data, np.uint8)

    # ------------------------------------------------------------------ arguments

    def _query_caps(self, rng: Random, end: int) -> list[int]:
        return []

    def _log(self, rng: Random, end: int) -> list[int]:
        return spoiled(rng, [rng.randrange(5), rng.randrange(end), rng.randrange(2000)], end, 2)

    def _model_open(self, rng: Random, end: int) -> list[int]:
        i = rng.randrange(len(NAMES))
        return spoiled(rng, [NAMES_AT + 16 * i, len(NAMES[i])], end, rng.randrange(3))

    def _describe(self, rng: Random, end: int) -> list[int]:
        handle = rng.randrange(len(self._models)) + 1
        session = self._models[handle - 1]
        direction = rng.randrange(2)
        tensors = session.outputs if direction else session.inputs
        fields = spoiled(
            rng, [DIMS_AT, rng.choice((16, 16, 2, 0)), 1, DATA_AT, 64], end, rng.randrange(2)
        )
        self._write(OUT_AT, packed(fields))
        args = [handle, direction, rng.randrange(len(tensors) or 1), OUT_AT]
        return spoiled(rng, args, end, rng.randrange(2))

    def _infer(self, rng: Random, end: int) -> list[int]:
        handle = rng.randrange(len(self._models)) + 1
        session = self._models[handle - 1]
        records, dims, at = self._inputs(rng, session)
        wrong = rng.choice((0, 0, 1, 1, 2, 4))
        for _ in session.outputs:
            dims_at = DIMS_AT + 64 * at
            records.append([dims_at, rng.choice((16, 2, 1)), 1, DATA_AT + 1024 * at, 1024])
            at += 1
        count = len(session.inputs)
        while wrong and rng.random() < 0.8:
            wrong -= 1
            at = rng.randrange(len(records))
            records[at] = spoiled(rng, records[at], end, 1)
        for i, shape in enumerate(dims):
            if wrong and rng.random() < 0.5:
                shape = [rng.choice((*EDGES, *shape)) & 0xFFFFFFFF for _ in shape]
            self._write(DIMS_AT + 64 * i, np.array(shape, "<u4").tobytes())
        self._write(IN_AT, b"".join(map(packed, records[:count])))
        self._write(OUT_AT, b"".join(map(packed, records[count:])))
        args = [handle, IN_AT, count, OUT_AT, rng.randrange(len(session.outputs) + 1)]
        return spoiled(rng, args, end, min(wrong, 1))

    def _inputs(
        self, rng: Random, session: ModelSession
    ) -> tuple[list[list[int]], list[list[int]], int]:
        """Return good records of a model's inputs with their dims, and how many there are."""
        rows = rng.choice((1, 1, 2, 5, 0))
        records, dims = [], []
        for i, tensor in enumerate(session.inputs):
            shape = [d if isinstance(d, int) else rows for d in tensor.shape]
            if not shape and rng.random() < 0.5:
                shape = [1]
            size = int(np.prod(shape, dtype=np.int64)) * np.dtype(tensor.dtype).itemsize
            number = TENSOR_TYPES[tensor.dtype]
            data = DATA_AT + 1024 * i + rng.choice((0, 0, 0, 1, 4))
            records.append([DIMS_AT + 64 * i, len(shape), number, data, size])
            dims.append(shape)
        return records, dims, len(records)


def packed(fields: list[int]) -> bytes:
    a, b, number, c, d = fields
    return RECORD.pack(
        a & 0xFFFFFFFF, b & 0xFFFFFFFF, number & 0xFF, c & 0xFFFFFFFF, d & 0xFFFFFFFF
    )


def spoiled(rng: Random, values: list[int], end: int, times: int) -> list[int]:
    """Return the values with so many of them replaced by one at an edge."""
    made = list(values)
    for _ in range(times if made else 0):
        made[rng.randrange(len(made))] = HOSTILE[rng.randrange(len(HOSTILE))](rng, end)
    return made


HOSTILE: tuple[Callable[[Random, int], int], ...] = (
    lambda rng, end: rng.choice(EDGES),
    lambda rng, end: end - rng.randrange(32),
    lambda rng, end: end + rng.randrange(3),
    lambda rng, end: -rng.randrange(1, 64),
    lambda rng, end: rng.randrange(20),
    lambda rng, end: rng.randrange(2**32),
    lambda rng, end: rng.choice((IN_AT, OUT_AT, DIMS_AT, DATA_AT)) + rng.randrange(24),
)
