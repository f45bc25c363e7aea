import pytest

from meshnode.errors import MalformedModule
from meshnode.modules.sections import (
    HEADER,
    SECTIONS_MAX,
    custom_section,
    encode_custom,
    leb,
    read_leb,
    read_sections,
)
from tests.unit.modules.samples import GUEST, section


def test_sections_are_listed_with_their_places_and_contents() -> None:
    found = read_sections(GUEST)
    assert [s.id for s in found] == [1, 2, 3, 10, 0]
    assert found[-1].name == "name"
    assert bytes(found[-1].data) == b"\x00\x02\x01g"
    assert found[0].start == len(HEADER)
    assert found[-1].end == len(GUEST)
    assert all(s.minimal for s in found)


def test_a_big_section_is_a_view_and_not_a_copy() -> None:
    wasm = bytearray(HEADER + encode_custom("big", bytes(1 << 20)))
    data = custom_section(wasm, "big")
    wasm[-1] = 7
    assert data[-1] == 7
    assert data.readonly


def test_bytes_bytearray_and_memoryview_are_the_same_to_it() -> None:
    lists = [read_sections(kind(GUEST)) for kind in (bytes, bytearray, memoryview)]
    assert [[(s.start, s.end) for s in found] for found in lists] == [
        [(s.start, s.end) for s in lists[0]]
    ] * 3


def test_what_the_writer_writes_the_reader_reads() -> None:
    wasm = HEADER + encode_custom("häuser", b"data") + encode_custom("", b"")
    assert [(s.name, bytes(s.data)) for s in read_sections(wasm)] == [
        ("häuser", b"data"),
        ("", b""),
    ]


def test_a_missing_custom_section_is_named() -> None:
    with pytest.raises(MalformedModule, match="no section 'absent'"):
        custom_section(GUEST, "absent")


@pytest.mark.parametrize(
    ("wasm", "reason"),
    [
        (b"", "too few"),
        (b"PK\x03\x04abcdef", "not a Wasm module"),
        (b"(module)", "not a Wasm module"),
        (b"\0asm\x0d\0\1\0", "another kind"),
        (b"\0asm\x02\0\0\0", "another kind"),
        (HEADER + b"\x0e\x00", "unknown section id 14"),
        (HEADER + b"\x01", "cut off"),
        (HEADER + b"\x01\x05\x00", "claims 5 bytes, 1 are left"),
        (HEADER + b"\x01\x80\x80\x80\x80\x80\x00", "cut off or exceeds"),
        (HEADER + b"\x01\xff\xff\xff\xff\x1f", "exceeds 32 bits"),
        (HEADER + b"\x01\xff\xff\xff\xff\x0f", "claims 4294967295 bytes"),
        (HEADER + b"\x00\x00", "cut off"),
        (HEADER + b"\x00\x02\x05a", "name of 5 bytes"),
        (HEADER + b"\x00\x03\x02\xff\xfe", "no UTF-8 name"),
        (HEADER + section(3, b"\0") + section(1, b"\0"), "doubled or too late"),
        (HEADER + section(1, b"\0") + section(1, b"\0"), "doubled or too late"),
    ],
)
def test_a_malformed_binary_is_refused_with_the_place(wasm: bytes, reason: str) -> None:
    with pytest.raises(MalformedModule, match=reason):
        read_sections(wasm)


def test_the_tag_and_data_count_sections_have_their_own_places() -> None:
    order = (1, 2, 3, 4, 5, 13, 6, 7, 8, 9, 12, 10, 11)
    assert len(read_sections(HEADER + b"".join(section(i, b"") for i in order))) == len(order)


def test_the_number_of_sections_is_bounded() -> None:
    one = encode_custom("", b"")
    assert len(read_sections(HEADER + one * SECTIONS_MAX)) == SECTIONS_MAX
    with pytest.raises(MalformedModule, match="more than"):
        read_sections(HEADER + one * (SECTIONS_MAX + 1))


def test_padded_lengths_are_read_and_noted() -> None:
    (found,) = read_sections(HEADER + b"\x00\x85\x80\x80\x80\x00\x01aXYZ")
    assert (found.name, bytes(found.data), found.minimal) == ("a", b"XYZ", False)


@pytest.mark.parametrize("value", [0, 1, 127, 128, 16383, 16384, 2**32 - 1])
def test_leb_numbers_come_back(value: int) -> None:
    encoded = leb(value)
    assert read_leb(memoryview(encoded), 0, len(encoded)) == (value, len(encoded))


def test_a_number_that_does_not_fit_is_our_own_mistake() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        leb(2**32)
    with pytest.raises(ValueError, match="at most"):
        encode_custom("x" * 300, b"")
