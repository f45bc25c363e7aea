"""Runs a verb against a fake node and returns what it printed."""

import json
from pathlib import Path
from typing import Any

import pytest

from meshnode.cli.main import main
from tests.unit.client.serving import serving
from tests.unit.gateway.fake_node import FakeNode


class Terminal:
    """A home with a fake node, and what the commands there print."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.home = home
        self.node = FakeNode()
        self._capsys = capsys

    def run(self, *words: str) -> list[str]:
        """Run a verb that must succeed, and return its lines."""
        with serving(self.home, self.node):
            assert main(["--home", str(self.home), *words]) == 0
        return self._capsys.readouterr().out.splitlines()

    def json(self, *words: str) -> dict[str, Any]:
        """The same with --json."""
        (line,) = self.run(*words, "--json")
        found: dict[str, Any] = json.loads(line)
        assert found["v"] == 1
        return found
