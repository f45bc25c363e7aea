import re

import pytest

from meshnode.errors import BadMetadata
from meshnode.modules.fields import Fields


def fields(**values: object) -> Fields:
    return Fields(values, ("name", "shape", "count", "flag", "many", "inner", "share", "key"))


def test_good_values_come_back() -> None:
    found = fields(name="n", count=3, flag=True, share=0.5, key=b"12", many=[{"name": "x"}])
    assert found.text("name", chars_max=5) == "n"
    assert found.integer("count", 0, 3) == 3
    assert found.boolean("flag") is True
    assert found.number("share", 0, 1) == 0.5
    assert found.octets("key", sizes=(0, 2)) == b"12"
    assert [m.text("name", chars_max=1) for m in found.maps("many", ("name",), count_max=1)] == [
        "x"
    ]
    assert found.has("name")
    assert not found.has("inner")


def test_an_unknown_field_is_named_with_the_nearest() -> None:
    with pytest.raises(BadMetadata, match="nme: no such field, did you mean 'name'"):
        fields(nme="x")


def test_something_else_than_a_map_is_refused() -> None:
    with pytest.raises(BadMetadata, match="the metadata is not a map"):
        Fields([1], ())


@pytest.mark.parametrize(
    ("read", "values", "reason"),
    [
        (lambda f: f.text("name", chars_max=3), {}, "name: is missing"),
        (lambda f: f.text("name", chars_max=3), {"name": 3}, "is not text"),
        (lambda f: f.text("name", chars_max=3), {"name": "four"}, "at most 3"),
        (lambda f: f.text("name", chars_max=3, chars_min=1), {"name": ""}, "1 to 3"),
        (lambda f: f.text("name", chars_max=9), {"name": "a\x1b[2J"}, "cannot be printed"),
        (lambda f: f.integer("count", 1, 9), {"count": 0}, "is 0, allowed are 1 to 9"),
        (lambda f: f.integer("count", 0, 9), {"count": True}, "is not a whole number"),
        (lambda f: f.integer("count", 0, 9), {"count": 1.0}, "is not a whole number"),
        (lambda f: f.boolean("flag"), {"flag": 1}, "is not true or false"),
        (lambda f: f.number("share", 0, 1), {"share": 1.5}, "allowed are 0 to 1"),
        (lambda f: f.number("share", 0, 1), {"share": float("nan")}, "allowed are 0 to 1"),
        (lambda f: f.octets("key", sizes=(0, 32)), {"key": b"1"}, "has 1 bytes, not 32"),
        (lambda f: f.choice("name", ("infer", "seed")), {"name": "infr"}, "did you mean 'infer'"),
        (lambda f: f.pattern("name", re.compile("a+"), "some a", 9), {"name": "b"}, "not some a"),
        (lambda f: f.items("many", count_max=1), {"many": [1, 2]}, "at most 1"),
        (lambda f: list(f.maps("many", (), count_max=9)), {"many": [1]}, r"many\[0\] is not a map"),
        (lambda f: f.map("inner", ("a",)), {"inner": {"b": 1}}, "inner.b: no such field"),
        (lambda f: f.texts("inner", count_max=1, chars_max=3), {"inner": {"a": 1}}, "inner.a"),
        (lambda f: f.texts("inner", count_max=1, chars_max=3), {"inner": {"": "x"}}, "has a key"),
        (
            lambda f: f.texts("inner", count_max=1, chars_max=3),
            {"inner": {"a": "", "b": ""}},
            "at most 1",
        ),
    ],
)
def test_each_refusal_names_the_field_and_the_reason(read, values, reason) -> None:
    with pytest.raises(BadMetadata, match=reason):
        read(fields(**values))
