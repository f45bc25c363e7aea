import pytest

from meshnode.caps import Caps
from meshnode.ids import Address, Contact, PublicKey
from meshnode.wire import schema
from meshnode.wire.messages import Timing
from meshnode.wire.schema import Misfit

KEY = PublicKey(bytes(range(32)))
CONTACT = schema.ContactField()


def misfit(field: schema.Field, plain: object) -> str:
    with pytest.raises(Misfit) as caught:
        field.unpack(plain)
    return str(caught.value)


@pytest.mark.parametrize("plain", [-1, 8, True, False, 1.0, "1", None, b"", []])
def test_a_number_out_of_bounds_is_refused(plain: object) -> None:
    assert "up to 7" in misfit(schema.Uint(7), plain)


def test_a_number_up_to_its_bound_is_taken() -> None:
    assert [schema.Uint(7).unpack(n) for n in (0, 7)] == [0, 7]
    assert type(schema.Uint(7).pack(Caps.CPU)) is int, "flags travel as plain numbers"


@pytest.mark.parametrize("plain", [0, 1, None, "true"])
def test_only_booleans_are_flags(plain: object) -> None:
    misfit(schema.Flag(), plain)


def test_capability_bits_of_the_future_are_kept() -> None:
    assert schema.CapsField().pack(schema.CapsField().unpack(1 << 31 | 1)) == 1 << 31 | 1


@pytest.mark.parametrize("plain", [b"", b"12345", "123", 3, bytearray(b"123"), None])
def test_bytes_have_their_length(plain: object) -> None:
    assert "1 to 4 bytes" in misfit(schema.Bytes(1, 4), plain)
    assert schema.Bytes(1, 4).unpack(b"1234") == b"1234"


@pytest.mark.parametrize(
    "plain", ["", "12345", b"12", "a\n", "\x1b[2J", "a\u202eb", "\x7f", "\x9b"]
)
def test_text_is_bounded_and_shows_what_it_says(plain: object) -> None:
    misfit(schema.Text(4, 1), plain)


@pytest.mark.parametrize("text", ["", "a b", "čísla", "数字", "👍🏽"])
def test_text_of_any_script_is_taken(text: str) -> None:
    assert schema.Text(8).unpack(text) == text


def test_words_are_cut_and_cleaned_by_the_sender_and_checked_by_the_reader() -> None:
    words = schema.Words(10)
    assert words.pack("line 1\n\x1b2") == "line 1  2"
    assert words.pack("x" * 11) == "xxxxxxx..."
    misfit(words, "x" * 11)
    misfit(words, "a\nb")


def test_too_many_lines_end_with_how_many_more_there_were() -> None:
    lines = schema.LinesOf(3, 10)
    assert lines.pack(("a", "b", "c")) == ["a", "b", "c"]
    assert lines.pack(("a", "b", "c", "d")) == ["a", "b", "and 2 more"]
    assert lines.unpack(["a"]) == ("a",)
    misfit(lines, ["a"] * 4)
    misfit(lines, "abc")


def test_an_item_of_a_list_is_named_by_its_place() -> None:
    lists = schema.ListOf(schema.ListOf(schema.Uint(7), 2), 2)
    assert misfit(lists, [[1], [2, 9]]).startswith("[1][1] ")
    assert "3 items, limit 2" in misfit(lists, [[], [], []])
    misfit(lists, {})


def test_optional_and_pair() -> None:
    pair = schema.Pair(schema.Flag(), schema.OptionalOf(schema.Uint(7)))
    assert pair.unpack(pair.pack((True, None))) == (True, None)
    assert pair.unpack([False, 7]) == (False, 7)
    misfit(pair, [True])
    misfit(pair, None)


def test_a_choice_is_one_of_its_words() -> None:
    assert "none of a, b" in misfit(schema.Choice(frozenset("ab")), "c")
    misfit(schema.Choice(frozenset("ab")), ["a"])


def test_a_record_names_the_field_and_has_all_of_them() -> None:
    record = schema.Record(Timing, None, queue_us=schema.Uint(7), run_us=schema.Uint(7))
    assert record.unpack([1, 2]) == Timing(queue_us=1, run_us=2)
    assert record.pack(Timing(queue_us=3)) == [3, 0]
    assert misfit(schema.ListOf(record, 3), [[1, 2], [1, 8]]).startswith("[1].run_us ")
    for plain in ([1], [1, 2, 3], None, {}):
        assert "list of 2 fields" in misfit(record, plain)
    with pytest.raises(Misfit, match="run_us"):
        record.pack(Timing(run_us=8))


@pytest.mark.parametrize(
    ("host", "plain"),
    [
        ("127.0.0.1", bytes([127, 0, 0, 1])),
        ("::1", bytes(15) + b"\x01"),
        ("node-1.local", "node-1.local"),
        ("a" * 253, "a" * 253),
    ],
)
def test_a_host_travels_in_its_shortest_form(host: str, plain: object) -> None:
    contact = Contact(KEY, Address(host, 7001))
    assert CONTACT.pack(contact) == [KEY, plain, 7001]
    assert CONTACT.unpack([KEY, plain, 7001]) == contact


@pytest.mark.parametrize(
    ("host", "sent"),
    [
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:DB8::0:1", "2001:db8::1"),
    ],
)
def test_an_address_has_one_form(host: str, sent: str) -> None:
    assert CONTACT.unpack(CONTACT.pack(Contact(KEY, Address(host, 1)))).address.host == sent


@pytest.mark.parametrize(
    "plain",
    [
        None,
        [],
        [KEY, b"\x7f\0\0\1"],
        [KEY, b"\x7f\0\0\1", 7001, 0],
        [KEY[:31], b"\x7f\0\0\1", 7001],
        [KEY, b"\x7f\0\0", 7001],
        [KEY, bytes(10) + b"\xff\xff\x0a\0\0\1", 7001],
        [KEY, "127.0.0.1", 7001],
        [KEY, "::1", 7001],
        [KEY, "fe80::1%eth0", 7001],
        [KEY, "", 7001],
        [KEY, "a" * 254, 7001],
        [KEY, "a b", 7001],
        [KEY, "-a", 7001],
        [KEY, "bücher", 7001],
        [KEY, 2130706433, 7001],
        [KEY, ["h"], 7001],
        [KEY, b"\x7f\0\0\1", 0],
        [KEY, b"\x7f\0\0\1", 65536],
        [KEY, b"\x7f\0\0\1", True],
        [KEY, b"\x7f\0\0\1", "7001"],
    ],
    ids=repr,
)
def test_a_contact_that_is_none(plain: object) -> None:
    misfit(CONTACT, plain)
