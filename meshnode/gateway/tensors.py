"""Tensors in HTTP bodies: JSON lists, one .npy file, or raw bytes with their type in headers.

Pure functions, no sockets. Large bodies are converted in a worker thread by the caller.
"""

import json
from collections.abc import Mapping, Sequence

from meshnode.errors import TooLarge, UnreadableInput, UsageError, WrongTensors
from meshnode.modules.manifest import TensorSpec
from meshnode.wire import arrays
from meshnode.wire.limits import MIB, TENSORS_MAX
from meshnode.wire.tensor import Body, Buffer, TensorHeader

JSON_BYTES_MAX = 32 * MIB
"""A body of JSON; as .npy the same tensor is a third of it and is not parsed at all."""
JSON_OUTPUT_BYTES_MAX = 8 * MIB
"""Tensor bytes that are spelt out as JSON; that is some 100 MB of text already."""

Tensors = tuple[tuple[TensorHeader, ...], Body]


def read_tensors(
    body: bytearray, headers: Mapping[str, str], specs: Sequence[TensorSpec], name: str
) -> Tensors:
    """Return the tensors of a request body, or raise InputError.

    `headers` are the request's, lower-case; `name` is the tensor a bare .npy or raw body is for,
    empty if the module has only one. What the body starts with counts more than a content type,
    because clients set that carelessly.
    """
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if body[:6] == b"\x93NUMPY":
        dtype, shape, data = arrays.read_npy(body, "the body")
        return _one(_name(name, specs), dtype, shape, data)
    if kind == "application/octet-stream":
        shape = _shape(headers.get("x-shape"))
        head = arrays.header(_name(name, specs), headers.get("x-dtype", ""), shape)
        if head.size != len(body):
            raise UnreadableInput(
                f"the body has {len(body)} bytes",
                because=[f"{head.dtype}{list(shape)} takes {head.size}"],
            )
        return _one(head.name, head.dtype, shape, body)
    return read_json(body, specs)


def read_json(body: bytearray, specs: Sequence[TensorSpec]) -> Tensors:
    """Return the tensors of `{"inputs": {name: lists or {"dtype", "shape", "data"}}}`."""
    if len(body) > JSON_BYTES_MAX:
        raise TooLarge(f"JSON of {len(body)} bytes, limit {JSON_BYTES_MAX}: send an .npy body")
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UnreadableInput("the body is not JSON", because=[str(error)]) from error
    inputs = parsed.get("inputs") if isinstance(parsed, dict) else None
    if not isinstance(inputs, dict) or not 1 <= len(inputs) <= TENSORS_MAX:
        raise UnreadableInput(
            'the body must be {"inputs": {NAME: ...}}',
            because=[f"the module takes {', '.join(str(s) for s in specs)}"],
        )
    declared = {spec.name: spec.dtype for spec in specs}
    headers: list[TensorHeader] = []
    buffers: list[Buffer] = []
    for tensor, value in inputs.items():
        head, data = arrays.from_json(tensor, value, declared.get(tensor, ""))
        headers.append(head)
        buffers.append(data)
    return tuple(headers), arrays.join_body(headers, buffers)


def write_json(headers: Sequence[TensorHeader], body: Body) -> dict[str, object]:
    """Return the outputs as JSON: name to dtype, shape and nested lists."""
    size = arrays.body_bytes(headers)
    if size > JSON_OUTPUT_BYTES_MAX:
        raise TooLarge(
            f"the outputs have {size} bytes, as JSON at most {JSON_OUTPUT_BYTES_MAX} are written",
            try_="send Accept: application/x-npy",
        )
    views = arrays.split_body(headers, arrays.flat(body))
    return {
        head.name: {
            "dtype": head.dtype,
            "shape": list(head.shape),
            "data": arrays.to_lists(head, view),
        }
        for head, view in zip(headers, views, strict=True)
    }


def write_npy(headers: Sequence[TensorHeader], body: Body) -> bytes:
    """Return the only output as an .npy file, or raise WrongTensors if there are several."""
    if len(headers) != 1:
        raise WrongTensors(
            f"the module gives {len(headers)} outputs and an .npy file holds one",
            try_="send Accept: application/json",
        )
    (view,) = arrays.split_body(headers, arrays.flat(body))
    return arrays.npy_bytes(headers[0]) + view


def _one(name: str, dtype: str, shape: Sequence[int], data: Buffer) -> Tensors:
    head = arrays.header(name, dtype, shape)
    return (head,), arrays.join_body([head], [data])


def _name(name: str, specs: Sequence[TensorSpec]) -> str:
    if name:
        return name
    if len(specs) != 1:
        raise WrongTensors(
            f"the module takes {len(specs)} tensors and this body holds one",
            because=[str(spec) for spec in specs],
            try_="send JSON with all of them",
        )
    return specs[0].name


def _shape(text: str | None) -> tuple[int, ...]:
    parts = [] if not (text or "").strip("() ") else str(text).strip("() ").rstrip(",").split(",")
    if text is None or not all(p.strip().isdigit() and len(p) < 12 for p in parts):
        raise UsageError("a raw body needs X-Dtype (float32) and X-Shape (1,3,96,96)")
    return tuple(int(p) for p in parts)
