"""Reads the declaring sections of a guest: types, imports, functions, memory, exports.

Only what preflight needs, and with every count bounded before anything is built from it.
WebAssembly Core Specification 2.0, section 5.5.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from meshnode.errors import MalformedModule
from meshnode.runtime.abi import Signature
from meshnode.runtime.wasm_reader import Reader
from meshnode.wire.limits import MIB

T = TypeVar("T")

TYPES_MAX = 5_000
VALUES_MAX = 256
"""Parameters or results of one function."""
FUNCTIONS_MAX = 20_000
"""Two hundred thousand empty ones in 800 KB took 13 s to compile."""
IMPORTS_MAX = 64
EXPORTS_MAX = 64
"""Listing them is quadratic in the binding: 10,000 took 5 s."""
GLOBALS_MAX = 10_000
TABLE_ELEMENTS_MAX = 10_000
CODE_BYTES_MAX = 8 * MIB
PAGES_MAX = 65_536

NUMBERS = b"\x7f\x7e\x7d\x7c"
"""i32 i64 f32 f64: the only value types that may cross the boundary. The binding aborts the
process when it meets v128 or a reference in an exported function's type."""
_VALUES = NUMBERS + b"\x7b\x70\x6f"
_REFERENCES = b"\x70\x6f"
_KINDS = ("function", "table", "memory", "global", "tag")
_LEB = rb"[\x80-\xff]{0,9}+[\x00-\x7f]"
_CONSTANT = re.compile(
    rb"(?:[\x41\x42\x23\xd0\xd2]" + _LEB + rb"|\x43.{4}|\x44.{8}|\xfd\x0c.{16}"
    rb"|[\x6a-\x6c\x7c-\x7e])*+\x0b",
    re.DOTALL,
)
"""A constant expression with its end: constants, global.get, ref.null, ref.func, + - *."""


@dataclass(frozen=True, slots=True)
class ImportedFunction:
    """A function the guest wants from the host."""

    module: str
    name: str
    signature: Signature

    def __str__(self) -> str:
        """Return `module.name`."""
        return f"{self.module}.{self.name}"


@dataclass(frozen=True, slots=True)
class MemoryType:
    """The guest's one memory, in pages of 64 KiB."""

    pages_min: int
    pages_max: int | None
    """None if the guest sets no bound itself."""


@dataclass(frozen=True, slots=True)
class Export:
    """Something the guest shows to the host."""

    kind: str
    index: int
    signature: Signature | None
    """Of a function; None for the others."""


def read_types(data: memoryview | None) -> tuple[Signature, ...]:
    """Return the function types; anything else than a plain function type is refused."""
    if data is None:
        return ()
    reader = Reader(data, "type")
    found = []
    for _ in range(reader.count(TYPES_MAX, "types")):
        if (form := reader.byte()) != 0x60:
            raise MalformedModule(
                f"the module has a type of form {form:#x}; only functions are accepted",
                because=["GC, typed references and stack switching are off"],
            )
        found.append(Signature(_values(reader), _values(reader)))
    reader.end()
    return tuple(found)


def read_imports(
    data: memoryview | None, types: Sequence[Signature]
) -> tuple[ImportedFunction, ...]:
    """Return the imports; all must be functions, of numbers only."""
    if data is None:
        return ()
    reader = Reader(data, "import")
    found = []
    for _ in range(reader.count(IMPORTS_MAX, "imports")):
        module, name, kind = reader.name(), reader.name(), reader.byte()
        if kind != 0:
            what = _KINDS[kind] if kind < len(_KINDS) else f"kind {kind}"
            raise MalformedModule(
                f"the module imports a {what}, {module}.{name}; only functions can be imported"
            )
        signature = _at(types, reader.u32(), "type")
        _check_numbers(signature, f"the import {module}.{name}")
        found.append(ImportedFunction(module, name, signature))
    reader.end()
    return tuple(found)


def read_functions(
    data: memoryview | None, types: Sequence[Signature], *, imported: int
) -> tuple[int, ...]:
    """Return the type index of each of the guest's own functions."""
    if data is None:
        return ()
    reader = Reader(data, "function")
    found = reader.u32s(reader.count(FUNCTIONS_MAX - imported, "functions"))
    reader.end()
    for index in set(found):
        _at(types, index, "type")
    return found


def read_tables(data: memoryview | None) -> int:
    """Return how many tables there are (0 or 1), its size checked."""
    if data is None:
        return 0
    reader = Reader(data, "table")
    count = reader.count(1, "tables")
    for _ in range(count):
        if reader.byte() not in _REFERENCES:
            raise reader.wrong("has a table of neither functions nor external references")
        least, _ = _limits(reader, "table")
        if least > TABLE_ELEMENTS_MAX:
            raise MalformedModule(
                f"the table has {least} elements, at most {TABLE_ELEMENTS_MAX} are accepted"
            )
    reader.end()
    return count


def read_memory(data: memoryview | None) -> MemoryType:
    """Return the type of the guest's one memory; shared and 64-bit ones are refused."""
    if data is None:
        raise MalformedModule("the module has no memory")
    reader = Reader(data, "memory")
    if reader.count(1, "memories") != 1:
        raise MalformedModule("the module has no memory")
    least, most = _limits(reader, "memory")
    if least > PAGES_MAX or (most is not None and most > PAGES_MAX):
        raise MalformedModule(f"the memory has more than {PAGES_MAX} pages")
    reader.end()
    return MemoryType(least, most)


def read_globals(data: memoryview | None) -> tuple[int, ...]:
    """Return the value type of each global."""
    if data is None:
        return ()
    reader = Reader(data, "global")
    found = []
    for _ in range(reader.count(GLOBALS_MAX, "globals")):
        value = reader.byte()
        if value not in _VALUES or reader.byte() > 1:
            raise reader.wrong("has a global of a type this node does not accept")
        constant = _CONSTANT.match(reader.data, reader.position)
        if constant is None:
            raise reader.wrong("has an initial value this node does not accept")
        reader.position = constant.end()
        found.append(value)
    reader.end()
    return tuple(found)


def read_exports(
    data: memoryview | None, functions: Sequence[Signature], globals_: Sequence[int], tables: int
) -> dict[str, Export]:
    """Return the exports by name; functions and globals must be of numbers only."""
    if data is None:
        return {}
    reader = Reader(data, "export")
    found: dict[str, Export] = {}
    for _ in range(reader.count(EXPORTS_MAX, "exports")):
        name, kind, index = reader.name(), reader.byte(), reader.u32()
        if name in found:
            raise MalformedModule(f"the module exports '{name}' twice")
        if kind >= len(_KINDS) - 1:
            raise MalformedModule(f"the export '{name}' is of kind {kind}")
        signature = None
        if _KINDS[kind] == "function":
            signature = _at(functions, index, "function")
            _check_numbers(signature, f"the export '{name}'")
        elif _KINDS[kind] == "global":
            if _at(globals_, index, "global") not in NUMBERS:
                raise MalformedModule(f"the export '{name}' is a global that is not a number")
        elif index >= (tables if _KINDS[kind] == "table" else 1):
            raise MalformedModule(f"the export '{name}' is a {_KINDS[kind]} that does not exist")
        found[name] = Export(_KINDS[kind], index, signature)
    reader.end()
    return found


def _values(reader: Reader) -> bytes:
    values = reader.take(reader.count(VALUES_MAX, "values in one function type"))
    for value in values:
        if value not in _VALUES:
            raise MalformedModule(f"the module uses the value type {value:#x}")
    return values


def _limits(reader: Reader, what: str) -> tuple[int, int | None]:
    """Return minimum and maximum; the flags of shared and 64-bit limits are refused."""
    flags = reader.byte()
    if flags > 1:
        raise MalformedModule(f"the {what} is shared, 64-bit or of another page size")
    least = reader.u32()
    return least, reader.u32() if flags else None


def _check_numbers(signature: Signature, what: str) -> None:
    for value in signature.params + signature.results:
        if value not in NUMBERS:
            raise MalformedModule(f"{what} has a value type that cannot cross: {signature}")


def _at(items: Sequence[T], index: int, what: str) -> T:
    if index >= len(items):
        raise MalformedModule(f"there is no {what} {index}")
    return items[index]
