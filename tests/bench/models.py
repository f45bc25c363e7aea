"""The models that are measured: from one that costs nothing to one of some milliseconds."""

from itertools import pairwise

import numpy as np
from onnx import TensorProto, helper

from meshnode.assets import asset
from tests.unit.runtime.support import dense, model

IMAGE = (3, 224, 224)
"""As float32 602,112 bytes: the input of many a camera's model."""
WEIGHTS_ROWS, WEIGHTS_COLUMNS = 2048, 4096
"""As float32 32 MiB."""
_CHANNELS = 64
_FLOAT = TensorProto.FLOAT
RNG = np.random.default_rng(7)


def tiny() -> tuple[bytes, dict[str, np.ndarray]]:
    """One layer, x[N,4] -> y[N,3]: what is left is the way there and back."""
    return dense(), {"x": RNG.standard_normal((1, 4)).astype(np.float32)}


def digits() -> tuple[bytes, dict[str, np.ndarray]]:
    """The model of the demo, and one of its images."""
    image = np.load(asset("digits-test.images.npy"), allow_pickle=False)[:1].astype(np.float32)
    return asset("digits.onnx").read_bytes(), {"images": image}


def wide() -> tuple[bytes, dict[str, np.ndarray]]:
    """Little work on 600 KB of input: the mean of each colour of an image."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["mean"]),
    ]
    built = model(nodes, {"image": (_FLOAT, ["N", *IMAGE])}, {"mean": (_FLOAT, ["N", IMAGE[0]])})
    return built, {"image": RNG.random((1, *IMAGE), dtype=np.float32)}


def perceptron() -> tuple[bytes, dict[str, np.ndarray]]:
    """256-1024-1024-10: small, and bound by reading its weights."""
    sizes, nodes, weights, at = (256, 1024, 1024, 10), [], {}, "x"
    for i, (a, b) in enumerate(pairwise(sizes)):
        weights[f"w{i}"] = (RNG.standard_normal((a, b)) / a**0.5).astype(np.float32)
        weights[f"b{i}"] = RNG.standard_normal(b).astype(np.float32)
        nodes.append(helper.make_node("Gemm", [at, f"w{i}", f"b{i}"], [f"h{i}"]))
        nodes.append(helper.make_node("Relu", [f"h{i}"], ["y" if b == sizes[-1] else f"r{i}"]))
        at = f"r{i}"
    built = model(nodes, {"x": (_FLOAT, ["N", 256])}, {"y": (_FLOAT, ["N", 10])}, weights)
    return built, {"x": RNG.standard_normal((1, 256)).astype(np.float32)}


def transformer() -> tuple[bytes, dict[str, np.ndarray]]:
    """One block on 8 tokens of 256: attention of one head, and a feed-forward of 1024."""
    width, hidden = 256, 1024
    nodes = [
        *(helper.make_node("MatMul", ["x", f"w{n}"], [n]) for n in "qkv"),
        helper.make_node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["q", "kt"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["share"], axis=-1),
        helper.make_node("MatMul", ["share", "v"], ["mixed"]),
        helper.make_node("Add", ["x", "mixed"], ["a"]),
        helper.make_node("MatMul", ["a", "up"], ["wide"]),
        helper.make_node("Relu", ["wide"], ["active"]),
        helper.make_node("MatMul", ["active", "down"], ["back"]),
        helper.make_node("Add", ["a", "back"], ["y"]),
    ]
    shapes = {f"w{n}": (width, width) for n in "qkv"}
    shapes |= {"up": (width, hidden), "down": (hidden, width)}
    weights = {
        n: (RNG.standard_normal(s) / s[0] ** 0.5).astype(np.float32) for n, s in shapes.items()
    }
    shape = ["N", 8, width]
    built = model(nodes, {"x": (_FLOAT, shape)}, {"y": (_FLOAT, shape)}, weights)
    return built, {"x": RNG.standard_normal((1, 8, width)).astype(np.float32)}


def slow() -> tuple[bytes, dict[str, np.ndarray]]:
    """Two convolutions, about 5 ms on two cores of a server."""
    shape = (_CHANNELS, 56, 56)
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w2"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["c"], ["y"]),
    ]
    kernel = (_CHANNELS, _CHANNELS, 3, 3)
    weights = {n: RNG.standard_normal(kernel).astype(np.float32) / 24 for n in ("w1", "w2")}
    built = model(
        nodes,
        {"x": (_FLOAT, ["N", *shape])},
        {"y": (_FLOAT, ["N", _CHANNELS, 1, 1])},
        weights,
    )
    return built, {"x": RNG.random((1, *shape), dtype=np.float32)}


def heavy() -> bytes:
    """One layer with 32 MiB of weights that nothing could compress."""
    weights = {"w": RNG.random((WEIGHTS_ROWS, WEIGHTS_COLUMNS), dtype=np.float32)}
    return model(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        {"x": (_FLOAT, ["N", WEIGHTS_ROWS])},
        {"y": (_FLOAT, ["N", WEIGHTS_COLUMNS])},
        weights,
    )
