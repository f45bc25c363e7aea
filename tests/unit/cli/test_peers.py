"""`meshnode peers`."""

from meshnode.cli.peers import summary
from tests.unit.cli.verbs import Terminal


def test_each_peer_is_a_row(terminal: Terminal) -> None:
    lines = terminal.run("peers")
    assert lines[0].split()[:4] == ["NODE", "RTT", "CAPS", "WAIT"]
    assert lines[1].split()[:4] == ["nas", "(D5TQ7RA)", "0.40", "ms"]
    assert "suspect 4 s" in lines[2]
    assert lines[3] == "2 peers · 1 alive · 1 suspect"
    assert terminal.json("peers")["peers"][1]["name"] == "mac"


def test_being_alone_is_said() -> None:
    assert summary([]) == "0 peers"
