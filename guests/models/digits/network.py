"""The small convolutional network of the demo model, and its training: numpy and nothing else.

Three convolutions of 3x3 with ReLU, a 2x2 maximum, one dense layer, softmax; cross-entropy and
Adam (Kingma, Ba 2014). Arrays are float32, images in the order [batch, row, column, channel].
Single-threaded BLAS and seeded draws make two runs on one machine equal to the bit.
"""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[np.float32]
CHANNELS = (96, 96, 128)
"""Makes one inference cost half a millisecond of one core: enough to make placement matter."""
SIDE = 8
CLASSES = 10
POOLED = SIDE // 2
DENSE_INPUTS = POOLED * POOLED * CHANNELS[-1]
PIXEL_MAX = 16.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How the network is trained."""

    epochs: int = 10
    batch: int = 64
    rate: float = 1.5e-3
    """Adam's step at the start; falls to nothing along half a cosine."""
    decay: float = 1e-4
    """Pulls the weights (not the biases) towards zero, so that no test image is decided by one."""
    shift: int = 1
    """Images are moved by up to so many pixels: writers do not centre their digits."""


class Network:
    """Weights by name, and what Adam remembers of each."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.weights: dict[str, Array] = {}
        inputs = 1
        for i, outputs in enumerate(CHANNELS):
            fan_in = 9 * inputs
            self.weights[f"conv{i}.w"] = _drawn(rng, (fan_in, outputs), fan_in)
            self.weights[f"conv{i}.b"] = np.zeros(outputs, np.float32)
            inputs = outputs
        self.weights["dense.w"] = _drawn(rng, (DENSE_INPUTS, CLASSES), DENSE_INPUTS)
        self.weights["dense.b"] = np.zeros(CLASSES, np.float32)
        self._means = {name: np.zeros_like(w) for name, w in self.weights.items()}
        self._squares = {name: np.zeros_like(w) for name, w in self.weights.items()}
        self._steps = 0

    def probabilities(self, images: Array) -> Array:
        """Return [batch, 10] for images [batch, 8, 8, 1] of 0 to 16."""
        return self._forward(images)[0]

    def train_batch(
        self, images: Array, labels: NDArray[np.int64], rate: float, decay: float
    ) -> float:
        """Take one step towards the labels and return the mean loss before it."""
        found, columns, active, winners = self._forward(images)
        count = len(labels)
        loss = -float(np.log(found[np.arange(count), labels] + 1e-9).mean())
        slope = found.copy()
        slope[np.arange(count), labels] -= 1
        slope /= count
        slopes: dict[str, Array] = {
            "dense.w": columns[-1].T @ slope,
            "dense.b": slope.sum(axis=0),
        }
        back = (slope @ self.weights["dense.w"].T).reshape(count, POOLED, POOLED, CHANNELS[-1])
        back = _unpool(back, winners)
        for i in reversed(range(len(CHANNELS))):
            flat = (back * active[i]).reshape(-1, CHANNELS[i])
            slopes[f"conv{i}.w"] = columns[i].T @ flat
            slopes[f"conv{i}.b"] = flat.sum(axis=0)
            if i:
                back = _from_columns(flat @ self.weights[f"conv{i}.w"].T, count)
        self._step(slopes, rate, decay)
        return loss

    def _forward(self, images: Array) -> tuple[Array, list[Array], list[NDArray[np.bool_]], Array]:
        """Return probabilities, each layer's input columns, where ReLU let pass, pool winners."""
        columns, active = [], []
        x = images / np.float32(PIXEL_MAX)
        for i, outputs in enumerate(CHANNELS):
            columns.append(_to_columns(x))
            x = columns[i] @ self.weights[f"conv{i}.w"] + self.weights[f"conv{i}.b"]
            x = x.reshape(-1, SIDE, SIDE, outputs)
            active.append(x > 0)
            x = np.maximum(x, 0)
        cells = x.reshape(-1, POOLED, 2, POOLED, 2, CHANNELS[-1])
        pooled = cells.max(axis=(2, 4), keepdims=True)
        columns.append(pooled.reshape(len(images), -1))
        logits = columns[-1] @ self.weights["dense.w"] + self.weights["dense.b"]
        raised = np.exp(logits - logits.max(axis=1, keepdims=True))
        winners = (cells == pooled).astype(np.float32)
        winners /= winners.sum(axis=(2, 4), keepdims=True)
        return raised / raised.sum(axis=1, keepdims=True), columns, active, winners

    def _step(self, slopes: dict[str, Array], rate: float, decay: float) -> None:
        """Adam, with decay apart from the moments (AdamW)."""
        self._steps += 1
        for name, slope in slopes.items():
            mean, square = self._means[name], self._squares[name]
            mean += 0.1 * (slope - mean)
            square += 0.001 * (slope * slope - square)
            even = np.sqrt(square / (1 - 0.999**self._steps)) + 1e-8
            self.weights[name] -= rate * (mean / (1 - 0.9**self._steps)) / even
            if name.endswith(".w"):
                self.weights[name] *= np.float32(1 - rate * decay)


def train(images: Array, labels: NDArray[np.int64], *, seed: int, schedule: Schedule) -> Network:
    """Return a network trained on images [n, 8, 8, 1] of 0 to 16, printing each epoch's loss."""
    rng = np.random.default_rng(seed)
    network = Network(rng)
    batches = -(-len(images) // schedule.batch)
    for epoch in range(schedule.epochs):
        order = rng.permutation(len(images))
        losses = []
        for i in range(batches):
            chosen = order[i * schedule.batch : (i + 1) * schedule.batch]
            done = (epoch * batches + i) / (schedule.epochs * batches)
            rate = schedule.rate * 0.5 * (1 + float(np.cos(np.pi * done)))
            moved = _shifted(images[chosen], rng, schedule.shift)
            losses.append(network.train_batch(moved, labels[chosen], rate, schedule.decay))
        print(f"epoch {epoch + 1:2}  loss {np.mean(losses):.4f}", flush=True)
    return network


def _drawn(rng: np.random.Generator, shape: tuple[int, int], fan_in: int) -> Array:
    """Return weights at the scale that keeps ReLU layers alive (He et al. 2015)."""
    return (rng.standard_normal(shape) * np.sqrt(2 / fan_in)).astype(np.float32)


def _shifted(images: Array, rng: np.random.Generator, most: int) -> Array:
    """Return the images, each moved by up to `most` pixels; what comes in is blank."""
    wide = np.pad(images, ((0, 0), (most, most), (most, most), (0, 0)))
    moved = np.empty_like(images)
    for i, (down, right) in enumerate(rng.integers(0, 2 * most + 1, size=(len(images), 2))):
        moved[i] = wide[i, down : down + SIDE, right : right + SIDE]
    return moved


def _to_columns(x: Array) -> Array:
    """Return the 3x3 surroundings of every pixel: [batch * 64, 9 * channels]."""
    wide = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    around = sliding_window_view(wide, (3, 3), axis=(1, 2))
    return around.transpose(0, 1, 2, 4, 5, 3).reshape(-1, 9 * x.shape[-1])


def _from_columns(columns: Array, count: int) -> Array:
    """Add up what the surroundings say about each pixel: the transpose of `_to_columns`."""
    parts = columns.reshape(count, SIDE, SIDE, 3, 3, -1)
    wide = np.zeros((count, SIDE + 2, SIDE + 2, parts.shape[-1]), np.float32)
    for down in range(3):
        for right in range(3):
            wide[:, down : down + SIDE, right : right + SIDE] += parts[:, :, :, down, right]
    return wide[:, 1:-1, 1:-1]


def _unpool(slope: Array, winners: Array) -> Array:
    """Give each 2x2 cell's slope to the pixels that were its maximum."""
    spread = slope[:, :, None, :, None, :] * winners
    return spread.reshape(-1, SIDE, SIDE, CHANNELS[-1])
