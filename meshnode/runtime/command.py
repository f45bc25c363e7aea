"""Runs WASI command guests: a fresh instance for each request, tensors through its streams.

Inputs are on stdin, one after the other in the manifest's order, as bare bytes (little-endian, C
order); outputs are read from stdout in the same form. Shapes travel in the environment. A guest
that ends by itself with status 0 has answered.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod

import numpy as np

from meshnode.errors import GuestStatus, MeshnodeError, ModuleFailed, OutputLimit
from meshnode.modules.manifest import ITEM_BYTES, Limits, Manifest, TensorSpec, describe
from meshnode.runtime.sandbox import Sandbox
from meshnode.runtime.wasi_stdio import Stdio

Start = Callable[[Stdio], Sandbox]
"""Makes an instance with these streams; its start function has run when it returns."""
_ENTRY = "_start"


class CommandAbi:
    """`_start()`, or a start section, with a request on stdin and its answer on stdout."""

    def __init__(self, start: Start, manifest: Manifest, limits: Limits) -> None:
        self._start = start
        self._manifest = manifest
        self._limits = limits

    def run(self, inputs: Sequence[np.ndarray], rows: int) -> list[np.ndarray]:
        """See `Abi`. Raises OutputLimit, GuestStatus, or what a sandbox raises."""
        specs = self._manifest.outputs
        stdio = self._stdio(inputs)
        try:
            self._run(stdio)
        finally:
            if stdio.overflowed:  # whatever the guest made of it
                raise OutputLimit(
                    f"the guest wrote more than its limit of {stdio.stdout_bytes_max} bytes "
                    "to stdout"
                )
        assert stdio.stdout is not None, "a command's stdout is its answer"
        shapes = output_shapes(self._manifest, rows, len(stdio.stdout))
        whole, arrays, at = memoryview(stdio.stdout), [], 0
        for spec, shape in zip(specs, shapes, strict=True):
            size = prod(shape) * ITEM_BYTES[spec.dtype]
            arrays.append(_array(whole[at : at + size], spec, shape))
            at += size
        return arrays

    def ready(self, inputs: Sequence[np.ndarray], rows: int) -> None:
        """See `Abi`: each request is an instance of its own."""

    def _run(self, stdio: Stdio) -> None:
        sandbox: Sandbox | None = None
        try:
            sandbox = self._start(stdio)
            if sandbox.has(_ENTRY) and stdio.exit_status is None:
                sandbox.call(_ENTRY)
        except MeshnodeError:
            if stdio.exit_status != 0:
                raise
        finally:
            if sandbox is not None:
                sandbox.close()
        if stdio.exit_status:
            raise GuestStatus(f"the guest ended itself with status {stdio.exit_status}")

    def _stdio(self, inputs: Sequence[np.ndarray]) -> Stdio:
        about = self._manifest
        return Stdio(
            stdin=memoryview(b"".join(map(_data, inputs))),
            stdout=bytearray(),
            stdout_bytes_max=self._limits.output_bytes,
            arguments=(about.name,),
            environment=tuple(
                f"MESHNODE_INPUT_{i}={a.dtype.name}{''.join(f' {d}' for d in a.shape)}"
                for i, a in enumerate(inputs)
            ),
            seed=f"{about.name}@{about.version}".encode(),
        )


def output_shapes(manifest: Manifest, rows: int, size: int) -> list[tuple[int, ...]]:
    """Return the shapes of outputs that have `size` bytes together, or raise ModuleFailed.

    An open first axis is the batch in a batching module. Of the other open sizes the first takes
    what the length leaves (a manifest has them in one output only) and the rest are 1.
    """
    specs = list(manifest.outputs)
    if manifest.batch:
        specs = [replace(s, shape=(rows, *s.shape[1:])) for s in specs]
    least = [prod(map(abs, s.shape)) * ITEM_BYTES[s.dtype] for s in specs]
    shapes = [tuple(map(abs, s.shape)) for s in specs]
    opens = [i for i, s in enumerate(specs) if -1 in s.shape]
    if opens and least[opens[0]]:
        shape, left = specs[opens[0]].shape, size - sum(least) + least[opens[0]]
        if left >= 0 and left % least[opens[0]] == 0:
            axis = shape.index(-1)
            grown = (
                *shapes[opens[0]][:axis],
                left // least[opens[0]],
                *shapes[opens[0]][axis + 1 :],
            )
            shapes[opens[0]] = grown
            least[opens[0]] = left
    if sum(least) != size:
        promised = ", ".join(str(s) for s in specs)
        raise ModuleFailed(
            f"the guest wrote {size} bytes to stdout, its outputs take "
            f"{'a multiple of ' if opens else ''}{sum(least)}",
            because=[f"its metadata promises {promised}"],
        )
    return shapes


def _data(array: np.ndarray) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _array(data: memoryview, spec: TensorSpec, shape: tuple[int, ...]) -> np.ndarray:
    flat = np.frombuffer(data, np.uint8)
    if spec.dtype == "bool" and flat.size and int(flat.max()) > 1:
        raise ModuleFailed(
            f"the guest wrote bytes that are neither 0 nor 1 for {describe(spec.dtype, shape)}"
        )
    # A copy, because a tensor after an odd number of bytes would not be aligned.
    return flat.copy().view(spec.dtype).reshape(shape)
