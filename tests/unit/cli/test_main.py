"""The command line as a whole: flags, help, unknown verbs, and how a run ends."""

import argparse
import json
import sys
import types
from collections.abc import Callable

import pytest

from meshnode.cli import main as command
from meshnode.cli.main import VERBS, main, split_globals
from meshnode.errors import ModuleFailed, UsageError

Run = Callable[[argparse.Namespace], int]


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> Callable[[Run], None]:
    """Make `meshnode version` run what a test gives."""

    def install(run: Run) -> None:
        module = types.ModuleType("meshnode.cli.fake")

        def add_parser(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
            verbs.add_parser("version").set_defaults(run=run)

        module.add_parser = add_parser  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "meshnode.cli.fake", module)
        monkeypatch.setitem(command.VERBS, "version", ("fake", "for a test"))

    return install


def test_global_flags_stand_before_or_after_the_verb() -> None:
    for words in (["--json", "--home", "d", "peers"], ["peers", "--home=d", "--json"]):
        found = split_globals(words)
        assert (found.home, found.json, found.quiet, found.rest) == ("d", True, False, ["peers"])
    assert split_globals(["x", "--", "--json"]).rest == ["x", "--", "--json"]
    with pytest.raises(UsageError, match="--home needs"):
        split_globals(["peers", "--home"])


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in VERBS)


def test_nothing_asked_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage:" in capsys.readouterr().err


def test_an_unknown_verb_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["statsu"]) == 2
    shown = capsys.readouterr()
    assert "MN-005" in shown.err
    assert "try     meshnode status" in shown.err
    assert shown.out == ""


def test_a_wrong_flag_is_said_in_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["invite", "--uses", "many"]) == 2
    shown = capsys.readouterr().err
    assert "argument --uses" in shown
    assert "try     meshnode invite --help" in shown
    assert main(["invite", "--frob", "1"]) == 2
    shown = capsys.readouterr().err
    assert "'invite' does not understand --frob 1" in shown
    assert "try     meshnode invite --help" in shown


def test_the_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("meshnode ")
    assert main(["version", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["v"] == 1


def test_a_verb_that_cannot_be_imported_harms_only_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(command.VERBS, "pack", ("not_there", "x"))
    assert main(["pack", "x"]) == 78
    assert "MN-004" in capsys.readouterr().err
    assert main(["version"]) == 0


def test_an_error_is_lines_for_people_or_an_object_for_scripts(
    verb: Callable[[Run], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def run(args: argparse.Namespace) -> int:
        raise ModuleFailed("detect trapped", because=["unreachable"])

    verb(run)
    assert main(["version"]) == 7
    shown = capsys.readouterr()
    assert shown.err.splitlines()[0].endswith("MN-400")
    assert "Traceback" not in shown.err
    assert main(["version", "--json"]) == 7
    shown = capsys.readouterr()
    assert json.loads(shown.out)["error"]["exit"] == 7
    assert shown.err == ""


def test_a_bug_shows_its_traceback_only_when_asked(
    verb: Callable[[Run], None], capsys: pytest.CaptureFixture[str]
) -> None:
    verb(lambda args: 1 // 0)
    assert main(["version"]) == 1
    shown = capsys.readouterr().err
    assert "internal error: ZeroDivisionError" in shown
    assert "Traceback" not in shown
    assert main(["version", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_is_quiet(
    verb: Callable[[Run], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def run(args: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    verb(run)
    assert main(["version"]) == 130
    assert capsys.readouterr().err == ""
