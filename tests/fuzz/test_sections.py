"""Any bytes give sections or MalformedModule; what is written is read; nothing is read twice."""

import contextlib

from hypothesis import example, given, settings
from hypothesis import strategies as st

from meshnode.errors import BadMetadata, MalformedModule, TooLarge
from meshnode.modules.imports import imports_of
from meshnode.modules.layout import read_module
from meshnode.modules.sections import HEADER, encode_custom, read_sections
from tests.unit.modules.samples import section, signed

FEW = settings(max_examples=200, deadline=None)
MODULE = signed()


@FEW
@given(st.binary(max_size=400))
@example(HEADER)
def test_any_bytes_give_sections_or_one_error(data: bytes) -> None:
    for wasm in (data, HEADER + data):
        try:
            found = read_sections(wasm)
        except MalformedModule:
            continue
        assert b"".join(wasm[s.start : s.end] for s in found) == wasm[len(HEADER) :]


@FEW
@given(st.lists(st.tuples(st.text(max_size=40), st.binary(max_size=100)), max_size=8))
def test_what_is_written_is_read(sections: list[tuple[str, bytes]]) -> None:
    wasm = HEADER + b"".join(encode_custom(name, data) for name, data in sections)
    assert [(s.name, bytes(s.data)) for s in read_sections(wasm)] == sections


@FEW
@given(st.integers(0, len(MODULE) - 1), st.binary(max_size=6), st.integers(0, 6))
def test_a_mangled_module_is_read_or_refused(at: int, new: bytes, drop: int) -> None:
    mangled = MODULE[:at] + new + MODULE[at + drop :]
    with contextlib.suppress(MalformedModule, BadMetadata, TooLarge):
        read_module(mangled)


@FEW
@given(st.binary(max_size=80))
def test_any_import_section_is_read_or_refused(payload: bytes) -> None:
    with contextlib.suppress(MalformedModule):
        imports_of(read_sections(HEADER + section(2, payload)))
