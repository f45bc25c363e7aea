"""Tables and numbers for people."""

import argparse
import json

import pytest

from meshnode.cli.output import ms, print_json, say, table


def test_a_table_is_aligned_and_numbers_stand_right() -> None:
    lines = table(("NAME", "N"), [["a", 5], ["long", None], ["b", 12]])
    assert lines == ["NAME   N", "a      5", "long   —", "b     12"]
    assert table(("A", "B"), []) == ["A  B"]


def test_milliseconds_keep_three_digits() -> None:
    assert [ms(v) for v in (0.123, 14.21, None)] == ["0.12 ms", "14.2 ms", "—"]


def test_words_are_for_people_only(capsys: pytest.CaptureFixture[str]) -> None:
    for as_json, quiet in ((True, False), (False, True)):
        say(argparse.Namespace(json=as_json, quiet=quiet), "hello")
    assert capsys.readouterr().out == ""
    print_json({"a": "é"})
    assert json.loads(capsys.readouterr().out) == {"v": 1, "a": "é"}
