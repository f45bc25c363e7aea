"""The long-running verbs as real processes: ready, asked, stopped, nothing left behind."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import meshnode
from meshnode.errors import NoNodeRunning

pytestmark = pytest.mark.integration


@contextmanager
def running(*words: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """Start a verb with --json and yield the process and what it said when it was ready."""
    command = [sys.executable, "-m", "meshnode", *words, "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout is not None
            line = child.stdout.readline()
            assert line, child.stderr.read() if child.stderr else ""
            yield child, json.loads(line)["ready"]
        finally:
            if child.poll() is None:
                child.kill()


def meshnode_exits(*words: str) -> int:
    return subprocess.run(
        [sys.executable, "-m", "meshnode", *words], capture_output=True, check=False
    ).returncode


def test_a_node_starts_answers_and_stops(tmp_path: Path) -> None:
    home = str(tmp_path / "n")
    start = ("start", "--home", home, "--listen", "127.0.0.1:0", "--api", "127.0.0.1:0")
    with running(*start, "--name", "pi") as (child, ready):
        assert (ready["name"], ready["new"]) == ("pi", ["identity", "mesh"])
        assert Path(ready["control"]).stat().st_mode & 0o777 == 0o600
        assert (tmp_path / "n" / "identity.key").stat().st_mode & 0o777 == 0o600
        with meshnode.connect(home) as client:
            assert client.status()["name"] == "pi"
            assert client.modules() == []
        assert meshnode_exits(*start) == 78, "a second node in the same home"
        assert meshnode_exits("stop", "--home", home) == 0
        assert child.wait(15) == 0
    assert not Path(ready["control"]).exists()
    with pytest.raises(NoNodeRunning):
        meshnode.connect(home)


def test_a_seed_starts_and_stops(tmp_path: Path) -> None:
    with running("bootstrap", "--home", str(tmp_path), "--listen", "127.0.0.1:0") as (child, ready):
        assert ready["seed"].endswith(ready["address"])
        child.send_signal(signal.SIGTERM)
        assert child.wait(10) == 0
