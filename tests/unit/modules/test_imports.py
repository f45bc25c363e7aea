import pytest

from meshnode.errors import MalformedModule
from meshnode.modules.imports import Import, imports_of
from meshnode.modules.sections import HEADER, read_sections
from tests.unit.modules.samples import GUEST, section


def of(payload: bytes) -> tuple[Import, ...]:
    return imports_of(read_sections(HEADER + section(2, payload)))


def test_names_and_kinds_are_listed() -> None:
    assert imports_of(read_sections(GUEST)) == (Import("meshnode", "log", "function"),)
    found = of(
        b"\x05"
        b"\x01a\x01f\x00\x07"
        b"\x01a\x01t\x01\x70\x01\x01\x02"
        b"\x01a\x01m\x02\x00\x01"
        b"\x01a\x01g\x03\x7f\x00"
        b"\x01a\x01e\x04\x00\x00"
    )
    assert [(str(i), i.kind) for i in found] == [
        ("a.f", "function"),
        ("a.t", "table"),
        ("a.m", "memory"),
        ("a.g", "global"),
        ("a.e", "tag"),
    ]


def test_a_module_without_imports_has_none() -> None:
    assert imports_of(read_sections(HEADER)) == ()


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"\x01", "cut off"),
        (b"\x01\x05a", "cut off"),
        (b"\x01\x01\xff\x01b\x00\x00", "not UTF-8"),
        (b"\x01\x01a\x01b\x09\x00", "unknown kind 9"),
        (b"\x00\x00", "bytes follow"),
        (b"\xff\xff\x7f", "at most"),
        (b"\x01\x01a\x01b", "cut off"),
    ],
)
def test_a_damaged_section_is_refused(payload: bytes, reason: str) -> None:
    with pytest.raises(MalformedModule, match=reason):
        of(payload)
