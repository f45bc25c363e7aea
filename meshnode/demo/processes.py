"""The demo's processes: started as a user starts them, stopped by id, nothing left behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from meshnode.client.client import Client, connect
from meshnode.errors import MeshnodeError

READY_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0
POLL_S = 0.05


class DemoFailed(Exception):
    """An act's promise did not hold; the message says which and what was seen instead."""


@dataclass(slots=True)
class Proc:
    """One node or seed of the demo."""

    name: str
    home: Path
    arguments: tuple[str, ...]
    process: subprocess.Popen[str] | None = None
    ready: dict[str, Any] = field(default_factory=dict)
    """What it printed when it was ready."""

    @property
    def log(self) -> Path:
        """Where its stderr goes."""
        return self.home.parent / f"{self.name}.log"

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self.process is not None and self.process.poll() is None


class Playground:
    """A temporary directory with the homes of every process, removed at the end."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="meshnode-demo-"))
        self.procs: dict[str, Proc] = {}
        self.keep = False
        """Leave the logs of a failed run where they are."""

    def __enter__(self) -> "Playground":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop_all()
        if not self.keep and kind in (None, KeyboardInterrupt):
            shutil.rmtree(self.root, ignore_errors=True)

    def add(self, name: str, verb: str, *arguments: str) -> Proc:
        """Prepare a process; `start` starts it."""
        home = self.root / name
        home.mkdir(mode=0o700)
        proc = Proc(name, home, (verb, "--home", str(home), "--json", *arguments))
        self.procs[name] = proc
        return proc

    def start(self, proc: Proc) -> None:
        """Start a process without waiting for it."""
        with proc.log.open("ab") as log:
            proc.process = subprocess.Popen(
                [*self.command(proc), *proc.arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=_environment(),
                start_new_session=True,
            )

    def wait_ready(self, proc: Proc) -> None:
        """Wait for the line a node prints when it is ready; raise DemoFailed with its log."""
        assert proc.process is not None, "start it first"
        assert proc.process.stdout is not None, "its output is a pipe"
        killer = threading.Timer(READY_TIMEOUT_S, proc.process.kill)
        killer.start()
        try:
            line = proc.process.stdout.readline()
        finally:
            killer.cancel()
        if not line:
            tail = proc.log.read_text(errors="replace")[-2000:]
            raise DemoFailed(f"{proc.name} did not start:\n{tail}")
        said = json.loads(line)
        if "ready" not in said:
            raise DemoFailed(f"{proc.name} did not start: {said.get('error', said)}")
        proc.ready = said["ready"]

    def kill(self, proc: Proc) -> None:
        """`kill -9`."""
        assert proc.process is not None, "it was started"
        proc.process.kill()
        proc.process.wait(STOP_TIMEOUT_S)
        self._close_pipe(proc)

    def stop(self, proc: Proc) -> int:
        """Ask a process to stop and return its exit status."""
        if proc.process is None:
            return 0
        if proc.process.poll() is None:
            proc.process.send_signal(signal.SIGTERM)
            try:
                proc.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                proc.process.kill()
                proc.process.wait(STOP_TIMEOUT_S)
        self._close_pipe(proc)
        return proc.process.returncode

    def stop_all(self) -> None:
        """Ask all to stop at once, then wait for each."""
        for proc in self.procs.values():
            if proc.running and proc.process is not None:
                proc.process.send_signal(signal.SIGTERM)
        for proc in self.procs.values():
            self.stop(proc)

    def verb(self, proc: Proc, *arguments: str, timeout_s: float = 60.0) -> "Verb":
        """Run one command-line verb in a process's home, as its user would."""
        done = subprocess.run(
            [*self.command(proc), *arguments, "--home", str(proc.home), "--json"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env=_environment(),
            cwd=self.root,
        )
        return Verb(arguments, done.returncode, done.stdout, done.stderr)

    def command(self, proc: Proc) -> list[str]:
        """Return the words that start meshnode for a process; labs put theirs before."""
        del proc
        return [sys.executable, "-m", "meshnode"]

    @staticmethod
    def client(proc: Proc) -> Client:
        """Return a Python client of a node."""
        return connect(home=proc.home)

    @staticmethod
    def _close_pipe(proc: Proc) -> None:
        if proc.process is not None and proc.process.stdout is not None:
            proc.process.stdout.close()


@dataclass(frozen=True, slots=True)
class Verb:
    """A finished command."""

    arguments: Sequence[str]
    exit_status: int
    stdout: str
    stderr: str

    @property
    def result(self) -> dict[str, Any]:
        """Its JSON, or raise DemoFailed if it failed."""
        if self.exit_status != 0:
            raise DemoFailed(
                f"meshnode {' '.join(self.arguments)} exited {self.exit_status}: "
                f"{(self.stderr or self.stdout).strip()}"
            )
        loaded: dict[str, Any] = json.loads(self.stdout)
        return loaded

    @property
    def error(self) -> dict[str, Any]:
        """The error object of a verb that was expected to fail."""
        if self.exit_status == 0:
            raise DemoFailed(f"meshnode {' '.join(self.arguments)} succeeded; it had to fail")
        loaded: dict[str, Any] = json.loads(self.stdout)["error"]
        return loaded


def until(holds: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
    """Look again and again until a condition of other processes holds, or raise DemoFailed."""
    pause = threading.Event()
    for _ in range(round(timeout_s / POLL_S)):
        try:
            if holds():
                return
        except MeshnodeError:
            pass
        pause.wait(POLL_S)
    raise DemoFailed(f"{what}: not within {timeout_s:.0f} s")


def _environment() -> dict[str, str]:
    """Return the environment of a demo process: ours, without settings meant for other nodes.

    One BLAS thread each: six processes share this machine.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MESHNODE_")}
    return kept | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
