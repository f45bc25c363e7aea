"""Builds guests and models for the tests of the runtime. Guests are compiled in this process."""

from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from wasmtime import Engine, Module, wat2wasm

from meshnode.assets import asset
from meshnode.caps import Caps
from meshnode.ids import ContentHash
from meshnode.modules.manifest import Limits, Manifest, ModelRef, TensorSpec
from meshnode.runtime import growth
from meshnode.runtime.calls import InferAbi
from meshnode.runtime.engine import make_engine
from meshnode.runtime.hal import Hal
from meshnode.runtime.nn_loader import Loader
from meshnode.runtime.preflight import preflight
from meshnode.runtime.sandbox import CompiledGuest, Sandbox
from meshnode.runtime.seed_calls import SeedAbi
from meshnode.runtime.sessions import Sessions
from meshnode.runtime.ticker import Ticker
from meshnode.runtime.wasi_stdio import Stdio
from meshnode.wire.limits import MIB

ALL = Caps.CPU | Caps.NN
X = TensorSpec(name="x", dtype="float32", shape=(-1, 4))
Y = TensorSpec(name="y", dtype="float32", shape=(-1, 4))
SEED_HEAD = """
  (memory (export "memory") 1)
  (func (export "init") (result i32) i32.const 0)
"""
OPSETS = [helper.make_opsetid("", 17)]


def manifest(**changes: object) -> Manifest:
    fields: dict[str, object] = {
        "name": "test",
        "version": "1.0.0",
        "abi": "seed",
        "inputs": (X,),
        "outputs": (Y,),
        "required": ALL,
        "limits": Limits(memory_bytes=2 * MIB, run_ms=100, output_bytes=MIB),
    }
    return Manifest(**(fields | changes))  # type: ignore[arg-type]


def wat(text: str) -> bytes:
    return bytes(wat2wasm(f"(module {text})"))


def seed_guest(predict: str, head: str = SEED_HEAD) -> bytes:
    """A seed guest whose predict has this body; locals: $in $in_len $out $out_len."""
    return wat(
        head + '(func (export "predict") (param $in i32) (param $in_len i32) (param $out i32)'
        f" (param $out_len i32) (result i32) {predict})"
    )


def dist(name: str) -> bytes:
    return asset(f"{name}.wasm").read_bytes()


@cache
def engine() -> tuple[Engine, Ticker]:
    made = make_engine()
    return made, Ticker(made.increment_epoch, tick_ms=5)


def compiled(wasm: bytes, about: Manifest, allowed: Caps = ALL) -> CompiledGuest:
    key = (wasm, repr(about), allowed)  # a manifest holds a dict, so it cannot be a key itself
    if key not in _compiled:
        _compiled[key] = _compile(wasm, about, allowed)
    return _compiled[key]


_compiled: dict[tuple[bytes, str, Caps], CompiledGuest] = {}


def _compile(wasm: bytes, about: Manifest, allowed: Caps) -> CompiledGuest:
    guest = preflight(wasm, about, allowed=allowed, memory_bytes_max=64 * MIB)
    code = growth.note_refusals(guest, guest.scan())
    return CompiledGuest(
        engine=engine()[0],
        module=Module(engine()[0], code),
        imports=guest.import_types,
        exports=guest.export_types,
    )


def sandbox(
    wasm: bytes,
    about: Manifest | None = None,
    sessions: Sessions | None = None,
    *,
    caps: Caps = ALL,
    loader: Loader | None = None,
    stdio: Stdio | None = None,
) -> Sandbox:
    about = about or manifest()
    ticker = engine()[1]
    hal = Hal(
        about.name,
        caps,
        sessions or {},
        log_lines_max=4,
        loader=loader,
        stdio=stdio,
        now=ticker.now,
    )
    return Sandbox(compiled(wasm, about, caps), hal, about.limits, ticker)


def call(
    wasm: bytes,
    *arrays: np.ndarray,
    about: Manifest | None = None,
    sessions: Sessions | None = None,
) -> list[np.ndarray]:
    """Run once in a sandbox of its own."""
    about = about or manifest()
    box = sandbox(wasm, about, sessions)
    try:
        abi = (SeedAbi if about.abi == "seed" else InferAbi)(box, about)
        return abi.run(arrays, arrays[0].shape[0] if arrays[0].ndim else 1)
    finally:
        box.close()


# ------------------------------------------------------------------ models


def model(
    nodes: list[object],
    inputs: Mapping[str, tuple[int, list[object]]],
    outputs: Mapping[str, tuple[int, list[object]]],
    weights: Mapping[str, np.ndarray] | None = None,
) -> bytes:
    """Return the bytes of an ONNX file; tensors are (element type, shape)."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(n, t, s) for n, (t, s) in inputs.items()],
        [helper.make_tensor_value_info(n, t, s) for n, (t, s) in outputs.items()],
        [numpy_helper.from_array(a, n) for n, a in (weights or {}).items()],
    )
    return bytes(helper.make_model(graph, opset_imports=OPSETS, ir_version=8).SerializeToString())


def dense(rows: object = "N", size: int = 4, out: int = 3) -> bytes:
    """A layer of a perceptron: float32 x[N,4] -> y[N,3]."""
    rng = np.random.default_rng(1)
    return model(
        [
            helper.make_node("Gemm", ["x", "w", "b"], ["h"]),
            helper.make_node("Tanh", ["h"], ["y"]),
        ],
        {"x": (TensorProto.FLOAT, [rows, size])},
        {"y": (TensorProto.FLOAT, [rows, out])},
        {
            "w": rng.standard_normal((size, out)).astype(np.float32),
            "b": rng.standard_normal(out).astype(np.float32),
        },
    )


def endless() -> bytes:
    """A Loop of 2^60 rounds, y = x in the end that never comes."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Tanh", ["v"], ["v_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, [None, 4]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v_out", TensorProto.FLOAT, [None, 4]),
        ],
    )
    return model(
        [helper.make_node("Loop", ["trips", "yes", "x"], ["y"], body=body)],
        {"x": (TensorProto.FLOAT, ["N", 4])},
        {"y": (TensorProto.FLOAT, ["N", 4])},
        {"trips": np.array(2**60, np.int64), "yes": np.array(True)},
    )


def external(location: str) -> bytes:
    """A model whose weights lie in another file."""
    from onnx import external_data_helper, load_from_string

    proto = load_from_string(dense())
    tensor = proto.graph.initializer[0]
    external_data_helper.set_external_data(tensor, location=location, offset=0, length=48)
    tensor.ClearField("raw_data")
    return bytes(proto.SerializeToString())


def ref(data: bytes, name: str = "model", *, embedded: bool = False) -> ModelRef:
    digest = ContentHash(sha256(data).digest())
    return ModelRef(name=name, sha256=digest, size=len(data), embedded=embedded)


def empty_folder(path: Path) -> Path:
    folder = path / "empty"
    folder.mkdir(exist_ok=True)
    return folder
