"""Writes small ONNX files without the `onnx` package: for probes and measurements.

The few messages of onnx.proto3 that a feed-forward graph takes, encoded as protobuf by hand. It
is the counterpart of `onnx_proto`, which reads what strangers wrote.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

IR_VERSION = 8
OPSET = 17
_FLOAT, _INT, _INTS = 1, 2, 7
"""AttributeProto's types."""
_ELEMENT_TYPES = {"float32": 1, "uint8": 2, "int32": 6, "int64": 7, "float64": 11}
_VARINT, _BYTES, _FIXED32 = 0, 2, 5

Attribute = int | float | Sequence[int]
Shape = Sequence[int | str]
"""Sizes; a name stands for a size that is open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One operator of the standard domain."""

    op: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)


def write_model(
    nodes: Sequence[Node],
    *,
    inputs: Mapping[str, Shape],
    outputs: Mapping[str, Shape],
    weights: Mapping[str, np.ndarray],
) -> bytes:
    """Return the bytes of an ONNX file; inputs and outputs are float32."""
    graph = b"".join(
        (
            *(_message(1, _node(node)) for node in nodes),
            _text(2, "graph"),
            *(_message(5, _tensor(name, array)) for name, array in weights.items()),
            *(_message(11, _value(name, shape)) for name, shape in inputs.items()),
            *(_message(12, _value(name, shape)) for name, shape in outputs.items()),
        )
    )
    opset = _text(1, "") + _number(2, OPSET)
    return _number(1, IR_VERSION) + _text(2, "meshnode") + _message(7, graph) + _message(8, opset)


def _node(node: Node) -> bytes:
    return b"".join(
        (
            *(_text(1, name) for name in node.inputs),
            *(_text(2, name) for name in node.outputs),
            _text(4, node.op),
            *(_message(5, _attribute(name, value)) for name, value in node.attributes.items()),
        )
    )


def _attribute(name: str, value: Attribute) -> bytes:
    if isinstance(value, int):
        return _text(1, name) + _number(3, value) + _number(20, _INT)
    if isinstance(value, float):
        given = _key(2, _FIXED32) + struct.pack("<f", value)
        return _text(1, name) + given + _number(20, _FLOAT)
    return _text(1, name) + b"".join(_number(8, item) for item in value) + _number(20, _INTS)


def _tensor(name: str, array: np.ndarray) -> bytes:
    dims = b"".join(_number(1, size) for size in array.shape)
    data = np.ascontiguousarray(array).tobytes()
    return dims + _number(2, _ELEMENT_TYPES[array.dtype.name]) + _text(8, name) + _message(9, data)


def _value(name: str, shape: Shape) -> bytes:
    dims = b"".join(
        _message(1, _text(2, size) if isinstance(size, str) else _number(1, size)) for size in shape
    )
    tensor = _number(1, _ELEMENT_TYPES["float32"]) + _message(2, dims)
    return _text(1, name) + _message(2, _message(1, tensor))


# ---------------------------------------------------------------------- protobuf


def _key(field_number: int, wire_type: int) -> bytes:
    return _varint(field_number << 3 | wire_type)


def _number(field_number: int, value: int) -> bytes:
    return _key(field_number, _VARINT) + _varint(value & (1 << 64) - 1)


def _text(field_number: int, value: str) -> bytes:
    return _message(field_number, value.encode())


def _message(field_number: int, data: bytes) -> bytes:
    return _key(field_number, _BYTES) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
