"""Carries arrays into a guest and answers out of it: one class for each of the two ABIs.

The host needs room in the guest's memory. A guest that exports `alloc` gives it; in any other the
host grows the memory by pages of its own. The room is kept between calls and only ever grows, by
doubling, so that 10^5 calls leave the memory as large as the first ones made it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Protocol

import numpy as np

from meshnode.errors import MeshnodeError, ModuleFailed, OutputLimit
from meshnode.modules.manifest import ITEM_BYTES, Manifest, TensorSpec, describe
from meshnode.runtime.abi import (
    PAGE_BYTES,
    RECORD,
    SEED_TOO_SMALL,
    TENSOR_TYPES,
    TYPE_DTYPES,
    Errno,
)
from meshnode.runtime.binding import NoMemory
from meshnode.runtime.hal import Record
from meshnode.runtime.sandbox import Sandbox
from meshnode.wire.arrays import holdable
from meshnode.wire.limits import KIB, RANK_MAX

ALIGN = 64
"""A cache line: no kernel of onnxruntime or SIMD loop wants more."""
_DIMS_BYTES = 4 * RANK_MAX
_UNKNOWN_BYTES = 4 * KIB
"""First guess for an output whose size nobody knows; the guest says if it needs more."""


class Abi(Protocol):
    """How one kind of guest is called."""

    def run(self, inputs: Sequence[np.ndarray], rows: int) -> list[np.ndarray]:
        """Return the outputs in the manifest's order; `rows` is the size of the batch axis."""
        ...


class Arena:
    """The host's room in the guest's memory."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._pointer = 0
        self._size = 0

    def reserve(self, size: int) -> int:
        """Return the address of at least this many bytes, or raise MemoryLimit."""
        if size > self._size:
            wanted = max(size, 2 * self._size, PAGE_BYTES)
            try:
                self._take(wanted)
            except MeshnodeError:
                if wanted == size:
                    raise
                self._take(size)  # doubling was too much, the request itself may fit
        return self._pointer

    def _take(self, size: int) -> None:
        pages = -(-size // PAGE_BYTES)
        if self._sandbox.has("alloc"):
            pointer = self._sandbox.call("alloc", size) & 0xFFFF_FFFF
            if not pointer or self._sandbox.memory.slice(pointer, size) is None:
                raise self._sandbox.no_memory(size)
            self._pointer, self._size = pointer, size
            return
        memory = self._sandbox.memory
        # The room at the end of memory can be extended where it lies.
        at_end = self._size and self._pointer + self._size == memory.size
        more = pages - self._size // PAGE_BYTES if at_end else pages
        try:
            start = memory.grow(more)
        except NoMemory as error:
            raise self._sandbox.no_memory(size) from error
        self._pointer = self._pointer if at_end else start
        self._size = pages * PAGE_BYTES


class SeedAbi:
    """`predict(in, in_len, out, out_len)`: one float32 array in, one out, lengths in elements.

    The guest does not say how much it wrote, so the output's shape must follow from the manifest
    and the input: the n-th open size of the output is the n-th open size of the input.
    """

    def __init__(self, sandbox: Sandbox, manifest: Manifest) -> None:
        self._sandbox = sandbox
        self._arena = Arena(sandbox)
        self._input, self._output = manifest.inputs[0], manifest.outputs[0]

    def run(self, inputs: Sequence[np.ndarray], rows: int) -> list[np.ndarray]:
        """See `Abi`."""
        array = inputs[0]
        shape = _seed_shape(self._input, self._output, array.shape)
        elements, most = prod(shape), self._sandbox.limits.output_bytes // 4
        if elements > most or not holdable(shape, 4):
            raise _too_much(elements * 4, self._sandbox)
        status, pointer = self._call(array, elements)
        if status == SEED_TOO_SMALL and elements < most:
            status, pointer = self._call(array, most)
        if status:
            raise self._sandbox.failure("predict", status)
        data = self._sandbox.memory.slice(pointer, 4 * elements)
        assert data is not None, "the host has reserved this"
        return [data.copy().view(np.float32).reshape(shape)]

    def _call(self, array: np.ndarray, out_elements: int) -> tuple[int, int]:
        in_bytes = _aligned(array.nbytes)
        start = _aligned(self._arena.reserve(in_bytes + 4 * out_elements + ALIGN))
        _copy_in(self._sandbox, start, array)
        out = start + in_bytes
        return self._sandbox.call("predict", start, array.size, out, out_elements), out


@dataclass(slots=True)
class _Layout:
    """Where everything of a call lies, counted from an aligned start."""

    data_at: list[int]
    """Of each tensor, inputs first."""
    room: list[int]
    """Bytes for each output."""
    total: int


class InferAbi:
    """`infer(in*, n_in, out*, n_out)` on arrays of tensor records."""

    def __init__(self, sandbox: Sandbox, manifest: Manifest) -> None:
        self._sandbox = sandbox
        self._arena = Arena(sandbox)
        self._outputs = manifest.outputs
        self._seen = [0] * len(manifest.outputs)
        """Bytes a row of each output was seen to take at most."""

    def run(self, inputs: Sequence[np.ndarray], rows: int) -> list[np.ndarray]:
        """See `Abi`."""
        room = [self._guess(i, rows) for i in range(len(self._outputs))]
        status, records = self._call(inputs, room)
        if status == Errno.TOO_LARGE:
            needed = [max(had, r[4]) for had, r in zip(room, records, strict=True)]
            if sum(needed) > self._sandbox.limits.output_bytes:
                raise _too_much(sum(needed), self._sandbox)
            if needed != room:
                status, records = self._call(inputs, needed)
        if status:
            raise self._sandbox.failure("infer", status)
        if sum(r[4] for r in records) > self._sandbox.limits.output_bytes:
            raise _too_much(sum(r[4] for r in records), self._sandbox)
        arrays = [self._read(s, r) for s, r in zip(self._outputs, records, strict=True)]
        self._seen = [
            max(seen, -(-a.nbytes // max(rows, 1)))
            for seen, a in zip(self._seen, arrays, strict=True)
        ]
        return arrays

    def _guess(self, index: int, rows: int) -> int:
        """Return the bytes to hold ready for an output."""
        spec = self._outputs[index]
        fixed = ITEM_BYTES[spec.dtype] * prod(abs(d) for d in spec.shape)
        if spec.shape[:1] == (-1,):
            fixed *= max(rows, 1)
        opens = sum(d < 0 for d in spec.shape[1:])
        return max(fixed, self._seen[index] * max(rows, 1), _UNKNOWN_BYTES if opens else 0)

    def _call(self, inputs: Sequence[np.ndarray], room: list[int]) -> tuple[int, list[Record]]:
        count_in, count = len(inputs), len(inputs) + len(room)
        layout = _lay_out([a.nbytes for a in inputs], room)
        start = _aligned(self._arena.reserve(layout.total + ALIGN))
        head = bytearray(count * (RECORD.size + _DIMS_BYTES))
        dims_at = start + count * RECORD.size
        for i in range(count):
            array = inputs[i] if i < count_in else None
            number = TENSOR_TYPES[
                array.dtype.name if array is not None else self._outputs[i - count_in].dtype
            ]
            rank = RANK_MAX if array is None else array.ndim
            size = room[i - count_in] if array is None else array.nbytes
            dims = dims_at + i * _DIMS_BYTES
            RECORD.pack_into(
                head, i * RECORD.size, dims, rank, number, start + layout.data_at[i], size
            )
            if array is not None:
                at = dims - start
                head[at : at + 4 * rank] = np.array(array.shape, "<u4").tobytes()
        memory = self._sandbox.memory
        target = memory.slice(start, len(head))
        assert target is not None, "the host has reserved this"
        target[:] = np.frombuffer(head, np.uint8)
        for array, at in zip(inputs, layout.data_at, strict=False):
            _copy_in(self._sandbox, start + at, array)
        out = start + count_in * RECORD.size
        status = self._sandbox.call("infer", start, count_in, out, len(room))
        raw = memory.slice(out, RECORD.size * len(room))
        assert raw is not None, "the host has reserved this"
        return status, list(RECORD.iter_unpack(raw.tobytes()))

    def _read(self, spec: TensorSpec, record: Record) -> np.ndarray:
        """Return a copy of an output, or raise ModuleFailed if it is not what was promised."""
        dims_pointer, rank, number, data_pointer, size = record
        memory = self._sandbox.memory
        dims = memory.slice(dims_pointer, 4 * rank) if rank <= RANK_MAX else None
        data = memory.slice(data_pointer, size)
        if dims is None or data is None:
            raise ModuleFailed(f"the guest's record of '{spec.name}' points outside its memory")
        shape = tuple(np.frombuffer(dims.tobytes(), "<u4").tolist())
        dtype = TYPE_DTYPES.get(number, f"type {number}")
        if (
            dtype != spec.dtype
            or len(shape) != len(spec.shape)
            or any(w not in (-1, g) for w, g in zip(spec.shape, shape, strict=True))
        ):
            raise ModuleFailed(
                f"the guest answered '{spec.name}' as {describe(dtype, shape)}",
                because=[f"its metadata promises {spec}"],
            )
        if prod(shape) * ITEM_BYTES[dtype] != size or not holdable(shape, ITEM_BYTES[dtype]):
            raise ModuleFailed(
                f"the guest answered '{spec.name}' with {size} bytes for {describe(dtype, shape)}"
            )
        return data.copy().view(dtype).reshape(shape)


def _lay_out(in_sizes: Sequence[int], room: Sequence[int]) -> _Layout:
    """Return the places of records, dims and data, each tensor on a line of its own."""
    count = len(in_sizes) + len(room)
    at, places = _aligned(count * (RECORD.size + _DIMS_BYTES)), []
    for size in (*in_sizes, *room):
        places.append(at)
        at += _aligned(size)
    return _Layout(places, list(room), at)


def _seed_shape(given: TensorSpec, wanted: TensorSpec, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the output's shape for an input of this shape."""
    opens = [size for spec, size in zip(given.shape, shape, strict=True) if spec < 0]
    found = []
    for size in wanted.shape:
        if size >= 0:
            found.append(size)
        elif opens:
            found.append(opens.pop(0))
        else:
            raise ModuleFailed(
                f"the size of '{wanted.name}' does not follow from '{given.name}'",
                because=[
                    "predict returns no shape: each open size of the output takes one of "
                    "the input's"
                ],
                try_='give the output a fixed shape, or use abi = "infer"',
            )
    return tuple(found)


def _copy_in(sandbox: Sandbox, pointer: int, array: np.ndarray) -> None:
    target = sandbox.memory.slice(pointer, array.nbytes)
    assert target is not None, "the host has reserved this"
    if array.nbytes:
        target[:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _aligned(size: int) -> int:
    return -(-size // ALIGN) * ALIGN


def _too_much(size: int, sandbox: Sandbox) -> OutputLimit:
    return OutputLimit(f"the outputs take {size} bytes, the limit is {sandbox.limits.output_bytes}")
