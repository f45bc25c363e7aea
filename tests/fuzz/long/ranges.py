"""Which bytes of a guest's memory a host function changed, and whether it might."""

from collections.abc import Iterable

import numpy as np


def changed_outside(
    before: np.ndarray, after: np.ndarray, allowed: Iterable[tuple[int, int]]
) -> list[int]:
    """Return the addresses that changed and lie in none of the ranges, a few of them."""
    changed = before != after[: len(before)]
    for start, end in allowed:
        changed[start:end] = False
    found: list[int] = np.flatnonzero(changed)[:8].tolist()
    return found
