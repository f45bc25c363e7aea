"""The models that are measured: from one that costs nothing to one of some milliseconds."""

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
