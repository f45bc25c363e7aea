"""The models that are measured: of 10 us, 0.1 ms and 5 ms, with weights from a seeded generator."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from meshnode.runtime.onnx_writer import Node, write_model

CLASSES = 10
IMAGE = (3, 224, 224)
"""As float32 602,112 bytes: the input of many a camera's model."""
_SEED = 6174


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model with one float32 input `x` and one output `y` of ten classes; axis 0 is the batch."""

    name: str
    data: bytes
    shape: tuple[int, ...]
    """Of one row."""

    def rows(self, count: int, seed: int = 0) -> np.ndarray:
        """Return an input of so many rows."""
        rng = np.random.default_rng((_SEED, seed))
        return rng.standard_normal((count, *self.shape)).astype(np.float32)


def models() -> tuple[Model, ...]:
    """Return the three models, the smallest first."""
    return (perceptron("tiny", (64, 16)), perceptron("mlp", (256, 1024, 1024)), convolutions())


def perceptron(name: str, widths: tuple[int, ...]) -> Model:
    """Return dense layers with ReLU between them."""
    rng, weights, nodes, last = np.random.default_rng(_SEED), dict[str, np.ndarray](), [], "x"
    sizes = (*widths, CLASSES)
    for layer, (into, out) in enumerate(pairwise(sizes)):
        weights[f"w{layer}"] = _weights(rng, (into, out), into)
        weights[f"b{layer}"] = _weights(rng, (out,), into)
        final = layer == len(sizes) - 2
        dense = "y" if final else f"dense{layer}"
        given = (last, f"w{layer}", f"b{layer}")
        nodes.append(Node(op="Gemm", inputs=given, outputs=(dense,)))
        if not final:
            last = f"relu{layer}"
            nodes.append(Node(op="Relu", inputs=(dense,), outputs=(last,)))
    return _written(name, nodes, weights, (widths[0],))


def convolutions() -> Model:
    """Return a small image classifier: 5 ms on one core of a server, a 602 KB input."""
    rng, weights, nodes, last = np.random.default_rng(_SEED), dict[str, np.ndarray](), [], "x"
    channels = (IMAGE[0], 48, 96, 192)
    for layer, (into, out) in enumerate(pairwise(channels)):
        weights[f"w{layer}"] = _weights(rng, (out, into, 3, 3), into * 9)
        nodes.append(
            Node(
                op="Conv",
                inputs=(last, f"w{layer}"),
                outputs=(f"conv{layer}",),
                attributes={"strides": (2, 2), "pads": (1, 1, 1, 1)},
            )
        )
        last = f"relu{layer}"
        nodes.append(Node(op="Relu", inputs=(f"conv{layer}",), outputs=(last,)))
    weights["w"] = _weights(rng, (channels[-1], CLASSES), channels[-1])
    nodes += [
        Node(op="GlobalAveragePool", inputs=(last,), outputs=("pooled",)),
        Node(op="Flatten", inputs=("pooled",), outputs=("flat",)),
        Node(op="MatMul", inputs=("flat", "w"), outputs=("y",)),
    ]
    return _written("conv", nodes, weights, IMAGE)


def _written(
    name: str, nodes: list[Node], weights: dict[str, np.ndarray], shape: tuple[int, ...]
) -> Model:
    data = write_model(
        nodes, inputs={"x": ("N", *shape)}, outputs={"y": ("N", CLASSES)}, weights=weights
    )
    return Model(name=name, data=data, shape=shape)


def _weights(rng: np.random.Generator, shape: tuple[int, ...], fan_in: int) -> np.ndarray:
    return rng.standard_normal(shape, dtype=np.float32) / np.float32(fan_in**0.5)
