"""Carries arrays into a guest and answers out of it, by tensor records: `infer`.

What is the same each time a request of certain shapes comes is made once: where everything lies in
the guest's memory, the records that say so, and the call. `seed_calls.py` does it for `predict`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Protocol, TypeAlias

import numpy as np

from meshnode.errors import ModuleFailed
from meshnode.modules.manifest import ITEM_BYTES, Manifest, TensorSpec, describe
from meshnode.runtime.abi import RECORD, TENSOR_TYPES, TYPE_DTYPES, Errno
from meshnode.runtime.arena import Arena, aligned, too_much
from meshnode.runtime.records import Record
from meshnode.runtime.sandbox import Sandbox
from meshnode.runtime.tensors import Arrays
from meshnode.wire.arrays import holdable
from meshnode.wire.limits import KIB, RANK_MAX

Ready: TypeAlias = Callable[[Arrays], dict[str, np.ndarray] | None]
"""Answers requests of certain dtypes and shapes, once more; None if it is of no use any more, and
then the guest was not called. Raises as `Abi.run` does."""
PREPARED_MAX = 32
"""Combinations of input shapes for which a call stays prepared; then it begins anew."""
_UNKNOWN_BYTES = 4 * KIB
"""First guess for an output whose size nobody knows; the guest says if it needs more."""


class Abi(Protocol):
    """How one kind of guest is called."""

    def run(self, inputs: Sequence[np.ndarray], rows: int) -> list[np.ndarray]:
        """Return the outputs in the manifest's order; `rows` is the size of the batch axis."""
        ...

    def ready(self, inputs: Sequence[np.ndarray], rows: int) -> Ready | None:
        """Return a quick way for requests like this, which was just answered; None if none is."""
        ...


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
    call: Callable[[], int]
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
        self._inputs = [spec.name for spec in manifest.inputs]
        self._outputs = manifest.outputs
        self._seen = [0] * len(manifest.outputs)
        """Bytes a row of each output was seen to take at most."""
        self._prepared: dict[object, _Prepared] = {}

    def run(self, inputs: Sequence[np.ndarray], rows: int) -> list[np.ndarray]:
        """See `Abi`."""
        key = _key(inputs, rows)
        prepared = self._prepared.get(key)
        if prepared is None or prepared.start != self._arena.start:
            room = [self._guess(i, rows) for i in range(len(self._outputs))]
            prepared = self._prepare(key, inputs, room)
        return self._finish(prepared, self._call(prepared, inputs), inputs, rows)

    def ready(self, inputs: Sequence[np.ndarray], rows: int) -> Ready | None:
        """See `Abi`."""
        prepared = self._prepared.get(_key(inputs, rows))
        if prepared is None:
            return None
        if len(inputs) == len(self._outputs) == 1:
            return self._ready_one(prepared, rows)
        arena, start, names = self._arena, prepared.start, self._inputs
        outputs = [spec.name for spec in self._outputs]

        def again(arrays: Arrays) -> dict[str, np.ndarray] | None:
            if arena.start != start:
                return None
            inputs = [*map(arrays.__getitem__, names)]
            answers = self._finish(prepared, self._call(prepared, inputs), inputs, rows)
            return dict(zip(outputs, answers, strict=True))

        return again

    def _ready_one(self, prepared: _Prepared, rows: int) -> Ready:
        """Return what `ready` does for one input and one output, as most modules have."""
        arena, start, call = self._arena, prepared.start, prepared.call
        head, head_to, (target,) = prepared.head, prepared.head_to, prepared.inputs_to
        (given,), (spec,) = self._inputs, self._outputs
        answered = spec.name

        def again(arrays: Arrays) -> dict[str, np.ndarray] | None:
            if arena.start != start:
                return None
            array = arrays[given]
            head_to[:] = head
            target[...] = array
            status = call()
            if status or prepared.dims_apart or head_to.tobytes() != prepared.answered:
                return {answered: self._finish(prepared, status, [array], rows)[0]}
            return {answered: prepared.answers[0].copy()}

        return again

    def _call(self, prepared: _Prepared, inputs: Sequence[np.ndarray]) -> int:
        prepared.head_to[:] = prepared.head
        for target, array in zip(prepared.inputs_to, inputs, strict=True):
            target[...] = array
        return prepared.call()

    def _finish(
        self, prepared: _Prepared, status: int, inputs: Sequence[np.ndarray], rows: int
    ) -> list[np.ndarray]:
        """Return the outputs of a call that has been made, or raise what its status means."""
        if status:
            prepared, status = self._call_with_room(prepared, inputs, rows, status)
            if status:
                raise self._sandbox.failure("infer", status)
        if not prepared.answers_as_before():
            self._look(prepared, rows)
        return [view.copy() for view in prepared.answers]

    def _call_with_room(
        self, prepared: _Prepared, inputs: Sequence[np.ndarray], rows: int, status: int
    ) -> tuple[_Prepared, int]:
        """Call once more with as much room as the guest wants, if that is what is wrong."""
        if status != Errno.TOO_LARGE:
            return prepared, status
        records = RECORD.iter_unpack(prepared.records_out)
        needed = [max(had, r[4]) for had, r in zip(prepared.room, records, strict=True)]
        if sum(needed) > self._sandbox.limits.output_bytes:
            raise too_much(sum(needed), self._sandbox)
        if needed == prepared.room:
            return prepared, status
        roomy = self._prepare(_key(inputs, rows), inputs, needed)
        return roomy, self._call(roomy, inputs)

    def _look(self, prepared: _Prepared, rows: int) -> None:
        """Read and check the output records: they are not what they were the last time."""
        prepared.answered = b""
        records = list(RECORD.iter_unpack(prepared.records_out))
        if sum(r[4] for r in records) > self._sandbox.limits.output_bytes:
            raise too_much(sum(r[4] for r in records), self._sandbox)
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
        """Lay out a call in the arena: records and dims, then each tensor on a line of its own.

        Dims follow their records without a gap, and outputs follow inputs: who compares them, or
        writes them, has one range.
        """
        count_in, count_out = len(inputs), len(room)
        at = 0
        records_at, dims_at = [], []
        for count, ranks in (
            (count_in, [a.ndim for a in inputs]),
            (count_out, [RANK_MAX] * count_out),
        ):
            records_at += [at + RECORD.size * i for i in range(count)]
            at += RECORD.size * count
            for rank in ranks:
                dims_at.append(at)
                at += 4 * rank
        size = at
        data_at = [aligned(size)]
        for each in (*(a.nbytes for a in inputs), *room):
            data_at.append(data_at[-1] + aligned(each))
        start = self._arena.reserve(data_at[-1])
        head = bytearray(size)
        facts = [(a.ndim, TENSOR_TYPES[a.dtype.name], a.nbytes) for a in inputs]
        facts += [
            (RANK_MAX, TENSOR_TYPES[spec.dtype], each)
            for spec, each in zip(self._outputs, room, strict=True)
        ]
        for record, dims, data, (rank, number, each) in zip(
            records_at, dims_at, data_at, facts, strict=False
        ):
            RECORD.pack_into(head, record, start + dims, rank, number, start + data, each)
        for dims, array in zip(dims_at, inputs, strict=False):
            head[dims : dims + 4 * array.ndim] = np.array(array.shape, "<u4").tobytes()
        out = start + records_at[count_in]
        if len(self._prepared) >= PREPARED_MAX:
            self._prepared.clear()
        made = self._prepared[key] = _Prepared(
            start=start,
            head=bytes(head),
            head_to=self._reserved(start, size).data,
            inputs_to=[
                self._reserved(start + at, a.nbytes).view(_native(a)).reshape(a.shape)
                for a, at in zip(inputs, data_at, strict=False)
            ],
            records_out=self._reserved(out, RECORD.size * count_out).data,
            room=room,
            call=self._sandbox.prepare("infer", start, count_in, out, count_out),
        )
        return made

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


def _key(inputs: Sequence[np.ndarray], rows: int) -> object:
    return rows, *[(a.dtype, a.shape) for a in inputs]


def _native(array: np.ndarray) -> np.dtype:
    """Return the array's dtype as guests have it: little-endian."""
    return array.dtype.newbyteorder("<")
