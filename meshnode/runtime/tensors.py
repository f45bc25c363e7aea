"""Request bodies as numpy arrays and back, without copying."""

from collections.abc import Mapping, Sequence

import numpy as np

from meshnode.wire.arrays import DTYPES, header, join_body, split_body
from meshnode.wire.messages import Body, TensorHeader

Array = np.ndarray
Arrays = Mapping[str, Array]


def to_arrays(headers: Sequence[TensorHeader], body: memoryview) -> dict[str, Array]:
    """Return the tensors of a body as views of it, by name.

    Raises WrongShape if the sizes do not add up; an unknown dtype is a bug (the codec checks).
    """
    views = split_body(headers, body)
    return {
        head.name: np.frombuffer(view, dtype=_dtype(head.dtype)).reshape(head.shape)
        for head, view in zip(headers, views, strict=True)
    }


def from_arrays(arrays: Arrays, order: Sequence[str]) -> tuple[tuple[TensorHeader, ...], Body]:
    """Return headers and body buffers of the named arrays, in this order.

    C-contiguous little-endian arrays are not copied.
    """
    headers, buffers = [], []
    for name in order:
        array = np.ascontiguousarray(arrays[name])
        # ascontiguousarray makes a scalar one-dimensional; the header keeps its true shape.
        headers.append(header(name, array.dtype.name, arrays[name].shape))
        buffers.append(array.reshape(-1).view(np.uint8).data if array.size else memoryview(b""))
    return tuple(headers), join_body(headers, buffers)


def _dtype(name: str) -> np.dtype:
    return np.dtype(DTYPES[name][0])
