"""`meshnode publish`."""

from tests.unit.cli.verbs import Terminal
from tests.unit.client.test_packages import signed


def test_the_hash_and_the_copies_are_shown(terminal: Terminal) -> None:
    file = signed(terminal.home / "m.wasm", embed=True)
    lines = terminal.run("publish", str(file), "--replicas", "2")
    assert lines[0] == "double@1.0.0 sha256:" + "11" * 32
    assert "  replicas    2/2  nas" in lines
    assert len(terminal.run("publish", str(file), "--quiet")) == 1
    assert terminal.json("publish", str(file))["published"]["publisher"] == "lab"
