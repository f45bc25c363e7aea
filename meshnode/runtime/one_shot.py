"""The one-shot `meshnode.infer`: a model run straight from and to the memory of the guest.

The first call with certain tensors is checked, tensor by tensor, and becomes a plan: a run bound to
their addresses, and the bytes that its records will hold afterwards. A later call whose records and
dims are the same bytes at the same place is that plan, and costs no more than to compare them: a
length of memory once seen stays, so what was inside it is so still.

Not everything can be bound. Flags (a byte that is neither 0 nor 1 must not reach onnxruntime),
tensors that overlap or are not aligned, and providers with a memory of their own take the ordinary
way, which copies. So do outputs whose size the model does not tell, until some runs from inputs of
the same shapes have shown it. Should it depend on the numbers all the same, onnxruntime refuses the
memory bound for it, and that call and all later ones take the ordinary way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from meshnode.errors import ModelFailed
from meshnode.modules.manifest import ITEM_BYTES
from meshnode.runtime.abi import RECORD, TENSOR_TYPES, Errno
from meshnode.runtime.guest_memory import GuestMemory
from meshnode.runtime.records import Record, read_array, write_arrays
from meshnode.runtime.sessions import BoundRun, ModelSession, ModelTensor, Shape
from meshnode.wire.limits import TENSORS_MAX

SITES_MAX = 16
"""Pairs of record arrays remembered for one instance; a guest has one or two."""
PLANS_MAX = 16
"""For one pair: as many shapes, or places of data, are quick. The least recently used goes."""
PLANS_UNUSED_MAX = 32
"""A guest that never gives the same records twice gets no more plans than this: they cost 20 us."""
LEARN_AFTER = 3
"""Runs in a row that must have shown the same sizes: a wrong guess costs one run more."""

Shapes = tuple[Shape, ...]
Range = tuple[int, int]
"""From an address in the guest's memory up to another."""


@dataclass(slots=True)
class _Plan:
    """A call that can be made again."""

    view: memoryview
    """The records and dims, or the first of the ranges in which they lie."""
    said: bytes
    """What must stand there."""
    others: list[tuple[memoryview, bytes]]
    """The other ranges."""
    run: BoundRun
    after: list[tuple[memoryview, bytes]]
    """What is written to where when it has run."""
    learned: bool = False
    """Whether some output's size is not what the model tells but what was seen."""

    def matches(self) -> bool:
        """Return whether the guest says the same as when this was made."""
        if self.view.tobytes() != self.said:
            return False
        return not self.others or all(view.tobytes() == said for view, said in self.others)


class _Site:
    """A place in a guest from which a model is run."""

    __slots__ = ("_learns", "_seen", "plans", "session", "unused")

    def __init__(self, session: ModelSession) -> None:
        self.session = session
        self.plans: list[_Plan] = []
        """The one that was used last comes first."""
        self.unused = 0
        """Plans made, less those that were used again."""
        self._learns = True
        self._seen: dict[Shapes, tuple[Shapes, int]] = {}
        """By the inputs' shapes: the outputs', and how often they were so."""

    def see(self, inputs: Shapes, outputs: Shapes) -> None:
        """Take the shapes of a run that was made in the ordinary way."""
        if not self._learns:
            return
        before, times = self._seen.get(inputs, (outputs, 0))
        if before != outputs:
            self.forget()
            return
        if len(self._seen) >= PLANS_MAX:
            self._seen.clear()
        self._seen[inputs] = outputs, times + 1

    def learned(self, inputs: Shapes) -> Shapes:
        """Return the shapes of the outputs of such inputs; none if they are not known."""
        outputs, times = self._seen.get(inputs, ((), 0))
        return outputs if times >= LEARN_AFTER else ()

    def forget(self) -> None:
        """The outputs' sizes depend on the numbers: nothing more is to be learned here."""
        self._learns = False
        self._seen.clear()
        self.plans = [plan for plan in self.plans if not plan.learned]

    def find(self) -> _Plan | None:
        """Return the plan for what the records say now."""
        for index, plan in enumerate(self.plans):
            if plan.matches():
                if index:
                    self.plans.insert(0, self.plans.pop(index))
                if self.unused:
                    self.unused -= 1
                return plan
        return None

    def keep(self, plan: _Plan) -> None:
        """Remember a plan that was just made."""
        self.plans.insert(0, plan)
        del self.plans[PLANS_MAX:]
        self.unused += 1


class OneShot:
    """The calls of one instance."""

    def __init__(self) -> None:
        self._sites: dict[tuple[int, ...], _Site] = {}

    def run(
        self, memory: GuestMemory, session: ModelSession, tensors: tuple[int, ...], deadline: float
    ) -> int:
        """Answer a call; `tensors` are in*, n_in, out*, n_out. Raises TimeLimit or ModelFailed."""
        site = self._sites.get(tensors)
        if site is None or site.session is not session:
            site = self._new_site(session, tensors)
        # What comes most is looked at here: a method's call costs as much as the comparison.
        plan = site.plans[0] if site.plans else None
        if plan is None or plan.others or plan.view.tobytes() != plan.said:
            plan = site.find()
        elif site.unused:
            site.unused -= 1
        if plan is None:
            if session.bindable and site.unused < PLANS_UNUSED_MAX:
                plan = _make(memory, site, tensors)
            if plan is None:
                return _run_apart(memory, site, tensors, deadline)
            site.keep(plan)
        try:
            plan.run(deadline)
        except ModelFailed:
            # Either the model fails on these numbers, and now again, or its outputs are not as it
            # declares them, or as they were.
            status = _run_apart(memory, site, tensors, deadline)
            if plan.learned:
                site.forget()
            else:
                session.bindable = False
                self._sites.clear()
            return status
        for view, data in plan.after:
            view[:] = data
        return 0

    def _new_site(self, session: ModelSession, tensors: tuple[int, ...]) -> _Site:
        if len(self._sites) >= SITES_MAX:
            self._sites.clear()
        made = self._sites[tensors] = _Site(session)
        return made


def _run_apart(memory: GuestMemory, site: _Site, tensors: tuple[int, ...], deadline: float) -> int:
    """Run the model on arrays of our own, its outputs copied to where the records point."""
    session = site.session
    in_pointer, in_count, out_pointer, out_count = tensors
    if in_count != len(session.inputs) or out_count > len(session.outputs):
        return Errno.INVALID_ARGUMENT
    records_in = memory.slice(in_pointer, RECORD.size * in_count)
    records_out = memory.slice(out_pointer, RECORD.size * out_count)
    if records_in is None or records_out is None or max(in_count, out_count) > TENSORS_MAX:
        return Errno.INVALID_ARGUMENT
    arrays = []
    for i, tensor in enumerate(session.inputs):
        array = read_array(memory, RECORD.unpack_from(records_in.data, RECORD.size * i), tensor)
        if array is None:
            return Errno.INVALID_ARGUMENT
        arrays.append(array)
    outputs = session.run(arrays, deadline)[:out_count]
    site.see(tuple(a.shape for a in arrays), tuple(a.shape for a in outputs))
    return write_arrays(memory, records_out.data, outputs)


def _make(memory: GuestMemory, site: _Site, tensors: tuple[int, ...]) -> _Plan | None:
    """Return a plan for what the records say, or None if the call is not one for a plan."""
    session = site.session
    in_pointer, in_count, out_pointer, out_count = tensors
    if in_count != len(session.inputs) or not 0 < out_count <= len(session.outputs):
        return None
    given = _given(memory, session.inputs, in_pointer)
    if given is None:
        return None
    shapes = _shapes(session, given, out_count)
    if learned := None in shapes:
        seen = site.learned(tuple(shape for _, shape in given))
        shapes = [s if k is None else k for k, s in zip(shapes, seen, strict=False)]
    wanted = _wanted(memory, session, shapes, out_pointer, out_count)
    if wanted is None:
        return None
    heads, heads_out = _heads(given, in_pointer), _heads(wanted, out_pointer)
    if _overlap([*heads, *_data(given)], [*heads_out, *_data(wanted)]):
        return None
    records_out = heads_out[0]
    try:
        run = session.bind(
            [(shape, memory.base + record[3]) for record, shape in given],
            [(shape, memory.base + record[3]) for record, shape in wanted],
        )
    except ModelFailed:  # then the ordinary way says what is wrong
        session.bindable = False
        return None
    ranges = [_view(memory, *range_) for range_ in _joined([*heads, records_out])]
    said = [(view, view.tobytes()) for view in ranges]
    after = _after(memory, wanted, records_out)
    return _Plan(*said[0], said[1:], run, after, learned)


_Tensors = list[tuple[Record, Shape]]


def _given(memory: GuestMemory, tensors: Sequence[ModelTensor], pointer: int) -> _Tensors | None:
    """Return the inputs' records and the shapes to run them with, or None if one is unfit."""
    records = memory.slice(pointer, RECORD.size * len(tensors))
    if records is None or len(tensors) > TENSORS_MAX:
        return None
    found: _Tensors = []
    for tensor, record in zip(tensors, RECORD.iter_unpack(records.tobytes()), strict=True):
        array = read_array(memory, record, tensor)
        if array is None or not array.nbytes or not _can_be_bound(tensor, record):
            return None
        found.append((record, array.shape))
    return found


def _shapes(session: ModelSession, given: _Tensors, count: int) -> list[Shape | None]:
    """Return the outputs' shapes as the model tells them for these inputs; None if it does not."""
    sizes = {
        named: size
        for tensor, (_, shape) in zip(session.inputs, given, strict=True)
        for named, size in zip(tensor.shape, shape, strict=False)
        if isinstance(named, str)
    }
    found: list[Shape | None] = []
    for tensor in session.outputs[:count]:
        dims = [sizes.get(d) if isinstance(d, str) else d for d in tensor.shape]
        shape = tuple(d for d in dims if d is not None and d > 0)
        found.append(shape if len(shape) == len(dims) else None)
    return found


def _wanted(
    memory: GuestMemory,
    session: ModelSession,
    shapes: Sequence[Shape | None],
    pointer: int,
    count: int,
) -> _Tensors | None:
    """Return the outputs' records and their shapes, or None if one is unknown or has no room."""
    records = memory.slice(pointer, RECORD.size * count)
    if records is None or count > TENSORS_MAX or len(shapes) != count:
        return None
    found: _Tensors = []
    for tensor, record, shape in zip(
        session.outputs, RECORD.iter_unpack(records.tobytes()), shapes, strict=False
    ):
        if shape is None or 0 in shape:
            return None
        size = prod(shape) * ITEM_BYTES[tensor.dtype]
        if len(shape) > record[1] or size > record[4]:
            return None
        dims_at, data_at = memory.slice(record[0], 4 * len(shape)), memory.slice(record[3], size)
        if dims_at is None or data_at is None or not _can_be_bound(tensor, record):
            return None
        found.append((_answered(tensor, record, shape), shape))
    return found


def _can_be_bound(tensor: ModelTensor, record: Record) -> bool:
    return tensor.dtype != "bool" and record[3] % ITEM_BYTES[tensor.dtype] == 0


def _answered(tensor: ModelTensor, record: Record, shape: Shape) -> Record:
    """Return an output's record as it will be after the run."""
    size = prod(shape) * ITEM_BYTES[tensor.dtype]
    return (record[0], len(shape), TENSOR_TYPES[tensor.dtype], record[3], size)


def _after(memory: GuestMemory, wanted: _Tensors, records: Range) -> list[tuple[memoryview, bytes]]:
    """Return what is to be written for the outputs: their records, and their dims.

    What lies side by side is written at once.
    """
    parts = [(records[0], b"".join(RECORD.pack(*record) for record, _ in wanted))]
    for record, shape in sorted(wanted):
        dims = b"".join(size.to_bytes(4, "little") for size in shape)
        if record[0] == parts[-1][0] + len(parts[-1][1]):
            parts[-1] = (parts[-1][0], parts[-1][1] + dims)
        else:
            parts.append((record[0], dims))
    return [(_view(memory, at, at + len(data)), data) for at, data in parts if data]


def _data(tensors: _Tensors) -> list[Range]:
    return [(record[3], record[3] + record[4]) for record, _ in tensors]


def _heads(tensors: _Tensors, pointer: int) -> list[Range]:
    """Return where the records of tensors lie, and their dims."""
    dims = [(record[0], record[0] + 4 * record[1]) for record, _ in tensors if record[1]]
    return [(pointer, pointer + RECORD.size * len(tensors)), *dims]


def _overlap(read: list[Range], written: list[Range]) -> bool:
    """Return whether a range that is written meets any other.

    A kernel checks an index and then uses it: its output must not lie over its input.
    """
    every = sorted([*((r, False) for r in read), *((w, True) for w in written)])
    end, written_end = -1, -1
    for (start, stop), is_written in every:
        if start < (end if is_written else written_end):
            return True
        end = max(end, stop)
        written_end = max(written_end, stop) if is_written else written_end
    return False


def _joined(ranges: list[Range]) -> list[Range]:
    """Return the same bytes in as few ranges as there can be."""
    found: list[Range] = []
    for start, end in sorted(ranges):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def _view(memory: GuestMemory, start: int, end: int) -> memoryview:
    view = memory.slice(start, end - start)
    assert view is not None, "this was looked at before"
    return view.data
