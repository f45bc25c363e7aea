"""How fast this machine is: one number that makes measured times comparable between nodes."""

from time import perf_counter

import numpy as np

_FLOATS = 1 << 16
"""256 KiB an array: past the first-level cache, as tensors are."""
_PASSES = 40
_ROUNDS = 5
UNIT_S = 1e-4


def calibrate() -> int:
    """Return the time of a fixed piece of work in units of 0.1 ms: larger is slower.

    Float32 multiply-adds and a sort on one core, a few ms a round. Not a matrix product: a BLAS
    spins its threads, and on a busy machine that measures the other programs. The best of five
    rounds, because a busy moment only ever makes one longer.
    """
    ramp = np.arange(_FLOATS, dtype=np.float32) % 1021
    out = np.empty_like(ramp)
    best = min(_round(ramp, out) for _ in range(_ROUNDS))
    return max(1, round(best / UNIT_S))


def _round(ramp: np.ndarray, out: np.ndarray) -> float:
    started = perf_counter()
    for _ in range(_PASSES):
        np.multiply(ramp, np.float32(0.999), out=out)
        np.add(out, ramp, out=out)
        np.maximum(out, 0, out=out)
    np.sort(out)
    return perf_counter() - started
