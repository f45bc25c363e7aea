"""Checks a request's tensors against a module's manifest, before anything is sent or run."""

from collections.abc import Mapping, Sequence
from math import prod

from meshnode.errors import TooLarge, WrongDtype, WrongShape, WrongTensors
from meshnode.modules.manifest import ITEM_BYTES, Manifest, TensorSpec, describe
from meshnode.modules.names import hint
from meshnode.wire.limits import BODY_BYTES_MAX
from meshnode.wire.tensor import TensorHeader


def check_inputs(manifest: Manifest, headers: Sequence[TensorHeader]) -> int:
    """Return how many rows the request has along the batch axis (1 for a module without one).

    Raises WrongTensors, WrongDtype, WrongShape or TooLarge, naming the tensor, what the module
    declares and what was given. The tensors' order does not matter.
    """
    given = _by_name(manifest, headers)
    for spec in manifest.inputs:
        header = given[spec.name]
        _check_dtype(spec, header)
        _check_shape(spec, header)
    total = sum(header.size for header in headers)
    if total > BODY_BYTES_MAX:
        raise TooLarge(
            f"the inputs have {total} bytes, a request carries at most {BODY_BYTES_MAX}",
            try_="send fewer rows at a time" if manifest.batch else "",
        )
    return _batch_rows(manifest, given) if manifest.batch else 1


def rows_of(manifest: Manifest, headers: Sequence[TensorHeader]) -> int:
    """Return how much there is to run in inputs that are or will be checked: their rows, or 1."""
    if not manifest.batch or not headers or not headers[0].shape:
        return 1
    return max(1, headers[0].shape[0])


def check_test_tensor(spec: TensorSpec, header: TensorHeader) -> None:
    """Check a tensor of a self-test against its declaration.

    A self-test travels as bytes alone, so only the first open dimension may differ from 1
    (`manifest.SelfTest`). Raises WrongDtype or WrongShape.
    """
    _check_dtype(spec, header)
    _check_shape(spec, header)
    opened = [got for got, want in zip(header.shape, spec.shape, strict=True) if want < 0]
    if any(got != 1 for got in opened[1:]):
        raise WrongShape(
            f"tensor '{spec.name}' is {describe(header.dtype, header.shape)} in a self-test",
            because=[f"declared {spec}: every '?' but the first must be 1 here"],
        )


def _by_name(manifest: Manifest, headers: Sequence[TensorHeader]) -> Mapping[str, TensorHeader]:
    declared = [spec.name for spec in manifest.inputs]
    given: dict[str, TensorHeader] = {}
    for header in headers:
        if header.name not in declared:
            raise WrongTensors(
                f"{manifest.name} has no input '{header.name}'{hint(header.name, declared)}",
                because=[f"its inputs: {_listed(manifest.inputs)}"],
            )
        if header.name in given:
            raise WrongTensors(f"tensor '{header.name}' was given twice")
        given[header.name] = header
    missing = [spec for spec in manifest.inputs if spec.name not in given]
    if missing:
        raise WrongTensors(
            f"{manifest.name} needs the input {_listed(missing)}, which was not given",
            because=[f"given: {', '.join(given) or 'nothing'}"],
        )
    return given


def _check_dtype(spec: TensorSpec, header: TensorHeader) -> None:
    if header.dtype != spec.dtype:
        raise WrongDtype(
            f"tensor '{spec.name}' must be {spec.dtype}, got {header.dtype}",
            because=[f"declared {spec}", f"got {describe(header.dtype, header.shape)}"],
            try_=f"convert it: array.astype('{spec.dtype}')",
        )


def _check_shape(spec: TensorSpec, header: TensorHeader) -> None:
    fits = len(header.shape) == len(spec.shape) and all(
        got == want or (want < 0 <= got) for got, want in zip(header.shape, spec.shape, strict=True)
    )
    if not fits:
        raise WrongShape(
            f"tensor '{spec.name}' must be {describe(spec.dtype, spec.shape)}, "
            f"got {describe(header.dtype, header.shape)}",
            because=[_first_difference(spec, header)],
        )
    size = prod(header.shape) * ITEM_BYTES[header.dtype]
    if header.size != size:
        raise WrongShape(
            f"tensor '{spec.name}' has {header.size} bytes, its shape "
            f"{describe(header.dtype, header.shape)} takes {size}"
        )


def _first_difference(spec: TensorSpec, header: TensorHeader) -> str:
    if len(header.shape) != len(spec.shape):
        return f"it has {len(header.shape)} axes, {len(spec.shape)} are declared"
    axis = next(
        i
        for i, want in enumerate(spec.shape)
        if header.shape[i] != want and not want < 0 <= header.shape[i]
    )
    return f"axis {axis} is {header.shape[axis]}, declared is {spec.shape[axis]}"


def _batch_rows(manifest: Manifest, given: Mapping[str, TensorHeader]) -> int:
    rows = {spec.name: given[spec.name].shape[0] for spec in manifest.inputs}
    first, count = next(iter(rows.items()))
    for name, other in rows.items():
        if other != count:
            raise WrongShape(
                f"tensor '{name}' has {other} rows, '{first}' has {count}",
                because=["axis 0 is the batch: it must be the same in every input"],
            )
    if count < 1:
        raise WrongShape(f"tensor '{first}' has no rows", because=["axis 0 is the batch"])
    return count


def _listed(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(map(str, specs))
