"""`meshnode trust`."""

import pytest

from tests.unit.cli.verbs import Terminal


def test_publishers_are_listed_and_added(terminal: Terminal) -> None:
    assert terminal.run("trust")[1].split() == ["lab", "P7K2M4Q", "mesh", "K"]
    assert terminal.run("trust", "list") == terminal.run("trust")
    assert terminal.run("trust", "add", "KEY", "--name", "me") == [
        "modules signed by me (KEY) may run here now"
    ]
    assert terminal.json("trust", "add", "KEY", "--name", "me")["added"]["name"] == "me"


def test_the_expelled_are_listed_with_their_reason(terminal: Terminal) -> None:
    lines = terminal.run("trust")
    assert lines[-2] == "nodes: 3 here now, 1 revoked"
    assert "line2-gw (LA6N4MN)  stolen  2026-0" in lines[-1]
    assert terminal.json("trust")["revoked"][0]["by"] == "lab"


def test_the_log_is_shown_and_its_chain_judged(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = terminal.run("trust", "log")
    assert lines[0].endswith("admitted   name nas  id D5TQ7RA")
    assert "whole" in lines[1]
    assert terminal.json("trust", "log")["log"]["broken_at"] is None
    broken = terminal.node.trust_log() | {"broken_at": 1}
    monkeypatch.setattr(terminal.node, "trust_log", lambda: broken)
    with pytest.raises(AssertionError):
        terminal.run("trust", "log")
