"""Makes the detector of `guests/detect`: an ONNX model without training, of kernels that are known.

    python guests/models/detect/build.py            write dist/detect.onnx and its digest
    python guests/models/detect/build.py --check    make it again and compare

A pixel belongs to the class red, green or blue by as much as that channel exceeds the other two
together; white, grey and yellow belong to none. Over a window of 16 x 16 pixels six sums of each
class are taken by one convolution: the mass, its moments along x and y, and what lies on the
window's rim. From the moments follow centre and size of what is in the window, exactly if it is a
filled rectangle (a row of n pixels has the variance (n^2 - 1) / 12). The score says how well mass
and size agree, less what the rim cuts off. The same kernels run on the image halved and halved
again, so objects of 3 to 40 pixels find a window that fits.

Every constant is a small multiple of a power of two: the file is the same on every machine.
"""

import argparse
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

DIST = Path(__file__).resolve().parents[2] / "dist"
NAME = "detect.onnx"
SIDE, WINDOW, STRIDE, LEVELS, CLASSES = 64, 16, 4, 3, 3
KERNELS = 6
"""Of each class: mass, x, y, x^2, y^2, rim."""
OPSET, IR_VERSION = 17, 8


def kernels() -> np.ndarray:
    """Return the convolution's weights; places are counted in pixels from the window's middle."""
    place = np.arange(WINDOW, dtype=np.float32) - (WINDOW - 1) / 2
    x, y = np.broadcast_to(place, (WINDOW, WINDOW)), place[:, None] + np.zeros_like(place)
    rim = np.ones((WINDOW, WINDOW), np.float32)
    rim[1:-1, 1:-1] = 0
    one = np.stack([np.ones_like(x), x, y, x * x, y * y, rim])[:, None]
    return np.tile(one, (CLASSES, 1, 1, 1)).astype(np.float32)


def level(i: int, flow: str) -> tuple[list[onnx.NodeProto], str]:
    """Return the nodes that look at one level of the pyramid, and the name of their cells."""

    def n(name: str) -> str:
        return f"{name}{i}"

    def node(op: str, given: list[str], out: str, **more: object) -> onnx.NodeProto:
        return helper.make_node(op, given, [n(out)], **more)

    pad = (WINDOW - STRIDE) // 2
    split = [n(name) for name in ("mass", "sx", "sy", "sxx", "syy", "rim")]
    nodes = [
        node(
            "Conv", [flow, "kernels"], "sums", group=CLASSES, strides=[STRIDE] * 2, pads=[pad] * 4
        ),
        node("Reshape", [n("sums"), n("by_class")], "grouped"),
        helper.make_node("Split", [n("grouped"), "ones"], split, axis=2),
        node("Add", [n("mass"), "tiny"], "safe"),
    ]
    for axis in "xy":
        nodes += [
            node("Div", [n(f"s{axis}"), n("safe")], f"c{axis}"),
            node("Mul", [n(f"c{axis}"), n(f"c{axis}")], f"cc{axis}"),
            node("Div", [n(f"s{axis}{axis}"), n("safe")], f"m{axis}"),
            node("Sub", [n(f"m{axis}"), n(f"cc{axis}")], f"v{axis}"),
            node("Relu", [n(f"v{axis}")], f"w{axis}"),
            node("Mul", [n(f"w{axis}"), "twelve"], f"t{axis}"),
            node("Add", [n(f"t{axis}"), "one"], f"u{axis}"),
            node("Sqrt", [n(f"u{axis}")], f"size{axis}"),
        ]
    nodes += [
        node("Mul", [n("sizex"), n("sizey")], "area"),
        node("Div", [n("mass"), n("area")], "filled"),
        node("Div", [n("rim"), n("safe")], "cut"),
        node("Mul", [n("cut"), "four"], "fine"),
        node("Sub", [n("filled"), n("fine")], "raw"),
        node("Clip", [n("raw"), "zero", "one"], "score"),
        node("Concat", [n(p) for p in ("score", "cx", "cy", "sizex", "sizey")], "parts", axis=2),
        node("Transpose", [n("parts")], "turned", perm=[0, 2, 1, 3, 4]),
        node("Reshape", [n("turned"), n("flat")], "cells"),
    ]
    return nodes, n("cells")


def build() -> bytes:
    """Return the file's bytes."""
    colours = (2 * np.eye(CLASSES, dtype=np.float32) - 1)[:, :, None, None]
    constants = {
        "colours": colours / 2,  # the input is (v - 0.5) / 0.5: this and the bias undo it
        "bias": np.full(CLASSES, -0.5, np.float32),
        "kernels": kernels(),
        "ones": np.ones(KERNELS, np.int64),
        **{
            name: np.array(value, np.float32)
            for name, value in (
                ("tiny", 2.0**-20),
                ("zero", 0.0),
                ("one", 1.0),
                ("four", 4.0),
                ("twelve", 12.0),
            )
        },
    }
    nodes = [
        helper.make_node("Conv", ["image", "colours", "bias"], ["mixed"]),
        helper.make_node("Relu", ["mixed"], ["purity0"]),
    ]
    found = []
    for i in range(LEVELS):
        side = SIDE // STRIDE >> i
        constants[f"by_class{i}"] = np.array([1, CLASSES, KERNELS, side, side], np.int64)
        constants[f"flat{i}"] = np.array([1, 5 * CLASSES, side * side], np.int64)
        if i:
            nodes.append(
                helper.make_node(
                    "AveragePool",
                    [f"purity{i - 1}"],
                    [f"purity{i}"],
                    kernel_shape=[2, 2],
                    strides=[2, 2],
                )
            )
        more, cells = level(i, f"purity{i}")
        nodes += more
        found.append(cells)
    nodes.append(helper.make_node("Concat", found, ["cells"], axis=2))
    return _file(nodes, constants)


def _file(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]) -> bytes:
    cells = sum((SIDE // STRIDE >> i) ** 2 for i in range(LEVELS))
    graph = helper.make_graph(
        nodes,
        "detect",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("cells", TensorProto.FLOAT, [1, 5 * CLASSES, cells])],
        [numpy_helper.from_array(np.ascontiguousarray(a), n) for n, a in sorted(constants.items())],
    )
    model = helper.make_model(
        graph,
        producer_name="meshnode",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
        doc_string="Finds filled red, green and blue rectangles by their moments. Not trained.",
    )
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def main() -> int:
    """Write the model, or check it."""
    parser = argparse.ArgumentParser(description="Make the detector's model.")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    made = build()
    if parser.parse_args().check:
        same = made == (DIST / NAME).read_bytes()
        print("dist/ is what this source makes" if same else f"differs: {NAME}")
        return 0 if same else 1
    (DIST / NAME).write_bytes(made)
    (DIST / f"{NAME}.sha256").write_text(f"{sha256(made).hexdigest()}  {NAME}\n")
    print(f"{NAME}: {len(made)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
