"""`meshnode modules`."""

from tests.unit.cli.verbs import Terminal


def test_each_module_is_a_row(terminal: Terminal) -> None:
    row = terminal.run("modules")[1].split()
    assert row == ["double", "1.0.0", "1" * 12, "lab", "1.205", "KiB", "1/2", "fake,", "nas"]
    assert terminal.json("modules")["modules"][0]["module"] == "11" * 32
