"""The models that are measured: from one that costs nothing to one of some milliseconds."""

import numpy as np
from onnx import TensorProto, helper

from meshnode.assets import asset
from tests.unit.runtime.support import model

IMAGE = (3, 224, 224)
"""As float32 602,112 bytes: the input of many a camera's model."""
WEIGHTS_ROWS, WEIGHTS_COLUMNS = 2048, 4096
"""As float32 32 MiB."""
_FLOAT = TensorProto.FLOAT
RNG = np.random.default_rng(7)


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


def heavy() -> bytes:
    """One layer with 32 MiB of weights that nothing could compress."""
    weights = {"w": RNG.random((WEIGHTS_ROWS, WEIGHTS_COLUMNS), dtype=np.float32)}
    return model(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        {"x": (_FLOAT, ["N", WEIGHTS_ROWS])},
        {"y": (_FLOAT, ["N", WEIGHTS_COLUMNS])},
        weights,
    )
