"""Checks a request's arrays against the manifest; what was right once is known at once."""

from meshnode.modules.manifest import Manifest
from meshnode.modules.schema import check_inputs
from meshnode.runtime.tensors import Arrays
from meshnode.wire.arrays import header

ACCEPTED_MAX = 256
"""Combinations of shapes that are remembered; then that begins anew."""


class InputCheck:
    """What the arrays of one module's requests must be. Used by several threads."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._accepted: dict[object, int] = {}
        """Names, dtypes and shapes that were found right, and their rows."""

    def rows(self, arrays: Arrays) -> int:
        """Return the rows of a request, or raise InputError saying what is wrong with it."""
        key = kind_of(arrays)
        rows = self._accepted.get(key)
        if rows is None:
            heads = [header(name, a.dtype.name, a.shape) for name, a in arrays.items()]
            rows = check_inputs(self._manifest, heads)
            if len(self._accepted) >= ACCEPTED_MAX:
                self._accepted.clear()
            self._accepted[key] = rows
        return rows


def kind_of(arrays: Arrays) -> object:
    """Return the names, dtypes and shapes of arrays: nothing else about them is looked at."""
    if len(arrays) == 1:  # most have one
        ((name, a),) = arrays.items()
        return name, a.dtype, a.shape
    return tuple([(name, a.dtype, a.shape) for name, a in arrays.items()])
