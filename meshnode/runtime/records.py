"""Tensor records in a guest's memory: read as views of it, and written back."""

from math import prod

import numpy as np

from meshnode.errors import ModelFailed
from meshnode.modules.manifest import ITEM_BYTES
from meshnode.runtime.abi import RECORD, TENSOR_TYPES, U32_MASK, Errno
from meshnode.runtime.guest_memory import GuestMemory
from meshnode.runtime.sessions import ModelTensor
from meshnode.wire.arrays import holdable
from meshnode.wire.limits import RANK_MAX

Record = tuple[int, int, int, int, int]


def read_array(memory: GuestMemory, record: Record, tensor: ModelTensor) -> np.ndarray | None:
    """Return a guest's tensor as a view of its memory, or None if the record is wrong."""
    dims_pointer, rank, number, data_pointer, size = record
    if number != TENSOR_TYPES[tensor.dtype] or rank > RANK_MAX:
        return None
    raw_dims, data = memory.slice(dims_pointer, 4 * rank), memory.slice(data_pointer, size)
    if raw_dims is None or data is None:
        return None
    dims: list[int] = np.frombuffer(raw_dims.tobytes(), np.uint32).tolist()
    item = ITEM_BYTES[tensor.dtype]
    # Python's integers: a product of u32s would wrap in any fixed width.
    if prod(dims) * item != size or not holdable(dims, item):
        return None
    if tensor.dtype == "bool":
        # Bytes other than 0 and 1 are undefined behaviour in what reads them.
        flags: np.ndarray = np.not_equal(data, 0)
        return flags.reshape(dims)
    if data_pointer % item:
        data = data.copy()
    if dims == [1] and not tensor.shape:
        dims = []  # wasi-nn tells guests to write a scalar so
    return data.view(tensor.dtype).reshape(dims)


def write_arrays(memory: GuestMemory, records: memoryview, arrays: list[np.ndarray]) -> int:
    """Copy results to where the guest's records point, or say in them how much room it takes.

    Nothing is written before everything is known to have its place. Raises ModelFailed if an array
    cannot be told of in 32 bits: an axis may be that long in one without elements.
    """
    for array in arrays:
        if max(array.nbytes, *array.shape, 0) > U32_MASK:
            raise ModelFailed(f"the model answered with {array.shape}, a shape no guest can have")
    given: list[Record] = [RECORD.unpack_from(records, RECORD.size * i) for i in range(len(arrays))]
    fits = all(a.ndim <= r[1] and a.nbytes <= r[4] for r, a in zip(given, arrays, strict=True))
    places = []
    for record, array in zip(given, arrays, strict=True) if fits else ():
        dims, data = memory.slice(record[0], 4 * array.ndim), memory.slice(record[3], array.nbytes)
        if dims is None or data is None:
            return Errno.INVALID_ARGUMENT
        places.append((dims, data, array))
    for dims, data, array in places:
        dims[:] = np.array(array.shape, np.uint32).view(np.uint8)
        if array.nbytes:
            data[:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    for i, (record, array) in enumerate(zip(given, arrays, strict=True)):
        dims_pointer, _, _, data_pointer, _ = record
        number = TENSOR_TYPES[array.dtype.name]
        RECORD.pack_into(
            records, RECORD.size * i, dims_pointer, array.ndim, number, data_pointer, array.nbytes
        )
    return Errno.SUCCESS if fits else Errno.TOO_LARGE
