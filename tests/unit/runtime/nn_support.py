"""Calls the six functions of wasi-nn directly on a real guest memory, and guests that call them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from meshnode.runtime.abi import RECORD
from meshnode.runtime.nn import NnHost
from meshnode.runtime.nn_loader import Loader
from meshnode.runtime.sessions import SessionCache, Sessions
from meshnode.runtime.settings import RuntimeSettings
from meshnode.wire.limits import MIB
from tests.unit.runtime.support import ALL, SEED_HEAD, engine, model, ref, sandbox, seed_guest

FAR = 0xFFFF_FFF0
NAME, HANDLE, TENSOR, DIMS, WRITTEN, BUILDERS, DATA, OUT = (
    64, 128, 160, 256, 384, 512, 4096, 32768,
)  # fmt: skip
"""Where the tests put things in the guest's memory."""

IMPORTS = """
  (import "wasi_ephemeral_nn" "load"
    (func $load (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_ephemeral_nn" "load_by_name" (func $by_name (param i32 i32 i32) (result i32)))
  (import "wasi_ephemeral_nn" "init_execution_context" (func $context (param i32 i32) (result i32)))
  (import "wasi_ephemeral_nn" "set_input" (func $set_input (param i32 i32 i32) (result i32)))
  (import "wasi_ephemeral_nn" "get_output"
    (func $get_output (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_ephemeral_nn" "compute" (func $compute (param i32) (result i32)))
"""
OPEN = """
  (call $by_name (i32.const 64) (i32.const 5) (i32.const 128))
  (i32.or (call $context (i32.load (i32.const 128)) (i32.const 132)))
"""
"""Leaves an errno; the graph's handle is at 128, the context's at 132."""
COLUMNS = 4
RUN = f"""
  (i32.store (i32.const 160) (i32.const 256)) (i32.store (i32.const 164) (i32.const 2))
  (i32.store8 (i32.const 168) (i32.const 1)) (i32.store (i32.const 172) (local.get $in))
  (i32.store (i32.const 176) (i32.mul (local.get $in_len) (i32.const 4)))
  (i32.store (i32.const 256) (i32.div_u (local.get $in_len) (i32.const {COLUMNS})))
  (i32.store (i32.const 260) (i32.const {COLUMNS}))
  (call $set_input (i32.load (i32.const 132)) (i32.const 0) (i32.const 160))
  (i32.or (call $compute (i32.load (i32.const 132))))
  (i32.or (call $get_output (i32.load (i32.const 132)) (i32.const 0) (local.get $out)
    (i32.mul (local.get $out_len) (i32.const 4)) (i32.const 384)))
"""
"""Runs $in as float32 [rows,4]; leaves an errno."""
MEMORY = '(memory (export "memory") 1) (data (i32.const 64) "model")'
RUNNER = seed_guest(RUN, f'{IMPORTS}{MEMORY} (func (export "init") (result i32) {OPEN})')
STARTER = seed_guest(
    RUN,
    f"""{IMPORTS}{MEMORY} (global $opened (mut i32) (i32.const 99))
      (func $open (global.set $opened {OPEN})) (start $open)
      (func (export "init") (result i32) global.get $opened)""",
)
"""Opens its model in the start function, before anybody knows its exports."""


def typed(element: int, shape: list[object]) -> bytes:
    """A model of one element type, y = x."""
    return model(
        [helper.make_node("Identity", ["x"], ["y"])],
        {"x": (element, shape)},
        {"y": (element, shape)},
    )


def two_inputs() -> bytes:
    """y = x * rate, rate a scalar."""
    return model(
        [helper.make_node("Mul", ["x", "rate"], ["y"])],
        {"x": (TensorProto.FLOAT, ["N", 4]), "rate": (TensorProto.FLOAT, [])},
        {"y": (TensorProto.FLOAT, ["N", 4])},
    )


def cache(folder: Path) -> SessionCache:
    return SessionCache(RuntimeSettings(), engine()[1], caps=ALL, empty_dir=folder / "empty")


def sessions(folder: Path, **models: bytes) -> Sessions:
    opened = cache(folder)
    return {name: opened.acquire(ref(data), data) for name, data in models.items()}


def loaded_by(opened: SessionCache, bytes_max: int) -> Loader:
    encodings = RuntimeSettings().load_encodings
    return Loader(opened, bytes_max=bytes_max, encodings=encodings)


class Nn:
    """The functions, by name, with what the guest's memory holds set before."""

    def __init__(
        self, models: Sessions | None, loader: Loader | None = None, *, bytes_max: int = MIB
    ) -> None:
        self._box = sandbox(seed_guest("i32.const 0", SEED_HEAD))
        self.memory = self._box.memory
        self.host = NnHost(models, self._work, loader, bytes_max=bytes_max)
        self._calls = self.host.calls()
        self.call_seconds = 5.0

    def _work(self, work: Callable[[float], None]) -> None:
        ticker = engine()[1]
        deadline, _ = ticker.begin(self.call_seconds)
        try:
            work(deadline)
        finally:
            ticker.leave()

    def call(self, name: str, *args: int) -> int:
        result = self._calls[name](self.memory, *args)
        assert result is not None
        return int(result)

    def put(self, pointer: int, data: bytes) -> None:
        target = self.memory.slice(pointer, len(data))
        assert target is not None
        target[:] = np.frombuffer(data, np.uint8)

    def get(self, pointer: int, size: int) -> bytes:
        source = self.memory.slice(pointer, size)
        assert source is not None
        return source.tobytes()

    def word(self, pointer: int) -> int:
        return int.from_bytes(self.get(pointer, 4), "little")

    def by_name(self, name: str) -> int:
        self.put(NAME, name.encode())
        return self.call("load_by_name", NAME, len(name), HANDLE)

    def context(self, name: str) -> int:
        """Open a model and a context of it; return the context."""
        assert self.by_name(name) == 0
        assert self.call("init_execution_context", self.word(HANDLE), HANDLE) == 0
        return self.word(HANDLE)

    def load(self, data: bytes, *, encoding: int = 1, count: int = 1, target: int = 0) -> int:
        self.put(DATA, data)
        listed = DATA.to_bytes(4, "little") + len(data).to_bytes(4, "little")
        self.put(BUILDERS, listed * min(count, 32))
        return self.call("load", BUILDERS, count, encoding, target, HANDLE)

    def tensor(
        self,
        array: np.ndarray,
        number: int,
        *,
        dims: Sequence[int] | None = None,
        size: int | None = None,
        data: int = DATA,
    ) -> None:
        """Write a tensor to the memory, and its record to TENSOR."""
        dims = array.shape if dims is None else dims
        self.put(DIMS, b"".join(d.to_bytes(4, "little") for d in dims))
        self.put(data, array.tobytes())
        size = array.nbytes if size is None else size
        record = bytearray(RECORD.pack(DIMS, len(dims), number, data, size))
        record[9:12] = b"\xaa\xbb\xcc"  # padding is undefined in what compilers make
        self.put(TENSOR, bytes(record))

    def set_input(self, context: int, index: int, array: np.ndarray, number: int) -> int:
        self.tensor(array, number)
        return self.call("set_input", context, index, TENSOR)

    def output(self, context: int, index: int = 0, *, room: int = 4096) -> tuple[int, bytes]:
        errno = self.call("get_output", context, index, OUT, room, WRITTEN)
        return errno, self.get(OUT, self.word(WRITTEN)) if not errno else b""
