"""Tensors in files: .npy, JSON lists and raw bytes in; .npy out. Without numpy where it can be."""

import json
import sys
from errno import EDQUOT, EFBIG, ENOSPC
from pathlib import Path

from meshnode.errors import DiskFull, TooLarge, UnreadableInput, UsageError
from meshnode.wire import arrays
from meshnode.wire.limits import BODY_BYTES_MAX
from meshnode.wire.tensor import Buffer, TensorHeader

FILE_BYTES_MAX = 4 * BODY_BYTES_MAX
"""JSON is about four times as long as the tensor it spells."""
_NPY = b"\x93NUMPY"

Tensor = tuple[TensorHeader, Buffer]


def read_input(
    text: str, declared: dict[str, str], *, dtype: str = "", shape: tuple[int, ...] = ()
) -> list[Tensor]:
    """Return the tensors of one `--input [NAME=]FILE`.

    `declared` maps the module's input names to dtypes. A file without a name is the module's only
    input, or a JSON object of all of them. With `dtype` a file that is not .npy is raw bytes.
    """
    name, source = split_name(text, declared)
    data, what = _read(source), source if source != "-" else "standard input"
    if data[:6] == _NPY:
        found_dtype, found_shape, elements = read_npy(data, what)
        head = arrays.header(name or only(declared, what), found_dtype, found_shape)
        return [(head, elements)]
    if dtype:
        head = arrays.header(name or only(declared, what), dtype, shape)
        if head.size != len(data):
            raise UnreadableInput(
                f"{what} has {len(data)} bytes",
                because=[f"{dtype}{list(shape)} takes {head.size}"],
            )
        return [(head, data)]
    return _read_json(data, what, name, declared)


def split_name(text: str, declared: dict[str, str]) -> tuple[str, str]:
    """Return the tensor's name (empty if none is given) and the file of `[NAME=]FILE`."""
    for name in declared:
        if text.startswith(f"{name}="):
            return name, text[len(name) + 1 :]
    name, equals, rest = text.partition("=")
    if equals and not Path(text).exists():
        return name, rest
    return "", text


def only(declared: dict[str, str], what: str) -> str:
    """Return the name of a module's single input, or raise UsageError that asks for names."""
    if len(declared) != 1:
        listed = ", ".join(f"{name} {dtype}" for name, dtype in declared.items())
        raise UsageError(
            f"for which input is {what}?",
            because=[f"the module takes {listed}"],
            try_=" ".join(f"--input {name}=FILE" for name in declared),
        )
    return next(iter(declared))


def read_npy(data: Buffer, what: str) -> tuple[str, tuple[int, ...], Buffer]:
    """Return dtype, shape and elements of an .npy file.

    Fortran order and big-endian elements, which the door does not rearrange itself, are left to
    numpy; pickled objects are refused either way.
    """
    try:
        return arrays.read_npy(data, what)
    except UnreadableInput as refused:
        if not refused.try_:
            raise
    from io import BytesIO

    import numpy as np

    try:
        array = np.load(BytesIO(data), allow_pickle=False)
    except (ValueError, OSError, MemoryError) as error:  # cut short, or a shape beyond all memory
        raise UnreadableInput(f"{what} cannot be read as .npy", because=[str(error)]) from error
    plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return plain.dtype.name, plain.shape, plain.tobytes()


def write_npy(path: Path, head: TensorHeader, data: Buffer) -> None:
    """Write one tensor as an .npy file, or raise UsageError saying why not."""
    try:
        with path.open("wb") as file:
            file.write(arrays.npy_bytes(head))
            file.write(data)
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in (ENOSPC, EDQUOT, EFBIG):
            path.unlink(missing_ok=True)  # half an answer is none
            raise DiskFull(
                f"no room left to write {path}", because=[reason], try_=f"df -h {path.parent}"
            ) from error
        raise UsageError(f"{path} cannot be written", because=[reason]) from error


def _read_json(data: bytes, what: str, name: str, declared: dict[str, str]) -> list[Tensor]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UnreadableInput(
            f"{what} is neither .npy nor JSON",
            because=[str(error)],
            try_="for raw bytes add --dtype float32 --shape 1,3,96,96",
        ) from error
    if not name and isinstance(value, dict) and not {"data", "dtype"} & set(value):
        return [arrays.from_json(n, v, declared.get(n, "")) for n, v in value.items()]
    name = name or only(declared, what)
    return [arrays.from_json(name, value, declared.get(name, ""))]


def _read(source: str) -> bytes:
    try:
        if source == "-":
            data = sys.stdin.buffer.read(FILE_BYTES_MAX + 1)
        else:
            with Path(source).open("rb") as file:
                data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise UnreadableInput(
            f"{source} cannot be read", because=[error.strerror or str(error)]
        ) from error
    if len(data) > FILE_BYTES_MAX:
        raise TooLarge(f"{source} is larger than {FILE_BYTES_MAX} bytes")
    return data
