"""The terminal that verbs are tried at."""

from pathlib import Path

import pytest

from tests.unit.cli.verbs import Terminal


@pytest.fixture
def terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(tmp_path, capsys)
