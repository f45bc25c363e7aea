"""`meshnode stop`."""

from tests.unit.cli.verbs import Terminal


def test_the_node_is_asked_to_stop(terminal: Terminal) -> None:
    assert "fake (process " in terminal.run("stop")[0]
    assert "pid" in terminal.json("stop")["stopping"]
