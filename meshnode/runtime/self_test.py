"""Runs a module's own test vectors before it answers anybody."""

from collections.abc import Callable, Mapping, Sequence
from math import prod

import numpy as np

from meshnode.errors import MeshnodeError, SelfTestFailed
from meshnode.modules.manifest import ITEM_BYTES, Manifest, SelfTest, TensorSpec

Run = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray] | MeshnodeError]


def check_self_tests(manifest: Manifest, run: Run) -> None:
    """Raise SelfTestFailed unless every vector gives what the module promises."""
    for number, test in enumerate(manifest.self_tests, 1):
        outcome = run(decode(manifest.inputs, test.inputs))
        if isinstance(outcome, MeshnodeError):
            raise SelfTestFailed(
                f"self-test {number} of {manifest.name} failed: {outcome.message}",
                because=[f"{outcome.code} {type(outcome).__name__}", *outcome.because],
            ) from outcome
        _compare(manifest, number, test, outcome)


def decode(specs: Sequence[TensorSpec], buffers: Sequence[bytes]) -> dict[str, np.ndarray]:
    """Return a vector's tensors by name; see `SelfTest` for how open sizes are filled."""
    return {
        spec.name: np.frombuffer(buffer, spec.dtype).reshape(shape_of(spec, len(buffer)))
        for spec, buffer in zip(specs, buffers, strict=True)
    }


def shape_of(spec: TensorSpec, size: int) -> tuple[int, ...]:
    """Return the shape of a tensor of `size` bytes: the first open size takes what is left."""
    shape = [abs(d) for d in spec.shape]
    least = prod(shape) * ITEM_BYTES[spec.dtype]
    if -1 in spec.shape and least:
        shape[spec.shape.index(-1)] = size // least
    return tuple(shape)


def close(got: np.ndarray, wanted: np.ndarray, tolerance: float) -> bool:
    """Return whether elements differ by no more than `tolerance`, absolute or relative."""
    if got.size != wanted.size or got.dtype != wanted.dtype:
        return False
    if not tolerance:
        return got.tobytes() == wanted.tobytes()
    a, b = got.reshape(-1).astype(np.float64), wanted.reshape(-1).astype(np.float64)
    with np.errstate(invalid="ignore"):
        difference = np.abs(a - b)
    bound = np.maximum(tolerance, tolerance * np.abs(b))
    # Infinities subtract to NaN: equal ones and paired NaNs count as the same.
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return bool(np.all(same | (difference <= bound)))


def _compare(
    manifest: Manifest, number: int, test: SelfTest, outcome: Mapping[str, np.ndarray]
) -> None:
    for spec, buffer in zip(manifest.outputs, test.outputs, strict=True):
        got, wanted = outcome[spec.name], np.frombuffer(buffer, spec.dtype)
        if close(got, wanted, test.tolerance):
            continue
        because = [f"{got.size} elements came, {wanted.size} are promised"]
        if got.size == wanted.size and got.size:
            flat = got.reshape(-1)
            at = int(np.argmax(flat != wanted))
            because = [f"element {at} is {flat[at]}, promised is {wanted[at]}"]
        raise SelfTestFailed(
            f"self-test {number} of {manifest.name}: '{spec.name}' is not what the module promises",
            because=[*because, f"tolerance {test.tolerance:g}"],
        )
