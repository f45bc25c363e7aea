"""Carries arrays into a guest and answers out of it: one class for each of the two ABIs.

The host needs room in the guest's memory. A guest that exports `alloc` gives it; in any other the
host grows the memory by pages of its own. The room is kept between calls and only ever grows, by
doubling, so that 10^5 calls leave the memory as large as the first ones made it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
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
from meshnode.runtime.records import Record
from meshnode.runtime.sandbox import Sandbox
from meshnode.wire.arrays import holdable
from meshnode.wire.limits import KIB, RANK_MAX

ALIGN = 64
"""A cache line: no kernel of onnxruntime or SIMD loop wants more."""
PREPARED_MAX = 32
"""Combinations of input shapes for which a call stays prepared; then it begins anew."""
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
        self.start = 0
        """Where the room begins, aligned."""

    def reserve(self, size: int) -> int:
        """Return the aligned address of at least this many bytes, or raise MemoryLimit."""
        size += ALIGN
        if size > self._size:
            wanted = max(size, 2 * self._size, PAGE_BYTES)
            try:
                self._take(wanted)
            except MeshnodeError:
                if wanted == size:
                    raise
                self._take(size)  # doubling was too much, the request itself may fit
            self.start = _aligned(self._pointer)
        return self.start

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
        self._prepared: dict[tuple[int, ...], _PreparedSeed] = {}

    def run(self, inputs: Sequence[np.ndarray], rows: int) -> list[np.ndarray]:
        """See `Abi`."""
        array = inputs[0]
        prepared = self._prepared.get(array.shape)
        if prepared is None or prepared.start != self._arena.start:
            shape = _seed_shape(self._input, self._output, array.shape)
            prepared = self._prepare(array, shape, prod(shape))
        status = self._call(prepared, array)
        most = self._sandbox.limits.output_bytes // 4
        if status == SEED_TOO_SMALL and prepared.args[3] < most:
            prepared = self._prepare(array, prepared.output.shape, most)
            status = self._call(prepared, array)
        if status:
            raise self._sandbox.failure("predict", status)
        return [prepared.output.copy()]

    def _prepare(
        self, array: np.ndarray, shape: tuple[int, ...], out_elements: int
    ) -> "_PreparedSeed":
        size = 4 * prod(shape)
        if size > self._sandbox.limits.output_bytes or not holdable(shape, 4):
            raise _too_much(size, self._sandbox)
        start = self._arena.reserve(_aligned(array.nbytes) + 4 * out_elements)
        out = start + _aligned(array.nbytes)
        memory = self._sandbox.memory
        source, answer = memory.slice(start, array.nbytes), memory.slice(out, size)
        assert source is not None, "the host has reserved this"
        assert answer is not None, "the host has reserved this"
        if len(self._prepared) >= PREPARED_MAX:
            self._prepared.clear()
        made = self._prepared[array.shape] = _PreparedSeed(
            start=start,
            input=source.view(np.float32).reshape(array.shape),
            output=answer.view(np.float32).reshape(shape),
            args=(start, array.size, out, out_elements),
        )
        return made

    def _call(self, prepared: "_PreparedSeed", array: np.ndarray) -> int:
        prepared.input[...] = array
        return self._sandbox.call("predict", *prepared.args)


@dataclass(slots=True)
class _PreparedSeed:
    """A call with an input of a certain shape."""

    start: int
    """Where the arena was when this was made."""
    input: np.ndarray
    output: np.ndarray
    args: tuple[int, int, int, int]


@dataclass(slots=True)
class _Prepared:
    """A call with inputs of certain shapes: all that is the same each time it is made."""

    start: int
    """Where the arena was when this was made; if it has moved, this is of no use any more."""
    head: bytes
    """Records and dims, inputs first."""
    head_to: memoryview
    inputs_to: list[np.ndarray]
    """Where the inputs go, in their dtypes and shapes."""
    records_out: memoryview
    room: list[int]
    """Bytes for each output."""
    args: tuple[int, int, int, int]
    answered: bytes = b""
    """What stood where the head is when the call had returned the last time."""
    answers: list[np.ndarray] = field(default_factory=list)
    """Views of the outputs that this describes, checked."""
    dims_apart: list[tuple[memoryview, bytes]] = field(default_factory=list)
    """Dims of outputs that the guest keeps elsewhere, and what they were."""

    def answers_as_before(self) -> bool:
        """Return whether records and dims are what they were when `answers` were made."""
        if self.head_to.tobytes() != self.answered:
            return False
        return not self.dims_apart or all(v.tobytes() == said for v, said in self.dims_apart)


class InferAbi:
    """`infer(in*, n_in, out*, n_out)` on arrays of tensor records."""

    def __init__(self, sandbox: Sandbox, manifest: Manifest) -> None:
        self._sandbox = sandbox
        self._arena = Arena(sandbox)
        self._outputs = manifest.outputs
        self._seen = [0] * len(manifest.outputs)
        """Bytes a row of each output was seen to take at most."""
        self._prepared: dict[object, _Prepared] = {}

    def run(self, inputs: Sequence[np.ndarray], rows: int) -> list[np.ndarray]:
        """See `Abi`."""
        if len(inputs) == 1:
            key: tuple[object, ...] = (rows, inputs[0].dtype, inputs[0].shape)
        else:
            key = (rows, *[(a.dtype, a.shape) for a in inputs])
        prepared = self._prepared.get(key)
        if prepared is None or prepared.start != self._arena.start:
            room = [self._guess(i, rows) for i in range(len(self._outputs))]
            prepared = self._prepare(key, inputs, room)
        status = self._call(prepared, inputs)
        if status:
            prepared, status = self._call_with_room(key, prepared, inputs, status)
            if status:
                raise self._sandbox.failure("infer", status)
        if not prepared.answers_as_before():
            self._look(prepared, rows)
        return [view.copy() for view in prepared.answers]

    def _call(self, prepared: _Prepared, inputs: Sequence[np.ndarray]) -> int:
        prepared.head_to[:] = prepared.head
        for i, target in enumerate(prepared.inputs_to):
            target[...] = inputs[i]
        return self._sandbox.call("infer", *prepared.args)

    def _call_with_room(
        self, key: object, prepared: _Prepared, inputs: Sequence[np.ndarray], status: int
    ) -> tuple[_Prepared, int]:
        """Call once more with as much room as the guest wants, if that is what is wrong."""
        if status != Errno.TOO_LARGE:
            return prepared, status
        records = RECORD.iter_unpack(prepared.records_out)
        needed = [max(had, r[4]) for had, r in zip(prepared.room, records, strict=True)]
        if sum(needed) > self._sandbox.limits.output_bytes:
            raise _too_much(sum(needed), self._sandbox)
        if needed == prepared.room:
            return prepared, status
        roomy = self._prepare(key, inputs, needed)
        return roomy, self._call(roomy, inputs)

    def _look(self, prepared: _Prepared, rows: int) -> None:
        """Read and check the output records: they are not what they were the last time."""
        prepared.answered = b""
        records = list(RECORD.iter_unpack(prepared.records_out))
        if sum(r[4] for r in records) > self._sandbox.limits.output_bytes:
            raise _too_much(sum(r[4] for r in records), self._sandbox)
        prepared.answers = [self._view(s, r) for s, r in zip(self._outputs, records, strict=True)]
        start, end = prepared.start, prepared.start + len(prepared.head)
        prepared.dims_apart = [
            (view, view.tobytes())
            for at, rank, *_ in records
            if not (start <= at and at + 4 * rank <= end)
            for view in (self._reserved(at, 4 * rank).data,)
        ]
        prepared.answered = prepared.head_to.tobytes()
        self._seen = [
            max(seen, -(-a.nbytes // max(rows, 1)))
            for seen, a in zip(self._seen, prepared.answers, strict=True)
        ]

    def _guess(self, index: int, rows: int) -> int:
        """Return the bytes to hold ready for an output."""
        spec = self._outputs[index]
        fixed = ITEM_BYTES[spec.dtype] * prod(abs(d) for d in spec.shape)
        if spec.shape[:1] == (-1,):
            fixed *= max(rows, 1)
        opens = sum(d < 0 for d in spec.shape[1:])
        return max(fixed, self._seen[index] * max(rows, 1), _UNKNOWN_BYTES if opens else 0)

    def _prepare(self, key: object, inputs: Sequence[np.ndarray], room: list[int]) -> _Prepared:
        """Lay out a call in the arena: records, dims, then each tensor on a line of its own."""
        count_in, count = len(inputs), len(inputs) + len(room)
        # Inputs' dims follow the records without a gap: who compares them compares one range.
        dims_at = [count * RECORD.size]
        for rank in (*(a.ndim for a in inputs), *(RANK_MAX for _ in room)):
            dims_at.append(dims_at[-1] + 4 * rank)
        data_at = [_aligned(dims_at[-1])]
        for size in (*(a.nbytes for a in inputs), *room):
            data_at.append(data_at[-1] + _aligned(size))
        start = self._arena.reserve(data_at[-1])
        head = bytearray(dims_at[-1])
        for i, array in enumerate(inputs):
            self._pack(head, i, start, dims_at[i], data_at[i], _of_input(array))
            at = dims_at[i]
            head[at : at + 4 * array.ndim] = np.array(array.shape, "<u4").tobytes()
        for i, (spec, size) in enumerate(zip(self._outputs, room, strict=True), count_in):
            facts = (RANK_MAX, TENSOR_TYPES[spec.dtype], size)
            self._pack(head, i, start, dims_at[i], data_at[i], facts)
        out = start + count_in * RECORD.size
        if len(self._prepared) >= PREPARED_MAX:
            self._prepared.clear()
        made = self._prepared[key] = _Prepared(
            start=start,
            head=bytes(head),
            head_to=self._reserved(start, len(head)).data,
            inputs_to=[
                self._reserved(start + at, a.nbytes).view(_native(a)).reshape(a.shape)
                for a, at in zip(inputs, data_at, strict=False)
            ],
            records_out=self._reserved(out, RECORD.size * len(room)).data,
            room=room,
            args=(start, count_in, out, len(room)),
        )
        return made

    @staticmethod
    def _pack(
        head: bytearray, i: int, start: int, dims: int, data: int, facts: tuple[int, int, int]
    ) -> None:
        rank, number, size = facts
        RECORD.pack_into(head, i * RECORD.size, start + dims, rank, number, start + data, size)

    def _reserved(self, pointer: int, size: int) -> np.ndarray:
        view = self._sandbox.memory.slice(pointer, size)
        assert view is not None, "the host has reserved this"
        return view

    def _view(self, spec: TensorSpec, record: Record) -> np.ndarray:
        """Return an output where it lies, or raise ModuleFailed if it is not what was promised."""
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
        return data.view(dtype).reshape(shape)


def _of_input(array: np.ndarray) -> tuple[int, int, int]:
    return array.ndim, TENSOR_TYPES[array.dtype.name], array.nbytes


def _native(array: np.ndarray) -> np.dtype:
    """Return the array's dtype as guests have it: little-endian."""
    return array.dtype.newbyteorder("<")


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


def _aligned(size: int) -> int:
    return -(-size // ALIGN) * ALIGN


def _too_much(size: int, sandbox: Sandbox) -> OutputLimit:
    return OutputLimit(f"the outputs take {size} bytes, the limit is {sandbox.limits.output_bytes}")
