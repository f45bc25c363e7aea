"""Reads just enough of an ONNX file (protobuf) to refuse it before onnxruntime sees it.

An ONNX tensor may say that its data lie in another file. onnxruntime then reads that file, and a
model from a stranger would get to see any file below the working directory. So every tensor in
every graph is looked at: initializers, attributes, subgraphs, functions. The field numbers are
those of onnx.proto3; what is not on the way to a tensor is skipped by its length.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from meshnode.errors import UnreadableModel

FIELDS_MAX = 4_000_000
"""Each costs about a microsecond; a model with 100,000 nodes has about a million."""
DEPTH_MAX = 64
_MODEL, _GRAPH, _NODE, _ATTRIBUTE, _TENSOR, _SPARSE, _FUNCTION, _TRAINING, _OPSET = range(9)
_CHILDREN: dict[int, dict[int, int]] = {
    _MODEL: {7: _GRAPH, 8: _OPSET, 20: _TRAINING, 25: _FUNCTION},
    _GRAPH: {1: _NODE, 5: _TENSOR, 15: _SPARSE},
    _NODE: {5: _ATTRIBUTE},
    _ATTRIBUTE: {5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE},
    _SPARSE: {1: _TENSOR, 2: _TENSOR},
    _FUNCTION: {7: _NODE, 11: _ATTRIBUTE},
    _TRAINING: {1: _GRAPH, 2: _GRAPH},
}
_NODE_OP = 4
_GRAPH_INPUT, _GRAPH_OUTPUT = 11, 12
_VALUE_NAME, _VALUE_TYPE, _TYPE_TENSOR, _TENSOR_SHAPE = 1, 2, 1, 2
_TENSOR_NAME, _TENSOR_EXTERNAL, _TENSOR_LOCATION = 8, 13, 14
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(slots=True)
class OnnxScan:
    """What was found."""

    opset: int = 0
    """Of the standard domain; 0 if the file names none."""
    external: list[str] = field(default_factory=list)
    """Names of tensors whose data lie in another file."""
    unranked_inputs: set[str] = field(default_factory=set)
    """Of the model's graph: those that do not say how many axes they have."""
    unranked_outputs: set[str] = field(default_factory=set)
    foreign_context: bool = False
    """A node carries or names a compiled engine (EPContext), which may be another file."""


def scan_model(data: bytes) -> OnnxScan:
    """Return what matters of a model's bytes, or raise UnreadableModel."""
    scan = OnnxScan()
    _Walker(memoryview(data), scan).message(_MODEL, 0, len(data), 0)
    return scan


def check_model(data: bytes) -> OnnxScan:
    """Return the scan of a model that stands alone, or raise UnreadableModel naming the tensor."""
    scan = scan_model(data)
    if scan.external:
        names = ", ".join(f"'{n}'" for n in scan.external[:3])
        raise UnreadableModel(
            f"the tensor {names} keeps its data in another file; a module must contain everything",
            because=[f"{len(scan.external)} tensors have external data"],
            try_="onnx.save(onnx.load('model.onnx'), 'whole.onnx')",
        )
    if scan.foreign_context:
        raise UnreadableModel(
            "the model contains an engine compiled for one device (EPContext)",
            try_="pack the model it was compiled from",
        )
    return scan


class _Walker:
    """Goes through nested messages by their lengths."""

    def __init__(self, data: memoryview, scan: OnnxScan) -> None:
        self._data = data
        self._scan = scan
        self._fields = 0

    def message(self, kind: int, start: int, end: int, depth: int) -> None:
        if depth > DEPTH_MAX:
            raise UnreadableModel(f"the model nests graphs deeper than {DEPTH_MAX}")
        if kind == _TENSOR:
            self._tensor(start, end)
        elif kind == _OPSET:
            self._opset(start, end)
        else:
            for number, wire, value, stop in self._read(start, end):
                child = _CHILDREN[kind].get(number) if wire == _BYTES else None
                if child is not None:
                    self.message(child, value, stop, depth + 1)
                elif kind == _GRAPH and depth == 1 and wire == _BYTES:
                    self._value(number, value, stop)
                elif kind == _NODE and number == _NODE_OP and wire == _BYTES:
                    self._scan.foreign_context |= self._text(value, stop) == "EPContext"

    def _value(self, number: int, start: int, end: int) -> None:
        """Note an input or output of the model whose type has no shape; a scalar's is empty."""
        if number not in (_GRAPH_INPUT, _GRAPH_OUTPUT):
            return
        name, ranked = "", False
        for part, wire, value, stop in self._read(start, end):
            if part == _VALUE_NAME and wire == _BYTES:
                name = self._text(value, stop)
            elif part == _VALUE_TYPE and wire == _BYTES:
                ranked |= any(
                    inner == _TENSOR_SHAPE
                    for outer, kind, at, until in self._read(value, stop)
                    if outer == _TYPE_TENSOR and kind == _BYTES
                    for inner, *_ in self._read(at, until)
                )
        if not ranked:
            scan = self._scan
            (scan.unranked_inputs if number == _GRAPH_INPUT else scan.unranked_outputs).add(name)

    def _tensor(self, start: int, end: int) -> None:
        name, outside = "", False
        for number, wire, value, stop in self._read(start, end):
            if number == _TENSOR_NAME and wire == _BYTES:
                name = self._text(value, stop)
            outside |= number == _TENSOR_EXTERNAL
            outside |= number == _TENSOR_LOCATION and value != 0
        if outside:
            self._scan.external.append(name)

    def _opset(self, start: int, end: int) -> None:
        domain, opset = "", 0
        for number, wire, value, stop in self._read(start, end):
            if number == _OPSET_DOMAIN and wire == _BYTES:
                domain = self._text(value, stop)
            elif number == _OPSET_VERSION and wire == _VARINT:
                opset = value
        if domain in ("", "ai.onnx"):
            self._scan.opset = max(self._scan.opset, opset)

    def _read(self, position: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        """Yield (field number, wire type, value or start, end of the field)."""
        while position < end:
            self._fields += 1
            if self._fields > FIELDS_MAX:
                raise UnreadableModel(f"the model has more than {FIELDS_MAX} fields")
            key, position = self._varint(position, end)
            if key >> 32:
                # Some parsers keep the low 32 bits, and would find another field than we do.
                raise _not_onnx(f"a field's number before byte {position} exceeds 32 bits")
            wire = key & 7
            if wire == _VARINT:
                value, stop = self._varint(position, end)
            elif wire == _BYTES:
                size, value = self._varint(position, end)
                stop = value + size
            elif wire in (_FIXED64, _FIXED32):
                value, stop = 0, position + (8 if wire == _FIXED64 else 4)
            else:
                raise _not_onnx(f"wire type {wire} at byte {position}")
            if stop > end:
                raise _not_onnx(f"it is cut off at byte {position}")
            yield key >> 3, wire, value, stop
            position = stop

    def _varint(self, position: int, end: int) -> tuple[int, int]:
        value = shift = 0
        while position < end and shift < 70:
            byte = self._data[position]
            value |= (byte & 0x7F) << shift
            position += 1
            if byte < 0x80:
                return value, position
            shift += 7
        raise _not_onnx(f"a number at byte {position} is cut off")

    def _text(self, start: int, end: int) -> str:
        return bytes(self._data[start : min(end, start + 256)]).decode("utf-8", "replace")


def _not_onnx(why: str) -> UnreadableModel:
    return UnreadableModel("this is not an ONNX file", because=[why])
