"""Notes when a guest is refused memory, so that its failure can be called by its name.

wasmtime's limiter makes `memory.grow` return -1 and tells nobody; the guest then traps in its own
allocator, and the host would see no more than "unreachable". So before compilation each
`memory.grow` becomes a call of one small function added at the end, which grows, and sets an
exported global when that failed. Nothing else changes: existing indices stay what they are,
because types, functions, globals and exports are only appended to.
"""

from collections.abc import Sequence

from meshnode.modules.sections import HEADER, leb
from meshnode.runtime.abi import DENIED_EXPORT
from meshnode.runtime.code_scan import Body
from meshnode.runtime.preflight import Guest
from meshnode.runtime.wasm_reader import Reader

REVISION = 1
"""Part of the key of cached artifacts; raised when the rewriting changes."""
_TYPE, _FUNCTION, _GLOBAL, _EXPORT, _CODE = 1, 3, 6, 7, 10
_I32_TO_I32 = b"\x60\x01\x7f\x01\x7f"
_MUTABLE_ZERO = b"\x7f\x01\x41\x00\x0b"
_GLOBAL_KIND = 3


def grows(bodies: Sequence[Body]) -> bool:
    """Return whether any function can grow the memory."""
    return any(body.grows for body in bodies)


def note_refusals(guest: Guest, bodies: Sequence[Body]) -> bytes:
    """Return the module to compile: the guest's, with refused growth noted in a global."""
    if not grows(bodies):
        return guest.wasm
    function = len(guest.imports) + len(guest.functions)
    flag = len(guest.globals)
    name = DENIED_EXPORT.encode()
    additions = {
        _TYPE: _I32_TO_I32,
        _FUNCTION: leb(len(guest.types)),
        _GLOBAL: _MUTABLE_ZERO,
        _EXPORT: leb(len(name)) + name + bytes((_GLOBAL_KIND,)) + leb(flag),
    }
    payloads: dict[int, bytes] = {s.id: bytes(s.data) for s in guest.sections}
    payloads.setdefault(_GLOBAL, b"\0")
    for id_, entry in additions.items():
        payloads[id_] = _append(payloads[id_], entry)
    payloads[_CODE] = _append(_redirect(payloads[_CODE], bodies, function), _noting_body(flag))
    # Of the sections present, only the global section may be new; its place is after memory.
    order = [s.id for s in guest.sections]
    if _GLOBAL not in order:
        order.insert(order.index(_EXPORT), _GLOBAL)
    parts = [HEADER]
    for id_ in order:
        parts += [bytes((id_,)), leb(len(payloads[id_])), payloads[id_]]
    return b"".join(parts)


def _append(payload: bytes, entry: bytes) -> bytes:
    """Return a vector with one entry more."""
    reader = Reader(memoryview(payload), "rewritten")
    count = reader.u32()
    return leb(count + 1) + payload[reader.position :] + entry


def _redirect(code: bytes, bodies: Sequence[Body], function: int) -> bytes:
    """Return the code section with every `memory.grow` turned into a call of `function`."""
    call = b"\x10" + leb(function)
    parts = [leb(len(bodies))]
    for body in bodies:
        pieces, position = [], body.start
        for at in body.grows:
            pieces += [code[position:at], call]
            position = at + 2
        pieces.append(code[position : body.end])
        instructions = b"".join(pieces)
        parts += [leb(len(instructions)), instructions]
    return b"".join(parts)


def _noting_body(flag: int) -> bytes:
    """Return the body of the added function, its size before it."""
    instructions = b"".join(
        (
            b"\x00",  # no locals
            b"\x20\x00\x40\x00\x22\x00",  # local.get 0; memory.grow; local.tee 0
            b"\x41\x7f\x46\x04\x40",  # i32.const -1; i32.eq; if
            b"\x41\x01\x24" + leb(flag),  # i32.const 1; global.set
            b"\x0b\x20\x00\x0b",  # end; local.get 0; end
        )
    )
    return leb(len(instructions)) + instructions
