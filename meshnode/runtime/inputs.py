"""Checks a request's arrays against the manifest, quickly where they are right."""

import numpy as np

from meshnode.modules.manifest import Manifest
from meshnode.modules.schema import check_inputs
from meshnode.runtime.tensors import Arrays
from meshnode.wire.arrays import header
from meshnode.wire.limits import BODY_BYTES_MAX


class InputCheck:
    """What the arrays of one module's requests must be."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._wanted = [(s.name, np.dtype(s.dtype), s.shape) for s in manifest.inputs]

    def rows(self, arrays: Arrays) -> int:
        """Return the rows of a request, or raise InputError saying what is wrong with it.

        The words cost ten times what the comparison does and are made only for who needs them.
        """
        rows = self._rows_if_right(arrays)
        if rows is None:
            heads = [header(name, a.dtype.name, a.shape) for name, a in arrays.items()]
            return check_inputs(self._manifest, heads)
        return rows

    def _rows_if_right(self, arrays: Arrays) -> int | None:
        """Return the rows if all is surely right; None: `check_inputs` has the say."""
        total, rows = 0, None
        for name, dtype, shape in self._wanted:
            array = arrays.get(name)
            if array is None or array.dtype != dtype or array.ndim != len(shape):
                return None
            if any(w >= 0 and w != g for w, g in zip(shape, array.shape, strict=True)):
                return None
            if self._manifest.batch:
                first = array.shape[0]
                if first < 1 or rows not in (None, first):
                    return None
                rows = first
            total += array.nbytes
        if len(arrays) != len(self._wanted) or total > BODY_BYTES_MAX:
            return None
        return rows or 1
