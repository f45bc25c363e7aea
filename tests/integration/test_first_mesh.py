"""Runs every command of docs/first-mesh.md, in its order, as real processes."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Timer

import numpy as np
import pytest

from meshnode.assets import asset

pytestmark = pytest.mark.integration

PAGE = Path(__file__).parents[2] / "docs" / "first-mesh.md"
READY_S = 30.0


def commands() -> list[list[str]]:
    blocks = re.findall(r"```console\n(.*?)```", PAGE.read_text(), re.S)
    lines = [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    return [shlex.split(line) for line in lines]


class Walk:
    """The two terminals of the page."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[str]] = []
        self.ports: dict[str, str] = {}
        self.invite = ""

    def run(self, words: list[str]) -> str:
        words = [self._own_port(w) for w in words]
        if words[0] == "curl":
            if shutil.which("curl") is None:
                pytest.skip("no curl on this machine")
            return self._finish(words)
        command = [sys.executable, "-m", *words]
        if words[1] == "start":
            return self._start(command)
        out = self._finish([self.invite if w == "INVITE" else w for w in command])
        if words[1] == "invite":
            self.invite = out.split()[0]
        return out

    def _own_port(self, word: str) -> str:
        """The page's ports may be taken on this machine: every test mesh has its own."""
        for port in ("6174", "6175", "6180"):
            if f"127.0.0.1:{port}" in word:
                if port not in self.ports:
                    self.ports[port] = str(free_port())
                return word.replace(port, self.ports[port])
        return word

    def _finish(self, command: list[str]) -> str:
        done = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def _start(self, command: list[str]) -> str:
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.started.append(process)
        assert process.stdout is not None
        guard = Timer(READY_S, process.kill)
        guard.start()
        said = ""
        for line in process.stdout:
            said += line
            if line.startswith("ready in"):
                break
        guard.cancel()
        assert "ready in" in said, said
        return said


def free_port() -> int:
    import socket

    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        tcp.bind(("127.0.0.1", 0))
        udp.bind(("127.0.0.1", tcp.getsockname()[1]))
        return int(tcp.getsockname()[1])


@pytest.fixture
def walk(tmp_path: Path) -> Iterator[Walk]:
    shutil.copy(asset("digits.onnx"), tmp_path)
    np.save(tmp_path / "digit.npy", np.load(asset("digits-test.images.npy"))[:1].astype("<f4"))
    walk = Walk(tmp_path)
    yield walk
    for process in walk.started:
        process.kill()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


def test_every_command_of_the_page_works(walk: Walk) -> None:
    said = {" ".join(words[:2]): walk.run(words) for words in commands()}
    truth = int(np.load(asset("digits-test.labels.npy"))[0])
    assert "ana" in said["meshnode peers"]
    assert "digits" in said["meshnode modules"]
    assert "chosen" in said["meshnode predict"]
    assert f"label int64[1]  {truth}" in said["meshnode predict"]
    for process in walk.started:
        assert process.wait(20) == 0
