"""Arrays in, arrays out: the part of the client that needs numpy."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from meshnode.client.answer import Answer, ModuleUsed, ServedBy, Timing
from meshnode.errors import UnreadableInput, WrongTensors
from meshnode.modules.manifest import TensorSpec
from meshnode.wire import arrays
from meshnode.wire.tensor import Buffer, TensorHeader

Array: TypeAlias = NDArray[np.generic]
Inputs: TypeAlias = Mapping[str, ArrayLike] | ArrayLike


class Result(Mapping[str, Array]):
    """The outputs by name, and who computed them, when and how."""

    def __init__(self, answer: Answer) -> None:
        self._arrays = {
            head.name: np.frombuffer(data, np.dtype(head.dtype)).reshape(head.shape)
            for head, data in zip(answer.headers, answer.tensors, strict=True)
        }
        self.node: ServedBy = answer.node
        self.module: ModuleUsed = answer.module
        self.timing: Timing = answer.timing
        self.batch: int = answer.batch
        """How many requests ran together."""
        self.attempts: tuple[Mapping[str, Any], ...] = answer.attempts
        self.explain: Mapping[str, Any] | None = answer.explain
        """Every candidate with its predicted time, if it was asked for."""

    def __getitem__(self, name: str) -> Array:
        """Return one output."""
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        """Return the outputs' names in the module's order."""
        return iter(self._arrays)

    def __len__(self) -> int:
        """Return how many outputs there are."""
        return len(self._arrays)

    def __repr__(self) -> str:
        """Return the outputs' types and the node, for a prompt."""
        shown = ", ".join(f"{n}: {a.dtype}{list(a.shape)}" for n, a in self._arrays.items())
        return f"<Result {shown} · {self.node} · {self.timing.total_ms:.1f} ms>"


def to_tensors(
    inputs: Inputs, specs: tuple[TensorSpec, ...]
) -> tuple[tuple[TensorHeader, ...], list[Buffer]]:
    """Return headers and bytes of the inputs, in the module's order where it knows them.

    What is not an array yet takes the declared dtype; an array keeps its own, so that a wrong
    one is refused and not silently converted.
    """
    given = inputs if isinstance(inputs, Mapping) else _alone(inputs, specs)
    declared = {spec.name: spec for spec in specs}
    order = sorted(given, key=lambda n: list(declared).index(n) if n in declared else len(declared))
    headers: list[TensorHeader] = []
    buffers: list[Buffer] = []
    for name in order:
        array = _array(name, given[name], declared.get(name))
        headers.append(arrays.header(name, array.dtype.name, array.shape))
        buffers.append(array.reshape(-1).view(np.uint8).data)
    return tuple(headers), buffers


def _alone(value: ArrayLike, specs: tuple[TensorSpec, ...]) -> Mapping[str, ArrayLike]:
    if len(specs) != 1:
        raise WrongTensors(
            f"the module takes {len(specs)} tensors: give them by name",
            because=[str(spec) for spec in specs],
        )
    return {specs[0].name: value}


def _array(name: str, value: ArrayLike, spec: TensorSpec | None) -> Array:
    try:
        ready = isinstance(value, np.ndarray | np.generic)
        array = np.asarray(value, dtype=None if ready or spec is None else np.dtype(spec.dtype))
    except (ValueError, TypeError, OverflowError) as error:
        raise UnreadableInput(f"tensor '{name}' is not numbers", because=[str(error)]) from error
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    # ascontiguousarray would make one dimension of none.
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)
