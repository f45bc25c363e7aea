"""`meshnode pin`."""

from tests.unit.cli.verbs import Terminal


def test_pins_are_made_listed_and_ended(terminal: Terminal) -> None:
    assert terminal.run("pin") == ["nothing is pinned here"]
    assert terminal.run("pin", "double") == ["double: warm (double@1.0.0)"]
    assert terminal.run("pin", "ocr") == ["double: warm (double@1.0.0)", "ocr: looking"]
    assert [p["ref"] for p in terminal.json("pin")["pins"]] == ["double", "ocr"]
    assert terminal.run("pin", "double", "--remove") == ["ocr: looking"]
