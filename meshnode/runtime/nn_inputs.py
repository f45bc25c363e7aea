"""How a wasi-nn guest's tensor becomes a model's input: types old and new, shapes, one buffer.

The field has two tables of element types, and guests that were built before the second one are
still about. A type is therefore not believed: what counts is whether one of the two makes it the
model's own, and whether the bytes are exactly those of such an array.
"""

from collections.abc import Sequence
from math import prod
from struct import Struct

import numpy as np

from meshnode.modules.manifest import ITEM_BYTES
from meshnode.runtime.abi import TENSOR_TYPES
from meshnode.runtime.sessions import ModelTensor
from meshnode.wire.limits import RANK_MAX

LEGACY_TYPES = {"float16": 0, "float32": 1, "uint8": 2, "int32": 3}
"""Numbers of the crates `wasi-nn` up to 0.6.0 and of WAMR's first interface."""
_DIMS = [Struct(f"<{rank}I") for rank in range(RANK_MAX + 1)]
_EMPTY_ELEMENTS_MAX = 2**48
"""An array with an axis of 0 has no bytes, yet numpy refuses it if the other axes are absurd."""

Key = tuple[int, int, bytes]
"""Type, size in bytes and dims as the guest wrote them: what a buffer was prepared for."""


class Input:
    """One input of one context: a buffer of the host's own, kept while its shape stays."""

    __slots__ = ("_flags", "_flat", "_item", "_numbers", "_tensor", "array", "key")

    def __init__(self, tensor: ModelTensor) -> None:
        numbers = {TENSOR_TYPES[tensor.dtype], LEGACY_TYPES.get(tensor.dtype)}
        self.array: np.ndarray | None = None
        """None until it is set."""
        self.key: Key | None = None
        self._tensor = tensor
        self._item = ITEM_BYTES[tensor.dtype]
        self._numbers = numbers
        self._flags = tensor.dtype == "bool"
        self._flat = np.empty(0, np.uint8)

    @property
    def size(self) -> int:
        """Bytes that are kept."""
        return self._flat.nbytes

    def shape(self, key: Key) -> tuple[int, ...] | None:
        """Return the array's shape, or None if this is not a tensor the model takes."""
        number, size, raw = key
        dims: tuple[int, ...] = _DIMS[len(raw) // 4].unpack(raw)
        # Python's integers: a product of u32s would wrap in any fixed width.
        if number not in self._numbers or prod(dims) * self._item != size:
            return None
        if not size and prod(d or 1 for d in dims) > _EMPTY_ELEMENTS_MAX:
            return None
        # wasi-nn tells guests to write a scalar so.
        return () if dims == (1,) and not self._tensor.shape else dims

    def prepare(self, key: Key, shape: Sequence[int]) -> np.ndarray:
        """Make the buffer for tensors of this key, and return it as the model's array."""
        array = np.empty(shape, self._tensor.dtype)
        self._flat = array.reshape(-1).view(np.uint8)
        self.array, self.key = array, key
        return array

    def fill(self, data: np.ndarray) -> None:
        """Copy a tensor's bytes: a guest may free or change its own at once."""
        if self._flags:
            # Bytes other than 0 and 1 are undefined behaviour in what reads them.
            np.not_equal(data, 0, out=self._flat.view(np.bool_))
        else:
            self._flat[:] = data
