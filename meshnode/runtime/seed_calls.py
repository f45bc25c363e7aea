"""Carries arrays into a guest of the seed ABI and its answer out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from meshnode.errors import ModuleFailed
from meshnode.modules.manifest import Manifest, TensorSpec
from meshnode.runtime.abi import SEED_TOO_SMALL
from meshnode.runtime.arena import Arena, aligned, too_much
from meshnode.runtime.calls import PREPARED_MAX, Ready
from meshnode.runtime.sandbox import Sandbox
from meshnode.runtime.tensors import Arrays
from meshnode.wire.arrays import holdable


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
        return [self._finish(prepared, self._call(prepared, array), array)]

    def _finish(self, prepared: "_PreparedSeed", status: int, array: np.ndarray) -> np.ndarray:
        """Return the output of a call that has been made, or raise what its status means."""
        most = self._sandbox.limits.output_bytes // 4
        if status == SEED_TOO_SMALL and prepared.room < most:
            prepared = self._prepare(array, prepared.output.shape, most)
            status = self._call(prepared, array)
        if status:
            raise self._sandbox.failure("predict", status)
        return prepared.output.copy()

    def ready(self, inputs: Sequence[np.ndarray], rows: int) -> Ready | None:
        """See `Abi`."""
        prepared = self._prepared.get(inputs[0].shape)
        if prepared is None:
            return None
        arena, start, call = self._arena, prepared.start, prepared.call
        given, answered = self._input.name, self._output.name
        target, output = prepared.input, prepared.output

        def again(arrays: Arrays) -> dict[str, np.ndarray] | None:
            if arena.start != start:
                return None
            array = arrays[given]
            target[...] = array
            if status := call():
                return {answered: self._finish(prepared, status, array)}
            return {answered: output.copy()}

        return again

    def _prepare(
        self, array: np.ndarray, shape: tuple[int, ...], out_elements: int
    ) -> "_PreparedSeed":
        size = 4 * prod(shape)
        if size > self._sandbox.limits.output_bytes or not holdable(shape, 4):
            raise too_much(size, self._sandbox)
        start = self._arena.reserve(aligned(array.nbytes) + 4 * out_elements)
        out = start + aligned(array.nbytes)
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
            room=out_elements,
            call=self._sandbox.prepare("predict", start, array.size, out, out_elements),
        )
        return made

    def _call(self, prepared: "_PreparedSeed", array: np.ndarray) -> int:
        prepared.input[...] = array
        return prepared.call()


@dataclass(slots=True)
class _PreparedSeed:
    """A call with an input of a certain shape."""

    start: int
    """Where the arena was when this was made."""
    input: np.ndarray
    output: np.ndarray
    room: int
    """Elements that the output may have."""
    call: Callable[[], int]


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
