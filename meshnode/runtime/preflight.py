"""The first look at a guest: everything that can be refused without wasmtime is refused here.

wasmtime's C API aborts the whole process when it is asked about some types (v128, GC and
exception references in an export's signature), its list of exports is quadratic, and a compiler
that has started cannot be stopped. So the bytes are read here first, in plain Python, and only a
module whose shape is proved goes on. Custom sections are never handed on: names and weights cost
the compiler copies and gain nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from meshnode.caps import Caps
from meshnode.errors import CannotRunHere, MalformedModule, UndeclaredImport
from meshnode.modules.manifest import Manifest
from meshnode.modules.sections import CUSTOM, HEADER, Section, iter_sections
from meshnode.runtime.abi import (
    COMMAND_EXPORTS,
    DENIED_EXPORT,
    FOREIGN_MODULES,
    IMPORTS,
    OPTIONAL_EXPORTS,
    PAGE_BYTES,
    REQUIRED_EXPORTS,
    Signature,
)
from meshnode.runtime.code_scan import Body, scan_code
from meshnode.runtime.guest_types import (
    CODE_BYTES_MAX,
    Export,
    ImportedFunction,
    MemoryType,
    read_exports,
    read_functions,
    read_globals,
    read_imports,
    read_memory,
    read_tables,
    read_types,
)
from meshnode.wire.limits import MIB
from meshnode.wire.messages import Buffer

GUEST_BYTES_MAX = 16 * MIB
"""Without custom sections, so without embedded weights."""
_TYPE, _IMPORT, _FUNCTION, _TABLE, _MEMORY, _GLOBAL, _EXPORT = 1, 2, 3, 4, 5, 6, 7
_START, _CODE, _TAG = 8, 10, 13


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """A guest that may be compiled once its code was scanned."""

    wasm: bytes = field(repr=False)
    """The module without its custom sections: what is hashed and compiled."""
    sections: tuple[Section, ...] = field(repr=False)
    """The standard ones, in order."""
    types: tuple[Signature, ...]
    imports: tuple[ImportedFunction, ...]
    functions: tuple[int, ...]
    """The type index of each function that is not imported."""
    globals: tuple[int, ...]
    """The value type of each global."""
    memory: MemoryType
    exports: dict[str, Export] = field(repr=False)

    def section(self, id_: int) -> Section | None:
        """Return the section with this id, if the module has it."""
        return next((s for s in self.sections if s.id == id_), None)

    @property
    def import_types(self) -> dict[tuple[str, str], Signature]:
        """The type of each function it wants; proved, so that calls need not check it."""
        return {(i.module, i.name): i.signature for i in self.imports}

    @property
    def export_types(self) -> dict[str, Signature]:
        """The type of each function it shows."""
        return {n: e.signature for n, e in self.exports.items() if e.signature is not None}

    def has(self, export: str) -> bool:
        """Return whether a name is exported."""
        return export in self.exports

    def scan(self) -> tuple[Body, ...]:
        """Look through the code: slow (a second for 10 MB), so only before a compilation."""
        code = self.section(_CODE)
        return scan_code(code.data, len(self.functions)) if code else ()


def preflight(wasm: Buffer, manifest: Manifest, *, allowed: Caps, memory_bytes_max: int) -> Guest:
    """Return the guest inside a module, or say why it may not even be compiled here.

    `allowed` is what the node's policy lets modules ask for. Raises MalformedModule;
    UndeclaredImport naming the import and the capability it takes; CannotRunHere if only this
    node's memory limit is too low.
    """
    guest = read_guest(wasm)
    check_imports(guest.imports, manifest, allowed)
    _check_exports(guest, manifest.abi)
    _check_memory(guest.memory, manifest, memory_bytes_max)
    return guest


def read_guest(wasm: Buffer) -> Guest:
    """Return a module's structure, every count and type checked, or raise MalformedModule."""
    sections = tuple(s for s in iter_sections(wasm) if s.id != CUSTOM)
    total = sum(s.end - s.start for s in sections)
    if total > GUEST_BYTES_MAX:
        raise MalformedModule(
            f"the guest has {total} bytes, at most {GUEST_BYTES_MAX} are accepted",
            because=["embedded weights and other custom sections do not count"],
        )
    found = {s.id: s.data for s in sections}
    if _TAG in found:
        raise MalformedModule("the module has exception tags, which this node does not run")
    if len(found.get(_CODE, b"")) > CODE_BYTES_MAX:
        raise MalformedModule(f"the code exceeds {CODE_BYTES_MAX} bytes")
    types = read_types(found.get(_TYPE))
    imports = read_imports(found.get(_IMPORT), types)
    functions = read_functions(found.get(_FUNCTION), types, imported=len(imports))
    tables = read_tables(found.get(_TABLE))
    globals_ = read_globals(found.get(_GLOBAL))
    memory = read_memory(found.get(_MEMORY))
    signatures = [i.signature for i in imports] + [types[t] for t in functions]
    exports = read_exports(found.get(_EXPORT), signatures, globals_, tables)
    if functions and _CODE not in found:
        raise MalformedModule(f"the module declares {len(functions)} functions and has no code")
    view = memoryview(wasm)
    return Guest(
        wasm=b"".join((HEADER, *(view[s.start : s.end] for s in sections))),
        sections=sections,
        types=types,
        imports=imports,
        functions=functions,
        globals=globals_,
        memory=memory,
        exports=exports,
    )


def check_imports(imports: Sequence[ImportedFunction], manifest: Manifest, allowed: Caps) -> None:
    """Raise unless imports are a subset of the declared capabilities, and those of policy."""
    declared = manifest.required | manifest.optional
    for each in imports:
        host = IMPORTS.get((each.module, each.name))
        if host is None:
            raise _unknown_import(each)
        if each.signature != host.signature:
            raise MalformedModule(
                f"the import {each} has the type {each.signature}, the host's is {host.signature}"
            )
        if host.needs & ~declared:
            raise UndeclaredImport(
                f"the module imports {each}, which needs the capability "
                f"{_names(host.needs)}, and its metadata does not declare it",
                because=[f"declared: {_names(declared) or 'none'}"],
                try_=f"add {_names(host.needs)} to caps.required in module.toml and pack again",
            )
    if refused := declared & ~allowed & manifest.required:
        raise UndeclaredImport(
            f"the module needs the capability {_names(refused)}, "
            "which this node's policy does not allow",
            try_=allow(refused),
        )
    for each in imports:
        needs = IMPORTS[each.module, each.name].needs
        if needs & ~allowed:
            raise UndeclaredImport(
                f"the module imports {each}, which needs the capability {_names(needs)}, "
                "and this node's policy does not allow it",
                try_=allow(needs & ~allowed),
            )


def allow(caps: Caps) -> str:
    """Return what an operator changes to let modules use these capabilities."""
    listed = ", ".join(f'"{name}"' for name in caps.names())
    return f"add {listed} to policy.caps in node.toml, if modules may use it here"


def _unknown_import(each: ImportedFunction) -> UndeclaredImport:
    needs = FOREIGN_MODULES.get(each.module)
    # Of an interface that it half knows, a reader wants its functions; else which there are.
    same = [f"{m}.{n}" for m, n in IMPORTS if m == each.module]
    ours = [f"{m}.{n}" for m, n in IMPORTS if not m.startswith("wasi")]
    known = sorted(same or (*ours, "wasi_ephemeral_nn.*", "wasi_snapshot_preview1.*"))
    return UndeclaredImport(
        f"the module imports {each}, which no capability gives: it is not part of the guest ABI"
        if needs is None
        else f"the module imports {each}, which would need the capability {_names(needs)} "
        "in a form that this node does not offer",
        because=[f"a guest may import: {', '.join(known)}"],
    )


def _check_exports(guest: Guest, abi: str) -> None:
    exports = guest.exports
    if DENIED_EXPORT in exports:
        raise MalformedModule(f"the export name '{DENIED_EXPORT}' is reserved")
    if (memory := exports.get("memory")) is None or memory.kind != "memory":
        raise MalformedModule("the module does not export its memory as 'memory'")
    for name, wanted in REQUIRED_EXPORTS[abi].items():
        if name not in exports:
            raise MalformedModule(
                f"the module does not export '{name}', which the {abi} ABI calls",
                because=[f"it exports: {', '.join(exports) or 'nothing'}"],
            )
        _check_function(name, exports[name], wanted)
    if abi == "command" and "_start" not in exports and guest.section(_START) is None:
        raise MalformedModule(
            "the module has neither an export '_start' nor a start function to run",
            because=[f"it exports: {', '.join(exports)}"],
        )
    for name, wanted in called_exports(abi).items():
        if name in exports:
            _check_function(name, exports[name], wanted)


def called_exports(abi: str) -> Mapping[str, Signature]:
    """Return the exports that the host calls where a guest of this ABI has them."""
    return COMMAND_EXPORTS if abi == "command" else REQUIRED_EXPORTS[abi] | OPTIONAL_EXPORTS


def _check_function(name: str, export: Export, wanted: Signature) -> None:
    if export.signature != wanted:
        got = export.kind if export.signature is None else str(export.signature)
        raise MalformedModule(f"the export '{name}' is {got}, the ABI's is {wanted}")


def _check_memory(memory: MemoryType, manifest: Manifest, most: int) -> None:
    need = memory.pages_min * PAGE_BYTES
    if need > manifest.limits.memory_bytes:
        raise MalformedModule(
            f"the guest's memory starts with {need} bytes, "
            f"its own limit is {manifest.limits.memory_bytes}"
        )
    if need > most:
        raise CannotRunHere(
            f"the guest's memory starts with {need >> 20} MiB, this node gives {most >> 20} MiB",
            try_="policy.max_memory in node.toml",
        )


def _names(caps: Caps) -> str:
    return ", ".join(caps.names())
