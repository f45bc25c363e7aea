"""`meshnode revoke`."""

from tests.unit.cli.verbs import Terminal


def test_who_was_reached_is_said(terminal: Terminal) -> None:
    lines = terminal.run("revoke", "line2-gw", "--reason", "stolen")
    assert "signed revocation #12 · reached 17/18 nodes" in lines[0]
    assert "connections to line2-gw closed" in lines[0]
    assert "line6 is offline, will get it on return" in lines[1]
    assert "being replaced" in lines[2]
    assert terminal.node.asked == [{"who": "line2-gw", "reason": "stolen", "rotate": True}]


def test_the_key_can_be_kept_and_that_is_said(terminal: Terminal) -> None:
    lines = terminal.run("revoke", "line2-gw", "--reason", "stolen", "--keep-key")
    assert "still has the mesh's key" in lines[-1]
    assert terminal.json("revoke", "x", "--reason", "y")["revoked"]["number"] == 12


def test_those_that_it_admitted_are_named(terminal: Terminal) -> None:
    lines = terminal.run("revoke", "line2", "--reason", "stolen")
    assert "fall with it, for it had admitted them: line2-cam" in lines[2]
    assert "invite them anew:  meshnode invite   (on each" in lines[3]


def test_seeds_that_did_not_hear_it_are_counted(terminal: Terminal) -> None:
    lines = terminal.run("revoke", "line3", "--reason", "stolen")
    assert "1 of 2 seeds did not hear it yet" in lines[2]
