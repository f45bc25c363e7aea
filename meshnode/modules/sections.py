"""Reads and writes the section list of a Wasm binary, and nothing of what standard sections hold.

WebAssembly Core Specification 2.0, section 5.5. A section is `id:u8, size:uleb32, payload`; a
custom section's payload is `name_len:uleb32, name (UTF-8), data`. Section sizes may be padded
LEB128 (linkers reserve five bytes and fill them in later), but never longer than five bytes.
Big sections are never copied: payloads are views of the bytes that were given.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from meshnode.errors import MalformedModule
from meshnode.wire.tensor import Buffer

HEADER = b"\0asm\x01\0\0\0"
"""Pinned: core modules of version 1. Components (0d 00 01 00) are not accepted; the header is not
covered by the signature, so nothing else may ever be in its place."""

CUSTOM = 0
SECTIONS_MAX = 512
"""Toolchains write about twenty; a module of a million tiny sections would only cost us time."""
SECTION_NAME_BYTES_MAX = 256
_LEB_BYTES_MAX = 5
# Section ids in the order the specification demands; 13 is tags, 12 the data count.
_ORDER = {id_: place for place, id_ in enumerate((1, 2, 3, 4, 5, 13, 6, 7, 8, 9, 12, 10, 11))}

ID_NAMES = {
    0: "custom",
    1: "type",
    2: "import",
    3: "function",
    4: "table",
    5: "memory",
    6: "global",
    7: "export",
    8: "start",
    9: "element",
    10: "code",
    11: "data",
    12: "data count",
    13: "tag",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One section, as positions in the bytes it was read from."""

    id: int
    name: str
    """Of a custom section; empty for the others."""
    start: int
    """Where its id byte lies."""
    end: int
    """One past its last byte."""
    data: memoryview
    """The payload, without a custom section's name. A view, not a copy."""
    minimal: bool
    """Every length in its head is encoded in the fewest bytes."""


def read_sections(wasm: Buffer) -> tuple[Section, ...]:
    """Return every section of a module, or raise MalformedModule saying what is wrong where."""
    return tuple(iter_sections(wasm))


def iter_sections(wasm: Buffer) -> Iterator[Section]:
    """Yield the sections one after another, or raise MalformedModule.

    Checked on the way: the header, that every length is consumed exactly, and that standard
    sections come at most once and in order. A caller that stops early has checked only so far.
    """
    view = memoryview(wasm).cast("B").toreadonly()
    if view[: len(HEADER)] != HEADER:
        raise MalformedModule(_not_wasm(view))
    position, last, count = len(HEADER), -1, 0
    while position < len(view):
        count += 1
        if count > SECTIONS_MAX:
            raise MalformedModule(f"more than {SECTIONS_MAX} sections")
        section = _read_section(view, position)
        if section.id != CUSTOM:
            place = _ORDER[section.id]
            if place <= last:
                raise MalformedModule(
                    f"the {ID_NAMES[section.id]} section at byte {position} is doubled or too late"
                )
            last = place
        yield section
        position = section.end


def custom_section(wasm: Buffer, name: str) -> memoryview:
    """Return the data of a custom section of this name, or raise MalformedModule if there is none.

    The first one, if there are several; a view, not a copy.
    """
    for section in iter_sections(wasm):
        if section.id == CUSTOM and section.name == name:
            return section.data
    raise MalformedModule(f"the module has no section '{name}'")


def encode_custom(name: str, data: Buffer) -> bytes:
    """Return the bytes of a custom section, every length in its fewest bytes."""
    encoded = name.encode()
    if len(encoded) > SECTION_NAME_BYTES_MAX:
        raise ValueError(f"a section's name has at most {SECTION_NAME_BYTES_MAX} bytes")
    body = leb(len(encoded)) + encoded
    return b"".join((b"\0", leb(len(body) + len(data)), body, data))


def leb(value: int) -> bytes:
    """Return an unsigned 32-bit number as LEB128 in its fewest bytes."""
    if not 0 <= value < 1 << 32:
        raise ValueError(f"{value} does not fit 32 bits")
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_leb(view: memoryview, position: int, end: int) -> tuple[int, int]:
    """Return the unsigned 32-bit LEB128 at `position` and where it ends.

    Raises MalformedModule if it is longer than five bytes, exceeds 32 bits or passes `end`.
    """
    value = 0
    for i in range(_LEB_BYTES_MAX):
        if position + i >= end:
            break
        byte = view[position + i]
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            if value >= 1 << 32:
                break
            return value, position + i + 1
    raise MalformedModule(f"the length at byte {position} is cut off or exceeds 32 bits")


def _read_section(view: memoryview, start: int) -> Section:
    id_ = view[start]
    if id_ not in ID_NAMES:
        raise MalformedModule(f"unknown section id {id_} at byte {start}")
    size, inside = read_leb(view, start + 1, len(view))
    end = inside + size
    if end > len(view):
        raise MalformedModule(
            f"the {ID_NAMES[id_]} section at byte {start} claims {size} bytes, "
            f"{len(view) - inside} are left"
        )
    if id_ != CUSTOM:
        minimal = inside - start - 1 == len(leb(size))
        return Section(
            id=id_, name="", start=start, end=end, data=view[inside:end], minimal=minimal
        )
    name_bytes, name_at = read_leb(view, inside, end)
    if name_bytes > SECTION_NAME_BYTES_MAX or name_at + name_bytes > end:
        raise MalformedModule(
            f"the custom section at byte {start} has a name of {name_bytes} bytes"
        )
    try:
        name = str(view[name_at : name_at + name_bytes], "utf-8")
    except UnicodeDecodeError as error:
        raise MalformedModule(f"the custom section at byte {start} has no UTF-8 name") from error
    return Section(
        id=id_,
        name=name,
        start=start,
        end=end,
        data=view[name_at + name_bytes : end],
        minimal=name_at - start - 1 == len(leb(size)) + len(leb(name_bytes)),
    )


def _not_wasm(view: memoryview) -> str:
    if len(view) < len(HEADER):
        return f"{len(view)} bytes are too few for a Wasm module"
    if view[:4] == HEADER[:4]:
        return f"a Wasm binary of another kind (version {view[4:8].hex(' ')}), not a core module"
    return "not a Wasm module: it does not begin with 00 61 73 6d 01 00 00 00"
