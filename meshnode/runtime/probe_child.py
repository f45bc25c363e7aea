"""The process that touches an accelerator first: `python -m meshnode.runtime.probe_child`.

`ask` prints what onnxruntime says it has; `try JSON` runs one convolution on a provider alone and
prints in what it differs from the CPU, or nothing.
"""

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from meshnode.errors import MeshnodeError
from meshnode.runtime import ort
from meshnode.runtime.onnx_writer import Node, write_model

TOLERANCE = 0.02
"""Absolute, and relative above 1. Accelerators compute in half precision or TF32, whose error on
these sums of 27 products is some 0.002; a driver that is broken is wrong by far more."""
_CPU = "CPUExecutionProvider"
_SEED = 6174


def probe_model() -> tuple[bytes, np.ndarray]:
    """Return a convolution with fixed shapes, which every accelerator must be able to do."""
    rng = np.random.default_rng(_SEED)
    weights: dict[str, np.ndarray] = {
        "w": rng.standard_normal((4, 3, 3, 3)).astype(np.float32) / 3,
        "b": rng.standard_normal(4).astype(np.float32),
    }
    nodes = [
        Node(op="Conv", inputs=("x", "w", "b"), outputs=("h",), attributes={"pads": (1, 1, 1, 1)}),
        Node(op="Relu", inputs=("h",), outputs=("y",)),
    ]
    model = write_model(
        nodes, inputs={"x": (1, 3, 8, 8)}, outputs={"y": (1, 4, 8, 8)}, weights=weights
    )
    return model, rng.standard_normal((1, 3, 8, 8)).astype(np.float32)


def difference(got: np.ndarray, wanted: np.ndarray) -> str:
    """Return in what an accelerator's answer differs from the CPU's, or nothing."""
    if got.shape != wanted.shape:
        return f"its answer has the shape {got.shape}, the CPU's {wanted.shape}"
    if not np.isfinite(got).all():
        return "its answer is not finite, the CPU's is"
    apart = np.abs(got - wanted) / np.maximum(1, np.abs(wanted))
    worst = float(apart.max())
    return f"its answer differs from the CPU's by {worst:.3g}" if worst > TOLERANCE else ""


def verdict(provider: str, options: Mapping[str, str], *, memory_pattern: bool = True) -> str:
    """Return why a provider cannot be used, or nothing."""
    model, x = probe_model()
    with tempfile.TemporaryDirectory(prefix="meshnode-") as empty:
        try:
            wanted = _run(model, x, [_CPU], Path(empty), {}, memory_pattern=True)
            # Alone: with the CPU behind it, a provider that takes no node would seem to work.
            alone = {} if provider == _CPU else {"session.disable_cpu_ep_fallback": "1"}
            given: list[ort.Provider] = [(provider, dict(options))]
            got = _run(model, x, given, Path(empty), alone, memory_pattern=memory_pattern)
        except MeshnodeError as error:
            return error.message
    return difference(got, wanted)


def _run(
    model: bytes,
    x: np.ndarray,
    providers: "Sequence[ort.Provider]",
    empty: Path,
    entries: Mapping[str, str],
    *,
    memory_pattern: bool,
) -> np.ndarray:
    options = ort.session_options(threads=1, spin=False, empty_dir=empty)
    options.enable_mem_pattern = memory_pattern
    for key, value in entries.items():
        options.add_session_config_entry(key, value)
    session = ort.open_session(model, options, providers)
    (answer,) = session.run(None, {"x": x})
    return np.asarray(answer)


def _say(key: str, value: object) -> None:
    sys.stdout.write(f"{key}={value if key == 'verdict' else json.dumps(value)}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    """Do what the arguments ask for."""
    if arguments[0] == "ask":
        _say("available", ort.available_providers())
        _say("devices", ort.ep_devices())
        if (openvino := ort.openvino_devices()) is not None:
            _say("openvino", openvino)
        return 0
    provider, options, memory_pattern = json.loads(arguments[1])
    _say("verdict", verdict(provider, options, memory_pattern=memory_pattern))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
