"""`meshnode status`."""

from tests.unit.cli.verbs import Terminal


def test_each_fact_is_a_line_with_its_unit(terminal: Terminal) -> None:
    lines = [line.split(maxsplit=1) for line in terminal.run("status")]
    assert lines == [
        ["name", "fake"],
        ["caps", "cpu nn"],
        ["uptime", "90 s"],
        ["memory", "1 MiB"],
    ]
    assert terminal.json("status")["status"]["name"] == "fake"
