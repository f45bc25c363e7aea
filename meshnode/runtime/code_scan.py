"""Looks through a module's code before a compiler does: nesting, locals, unknown instructions.

Compilation cannot be interrupted and its time is not linear: 20,000 nested loops in 60 KB took
11 s. So nesting and locals are bounded here. Instructions are cut by regular expressions, because
a Python loop over every byte of an 8 MiB module would take longer than the compiler: a run of
instructions without structure is one match, and Python handles only blocks, ends and tables.

Whether operands are right is for wasmtime's validator; an instruction that is not in these tables
(GC, exceptions, threads, typed references) is refused, since it could not be cut either.
WebAssembly Core Specification 2.0 with SIMD, section 5.4; relaxed SIMD: its proposal.
"""

import re
from dataclasses import dataclass

from meshnode.errors import MalformedModule
from meshnode.runtime.wasm_reader import Reader

NESTING_MAX = 500
LOCALS_MAX = 2_000
BLOCKS_MAX = 500_000
"""In the whole module; each costs this scan half a microsecond."""
_TABLE_MAX = 65_536
PARTS_MAX = 500_000
"""Branch tables and their targets, types of `select`, groups of locals and `memory.grow`s in the
whole module: 8 MiB of nothing else would keep this scan busy, and the interpreter locked, for four
seconds. The code of a large interpreter has a tenth of it."""

_LEB = rb"[\x80-\xff]{0,9}+[\x00-\x7f]"
_PLAIN = b"|".join(
    (
        rb"[\x00\x01\x05\x0f\x1a\x1b\x45-\xc4\xd1]",  # no operand
        rb"[\x0c\x0d\x10\x12\x20-\x26\x3f\x41\x42\xd0\xd2]" + _LEB,  # one number
        rb"[\x11\x13\x28-\x3e]" + _LEB + _LEB,  # two: call_indirect, loads and stores
        rb"\x43.{4}",  # f32.const
        rb"\x44.{8}",  # f64.const
        rb"\xfc[\x00-\x07]",  # saturating conversions
        rb"\xfc[\x09\x0b\x0d\x0f-\x11]" + _LEB,  # data.drop, memory.fill, elem.drop, table.*
        rb"\xfc[\x08\x0a\x0c\x0e]" + _LEB + _LEB,  # init and copy
        rb"\xfd[\x00-\x0b\x5c\x5d]" + _LEB + _LEB,  # v128 loads and stores
        rb"\xfd[\x0c\x0d].{16}",  # v128.const, i8x16.shuffle
        rb"\xfd[\x15-\x22].",  # lanes
        rb"\xfd[\x54-\x5b]" + _LEB + _LEB + rb".",  # loads and stores of one lane
        rb"\xfd(?:[\x0e-\x14\x23-\x53\x5e-\x7f]|[\x80-\xff]\x01|[\x80-\x93]\x02)",  # other SIMD
    )
)
_TOKEN = re.compile(
    rb"(?P<run>(?:" + _PLAIN + rb")++)"
    rb"|(?P<open>[\x02-\x04]" + _LEB + rb")"
    rb"|(?P<end>\x0b)"
    rb"|(?P<br_table>\x0e)"
    rb"|(?P<select>\x1c)"
    rb"|(?P<grow>\x40\x00)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Body:
    """One function's body inside the code section's payload."""

    start: int
    """Where its instructions and locals begin, after its size."""
    end: int
    grows: tuple[int, ...]
    """Where its `memory.grow` instructions lie."""


def scan_code(payload: memoryview, functions: int) -> tuple[Body, ...]:
    """Return every body of a code section, or raise MalformedModule naming the function.

    `functions` is how many the function section promised.
    """
    reader = Reader(payload, "code")
    if (count := reader.u32()) != functions:
        raise MalformedModule(f"the module declares {functions} functions and has {count} bodies")
    scanner = _Scanner(payload)
    bodies = []
    for index in range(count):
        size = reader.u32()
        start, end = reader.position, reader.position + size
        if end > len(payload):
            raise reader.wrong("is cut off")
        bodies.append(scanner.body(index, start, end))
        reader.position = end
    reader.end()
    return tuple(bodies)


class _Scanner:
    """Holds the running counts of what costs time here."""

    def __init__(self, payload: memoryview) -> None:
        self._payload = payload
        self._blocks = 0
        self._parts = 0

    def body(self, index: int, start: int, end: int) -> Body:
        position = self._skip_locals(index, start, end)
        depth, grows = 1, []
        match = _TOKEN.match
        while True:
            token = match(self._payload, position, end)
            if token is None:
                raise self._wrong(index, position, end)
            kind, position = token.lastgroup, token.end()
            if kind == "run":
                continue
            if kind == "open":
                depth += 1
                self._count_block(index, depth)
            elif kind == "end":
                depth -= 1
                if not depth:
                    break
            elif kind == "grow":
                grows.append(token.start())
                self._count_parts(1)
            else:
                position = self._skip_vector(position, end, extra=kind == "br_table")
        if position != end:
            raise MalformedModule(f"function {index} has bytes after its end")
        return Body(start, end, tuple(grows))

    def _count_block(self, index: int, depth: int) -> None:
        self._blocks += 1
        if depth > NESTING_MAX:
            raise MalformedModule(
                f"function {index} nests blocks deeper than {NESTING_MAX}",
                because=["deep nesting makes compilation take many seconds"],
            )
        if self._blocks > BLOCKS_MAX:
            raise MalformedModule(f"the module has more than {BLOCKS_MAX} blocks")

    def _count_parts(self, more: int) -> None:
        self._parts += more
        if self._parts > PARTS_MAX:
            raise MalformedModule(
                f"the module has more than {PARTS_MAX} branch targets, groups of locals "
                "and growths of memory"
            )

    def _skip_locals(self, index: int, start: int, end: int) -> int:
        reader = Reader(self._payload[start:end], "code")
        total = 0
        groups = reader.count(LOCALS_MAX, f"groups of locals in function {index}")
        self._count_parts(groups)
        for _ in range(groups):
            total += reader.u32()
            reader.byte()
        if total > LOCALS_MAX:
            raise MalformedModule(
                f"function {index} has {total} locals, at most {LOCALS_MAX} are accepted"
            )
        return start + reader.position

    def _skip_vector(self, position: int, end: int, *, extra: bool) -> int:
        """Return where a vector of numbers ends; a branch table has a default label more."""
        reader = Reader(self._payload[position:end], "code")
        entries = reader.count(_TABLE_MAX, "entries in a branch table") + extra
        self._count_parts(entries + 1)
        for _ in range(entries):
            reader.u32()
        return position + reader.position

    def _wrong(self, index: int, position: int, end: int) -> MalformedModule:
        if position >= end:
            return MalformedModule(f"function {index} has no end")
        return MalformedModule(
            f"function {index} has an instruction this node does not accept: "
            f"{bytes(self._payload[position : position + 2]).hex(' ')} at byte {position}",
            because=["accepted are Wasm 2.0, SIMD, relaxed SIMD and tail calls"],
        )
