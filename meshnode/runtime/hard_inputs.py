"""Inputs that are hard on a module: seeded, so that one that fails can be made again.

Each case says what may become of it. Good ones must be answered, or declined in an orderly way;
edge ones may also meet a limit; bad ones must be refused before the guest sees them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from math import prod

import numpy as np

from meshnode.modules.manifest import ITEM_BYTES, Manifest, TensorSpec
from meshnode.wire.limits import BODY_BYTES_MAX, MIB

Arrays = dict[str, np.ndarray]
ROWS_MAX = 8
"""Of a batch that counts as ordinary."""
LARGE_BYTES_MAX = 4 * MIB
"""All inputs of a large case; a sixteenth of the memory limit if that is less."""
LARGE_ROWS_MAX = 256
"""As many as a node joins at most (`batch.max`)."""
LARGE_SIZE_MAX = 1 << 16
"""Of an open size that is not the batch."""
OVERSIZED = BODY_BYTES_MAX + 1


class Worth(Enum):
    """What the schema says of a case, and so what may become of it."""

    GOOD = "good"
    """As a user sends it: a trap or a limit is the module's failure."""
    EDGE = "edge"
    """Within the schema, but of a size nobody promised: it may meet a limit, not a trap."""
    BAD = "bad"
    """Against the schema."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One request."""

    seed: int
    kind: str
    worth: Worth
    arrays: Mapping[str, np.ndarray]


class Inputs:
    """Makes cases for a module."""

    def __init__(self, manifest: Manifest, shapes: Mapping[str, Sequence[int]]) -> None:
        """`shapes` are sizes the module is known to accept, one row where it batches."""
        self._manifest = manifest
        self._shapes = {name: tuple(shape) for name, shape in shapes.items()}
        self._kinds: list[tuple[str, Worth, Callable[[np.random.Generator], Arrays]]] = [
            ("random", Worth.GOOD, self._random),
            ("rows", Worth.GOOD, self._rows),
            ("zeros", Worth.GOOD, lambda rng: self._filled(rng, lambda spec: 0)),
            ("NaN", Worth.GOOD, lambda rng: self._filled(rng, lambda spec: np.nan)),
            ("infinite", Worth.GOOD, lambda rng: self._filled(rng, lambda spec: -np.inf)),
            ("extreme", Worth.GOOD, self._extreme),
            ("small", Worth.EDGE, self._small),
            ("large", Worth.EDGE, self._large),
            ("wrong dtype", Worth.BAD, self._wrong_dtype),
            ("wrong rank", Worth.BAD, self._wrong_rank),
            ("wrong size", Worth.BAD, self._wrong_size),
            ("short", Worth.BAD, self._short),
            ("wrong name", Worth.BAD, self._wrong_name),
            ("oversized", Worth.BAD, self._oversized),
        ]

    def case(self, seed: int) -> Case:
        """Return the case of a seed: kinds take turns, good ones twice as often as the others."""
        good = [k for k in self._kinds if k[1] is Worth.GOOD]
        turns = [*self._kinds, *good]
        kind, worth, make = turns[seed % len(turns)]
        return Case(seed=seed, kind=kind, worth=worth, arrays=make(np.random.default_rng(seed)))

    def ordinary(self, seed: int, *, rows: int = 1) -> Arrays:
        """Return a request as a user sends it."""
        rng = np.random.default_rng(seed)
        return {s.name: made_up(rng, s.dtype, self._shape(s, rows)) for s in self._specs}

    @property
    def _specs(self) -> Sequence[TensorSpec]:
        return self._manifest.inputs

    def _shape(self, spec: TensorSpec, rows: int) -> tuple[int, ...]:
        shape = self._shapes[spec.name]
        return (rows, *shape[1:]) if self._manifest.batch else shape

    # ------------------------------------------------------------------ good

    def _random(self, rng: np.random.Generator) -> Arrays:
        return {s.name: made_up(rng, s.dtype, self._shape(s, 1)) for s in self._specs}

    def _rows(self, rng: np.random.Generator) -> Arrays:
        rows = int(rng.integers(1, ROWS_MAX, endpoint=True))
        return {s.name: made_up(rng, s.dtype, self._shape(s, rows)) for s in self._specs}

    def _filled(self, rng: np.random.Generator, value: Callable[[TensorSpec], float]) -> Arrays:
        arrays = self._random(rng)
        for spec in self._specs:
            if not value(spec) or spec.dtype.startswith("float"):
                arrays[spec.name] = np.full_like(arrays[spec.name], value(spec))
        return arrays

    def _extreme(self, rng: np.random.Generator) -> Arrays:
        return {s.name: extremes(rng, s.dtype, self._shape(s, 1)) for s in self._specs}

    # ------------------------------------------------------------------ at the edge

    def _small(self, rng: np.random.Generator) -> Arrays:
        return {
            s.name: made_up(rng, s.dtype, tuple(1 if d < 0 else d for d in s.shape))
            for s in self._specs
        }

    def _large(self, rng: np.random.Generator) -> Arrays:
        """Every open size as large as a share of the limits allows; the same in all tensors."""
        most = min(LARGE_BYTES_MAX, self._manifest.limits.memory_bytes // 16)
        size_max = LARGE_ROWS_MAX if self._manifest.batch else LARGE_SIZE_MAX
        size, shapes = 2, self._opened(2)
        while size < size_max and 4 * self._bytes(shapes) < most:
            size *= 2
            shapes = self._opened(size)
        return {s.name: made_up(rng, s.dtype, shapes[s.name]) for s in self._specs}

    def _bytes(self, shapes: Mapping[str, Sequence[int]]) -> int:
        return sum(prod(shapes[s.name]) * ITEM_BYTES[s.dtype] for s in self._specs)

    def _opened(self, size: int) -> dict[str, tuple[int, ...]]:
        """Return shapes with the batch axis at this size, or every open size if there is none."""
        if self._manifest.batch:
            return {s.name: self._shape(s, size) for s in self._specs}
        return {s.name: tuple(size if d < 0 else d for d in s.shape) for s in self._specs}

    # ------------------------------------------------------------------ bad

    def _wrong_dtype(self, rng: np.random.Generator) -> Arrays:
        arrays, spec = self._random(rng), self._one(rng)
        other = "int16" if spec.dtype.startswith("float") else "float32"
        arrays[spec.name] = arrays[spec.name].astype(other)
        return arrays

    def _wrong_rank(self, rng: np.random.Generator) -> Arrays:
        arrays, spec = self._random(rng), self._one(rng)
        arrays[spec.name] = arrays[spec.name][np.newaxis]
        return arrays

    def _wrong_size(self, rng: np.random.Generator) -> Arrays:
        """One more than a fixed size says; where all are open, an axis less."""
        arrays, spec = self._random(rng), self._one(rng)
        fixed = [axis for axis, d in enumerate(spec.shape) if d >= 0]
        shape = list(arrays[spec.name].shape)
        if not shape:
            shape = [2]  # a scalar has no size to be wrong
        elif fixed:
            shape[fixed[int(rng.integers(len(fixed)))]] += 1
        else:
            shape.pop()
        arrays[spec.name] = np.zeros(shape, spec.dtype)
        return arrays

    def _short(self, rng: np.random.Generator) -> Arrays:
        """No rows; for a module without a batch axis, a tensor too few."""
        if self._manifest.batch:
            return {k: a[:0] for k, a in self._random(rng).items()}
        arrays = self._random(rng)
        del arrays[self._one(rng).name]
        return arrays

    def _wrong_name(self, rng: np.random.Generator) -> Arrays:
        arrays = self._random(rng)
        arrays[self._one(rng).name + "_"] = np.zeros((1,), np.float32)
        return arrays

    def _oversized(self, rng: np.random.Generator) -> Arrays:
        """More bytes than a request may have, without taking them: one element seen often."""
        arrays, spec = self._random(rng), self._one(rng)
        open_axes = [axis for axis, d in enumerate(spec.shape) if d < 0]
        shape = list(arrays[spec.name].shape) or [1]
        axis = open_axes[0] if open_axes else 0
        row = max(1, prod(shape) // max(1, shape[axis])) * ITEM_BYTES[spec.dtype]
        shape[axis] = -(-OVERSIZED // row)
        arrays[spec.name] = np.broadcast_to(np.zeros((), spec.dtype), shape)
        return arrays

    def _one(self, rng: np.random.Generator) -> TensorSpec:
        return self._specs[int(rng.integers(len(self._specs)))]


def made_up(rng: np.random.Generator, dtype: str, shape: Sequence[int]) -> np.ndarray:
    """Return ordinary numbers: 0 and 1 for integers, which are valid tokens, masks and lengths."""
    if dtype.startswith("float"):
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(0, 255 if dtype == "uint8" else 1, shape, endpoint=True).astype(dtype)


def extremes(rng: np.random.Generator, dtype: str, shape: Sequence[int]) -> np.ndarray:
    """Return the largest, smallest and strangest numbers of a dtype, mixed."""
    if dtype == "bool":
        return rng.integers(0, 1, shape, endpoint=True).astype(bool)
    if dtype.startswith("float"):
        info = np.finfo(dtype)
        values = [info.max, info.min, info.tiny, -0.0, np.nan, np.inf, info.smallest_subnormal]
        return rng.choice(np.array(values, dtype), shape)
    bounds = np.iinfo(dtype)
    return rng.choice(np.array([bounds.min, bounds.max, 0], dtype), shape)
