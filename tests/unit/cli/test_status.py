"""`meshnode status`."""

import pytest

from meshnode.cli.main import main
from tests.unit.cli.verbs import Terminal
from tests.unit.client.serving import serving


def test_each_fact_is_a_line_with_its_unit(terminal: Terminal) -> None:
    lines = [line.split(maxsplit=1) for line in terminal.run("status")]
    assert lines == [
        ["name", "fake"],
        ["caps", "cpu nn"],
        ["uptime", "90 s"],
        ["memory", "1 MiB"],
        ["ready", "yes"],
    ]
    assert terminal.json("status")["status"]["name"] == "fake"


def test_what_is_pinned_and_not_warm_keeps_the_node_from_being_ready(
    terminal: Terminal, capsys: pytest.CaptureFixture[str]
) -> None:
    assert terminal.run("status", "--ready") == ["ready"]
    terminal.node.pinned = ["double", "ocr"]
    lines = [" ".join(line.split()) for line in terminal.run("status")]
    assert "pinned double: warm (double@1.0.0)" in lines
    assert "pinned ocr: looking" in lines
    with serving(terminal.home, terminal.node):
        assert main(["--home", str(terminal.home), "status", "--ready"]) == 5
    assert capsys.readouterr().out.splitlines() == ["not ready", "  ocr: looking"]
