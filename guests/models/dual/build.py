"""Makes the network of `guests/dual` twice from one table: an ONNX file, and a header for C.

    python guests/models/dual/build.py            write dist/dual.onnx, its digest, dual/weights.h
    python guests/models/dual/build.py --check    make them again and compare

The network hears rhythms: of 16 samples it tells how strongly each of four square waves (periods
16, 8, 4 and 2) is in them, whatever their sign: y = B relu(A x + a). The waves are orthogonal, so
a pure one lights up one output alone. `a` is a dead zone: what is weaker than 1/16 counts as noise.
"""

import argparse
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

GUESTS = Path(__file__).resolve().parents[2]
MODEL = GUESTS / "dist" / "dual.onnx"
HEADER = GUESTS / "dual" / "weights.h"
SAMPLES, RHYTHMS = 16, 4
OPSET, IR_VERSION = 17, 8


def weights() -> dict[str, np.ndarray]:
    """Return A, a and B."""
    waves = [[1 - 2 * (i >> (3 - k) & 1) for i in range(SAMPLES)] for k in range(RHYTHMS)]
    along = np.array(waves, np.float32) / SAMPLES
    return {
        "A": np.concatenate([along, -along]),
        "a": np.full(2 * RHYTHMS, -1 / 16, np.float32),
        "B": np.tile(np.eye(RHYTHMS, dtype=np.float32), (1, 2)),
    }


def to_onnx(tables: dict[str, np.ndarray]) -> bytes:
    """Return the ONNX file."""
    nodes = [
        helper.make_node("Gemm", ["x", "A", "a"], ["h"], transB=1),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "B"], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "dual",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", SAMPLES])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", RHYTHMS])],
        [numpy_helper.from_array(table, name) for name, table in sorted(tables.items())],
    )
    model = helper.make_model(
        graph,
        producer_name="meshnode",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def to_c(tables: dict[str, np.ndarray]) -> str:
    """Return the same tables as a C header."""
    lines = ["/* Written by guests/models/dual/build.py: the weights of dual.onnx. */"]
    for name, table in sorted(tables.items()):
        size = "".join(f"[{n}]" for n in table.shape)
        lines.append(f"static const float {name}{size} = {{")
        for row in np.atleast_2d(table):
            inner = ", ".join(f"{float(v)!r}f" for v in row)
            lines.append(f"    {{{inner}}}," if table.ndim > 1 else f"    {inner},")
        lines.append("};")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write both, or check them."""
    parser = argparse.ArgumentParser(description="Make the network of the dual guest.")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    tables = weights()
    model, header = to_onnx(tables), to_c(tables)
    if parser.parse_args().check:
        same = (model, header) == (MODEL.read_bytes(), HEADER.read_text())
        print("both are what this source makes" if same else "differs: dual.onnx or weights.h")
        return 0 if same else 1
    MODEL.write_bytes(model)
    MODEL.with_name(f"{MODEL.name}.sha256").write_text(
        f"{sha256(model).hexdigest()}  {MODEL.name}\n"
    )
    HEADER.write_text(header)
    print(f"{MODEL.name}: {len(model)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
