"""`meshnode version`."""

import pytest

from meshnode import __version__
from meshnode.cli.main import main


def test_the_version_needs_no_node(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out == f"meshnode {__version__}\n"
