"""Tensor records in a guest's memory: read as views of it, and written back."""

from math import prod

import numpy as np

from meshnode.modules.manifest import ITEM_BYTES
from meshnode.runtime.abi import RECORD, TENSOR_TYPES, Errno
from meshnode.runtime.guest_memory import GuestMemory
from meshnode.runtime.sessions import ModelTensor
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
    if prod(dims) * item != size:
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
    """Copy results to where the guest's records point, or say in them how much room it takes."""
    places = []
    for i, array in enumerate(arrays):
        record: Record = RECORD.unpack_from(records, RECORD.size * i)
        places.append((record, array, array.ndim <= record[1] and array.nbytes <= record[4]))
    fits = all(ok for _, _, ok in places)
    for i, (record, array, _) in enumerate(places):
        dims_pointer, _, _, data_pointer, _ = record
        if fits:
            dims = memory.slice(dims_pointer, 4 * array.ndim)
            data = memory.slice(data_pointer, array.nbytes)
            if dims is None or data is None:
                return Errno.INVALID_ARGUMENT
            dims[:] = np.array(array.shape, np.uint32).view(np.uint8)
            if array.nbytes:
                data[:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        number = TENSOR_TYPES[array.dtype.name]
        RECORD.pack_into(
            records, RECORD.size * i, dims_pointer, array.ndim, number, data_pointer, array.nbytes
        )
    return Errno.SUCCESS if fits else Errno.TOO_LARGE
