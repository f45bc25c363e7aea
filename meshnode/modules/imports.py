"""What a Wasm module asks its host for: the names in its import section.

Only names and kinds, for people to look at; whether they are allowed, with exact signatures, is
checked by the runtime's preflight. WebAssembly Core Specification 2.0, section 5.5.5.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from meshnode.errors import MalformedModule
from meshnode.modules.sections import Section, read_leb

IMPORTS_MAX = 1000
_KINDS = ("function", "table", "memory", "global", "tag")
_NAME_BYTES_MAX = 1024


@dataclass(frozen=True, slots=True)
class Import:
    """One import."""

    module: str
    name: str
    kind: str

    def __str__(self) -> str:
        """Return `module.name`."""
        return f"{self.module}.{self.name}"


def imports_of(sections: Sequence[Section]) -> tuple[Import, ...]:
    """Return what a module imports, or raise MalformedModule if that cannot be read."""
    for section in sections:
        if section.id == 2:
            return _Reader(section.data).imports()
    return ()


class _Reader:
    """Walks through an import section."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._position = 0

    def imports(self) -> tuple[Import, ...]:
        count = self._leb()
        if count > IMPORTS_MAX:
            raise MalformedModule(f"the module has {count} imports, at most {IMPORTS_MAX}")
        found = tuple(self._import() for _ in range(count))
        if self._position != len(self._data):
            raise MalformedModule("bytes follow the last import")
        return found

    def _import(self) -> Import:
        module, name, kind = self._name(), self._name(), self._byte()
        if kind >= len(_KINDS):
            raise MalformedModule(f"'{name}' is an import of unknown kind {kind}")
        match _KINDS[kind]:
            case "function":
                self._leb()
            case "table":
                self._byte()
                self._limits()
            case "memory":
                self._limits()
            case "global":
                self._byte()
                self._byte()
            case _:
                self._byte()
                self._leb()
        return Import(module, name, _KINDS[kind])

    def _limits(self) -> None:
        has_maximum = self._byte() & 1
        self._leb()
        if has_maximum:
            self._leb()

    def _name(self) -> str:
        size = self._leb()
        end = self._position + size
        if size > _NAME_BYTES_MAX or end > len(self._data):
            raise MalformedModule("a name in the import section is cut off or too long")
        raw, self._position = self._data[self._position : end], end
        try:
            return str(raw, "utf-8")
        except UnicodeDecodeError as error:
            raise MalformedModule("a name in the import section is not UTF-8") from error

    def _byte(self) -> int:
        if self._position >= len(self._data):
            raise MalformedModule("the import section is cut off")
        self._position += 1
        return self._data[self._position - 1]

    def _leb(self) -> int:
        value, self._position = read_leb(self._data, self._position, len(self._data))
        return value
