"""`meshnode invite`."""

import pytest

from meshnode.cli.main import main
from tests.unit.cli.verbs import Terminal


def test_the_string_comes_first_and_alone_when_quiet(terminal: Terminal) -> None:
    lines = terminal.run("invite", "--uses", "3", "--ttl", "8h", "--role", "worker")
    assert lines[0] == "mesh1-abc"
    assert "3 uses" in lines[1]
    assert "role worker" in lines[1]
    assert lines[2].endswith("meshnode join mesh1-abc")
    assert terminal.run("invite", "--quiet") == ["mesh1-abc"]
    assert terminal.json("invite")["uses"] == 1


def test_a_duration_needs_its_unit(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["invite", "--ttl", "60"]) == 2
    assert "--ttl: '60' is not a duration" in capsys.readouterr().err
