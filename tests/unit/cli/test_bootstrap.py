"""What a seed says of itself when it is ready."""

import argparse
import json

import pytest

from meshnode.cli.bootstrap import say_ready

FACTS = {
    "name": "rv1",
    "short": "B4KQ7WN",
    "address": "10.0.0.1:6174",
    "seed": "KEY@10.0.0.1:6174",
    "relay": True,
}


def test_the_line_for_nodes_can_be_pasted(capsys: pytest.CaptureFixture[str]) -> None:
    say_ready(argparse.Namespace(json=False, quiet=False), FACTS, 0.2)
    shown = capsys.readouterr().out
    assert "meshnode start --seed KEY@10.0.0.1:6174\n" in shown
    assert shown.endswith("ready in 0.2 s\n")
    assert "relay     on" in shown
    say_ready(argparse.Namespace(json=False, quiet=False), {**FACTS, "relay": False}, 0.2)
    assert "relay     off" in capsys.readouterr().out


def test_json_has_the_same_facts(capsys: pytest.CaptureFixture[str]) -> None:
    say_ready(argparse.Namespace(json=True, quiet=False), FACTS, 0.2)
    assert json.loads(capsys.readouterr().out)["ready"]["seed"] == FACTS["seed"]
