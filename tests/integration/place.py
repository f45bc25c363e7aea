"""A small mesh and a folder of bad files, and how a refusal is checked."""

import io
import json
import logging
import os
import signal
from contextlib import redirect_stderr, redirect_stdout
from itertools import count
from threading import Timer

import numpy as np

from meshnode.assets import asset
from meshnode.cli.main import main
from meshnode.demo.processes import Playground, Proc, Verb, until
from meshnode.errors import BY_CODE

ANY_PORT = ("--listen", "127.0.0.1:0", "--api", "off")


class Place:
    """A mesh of `a`, which runs the module, and `b`, which cannot; and a folder of bad files."""

    def __init__(self, play: Playground) -> None:
        self.play = play
        self.root = play.root
        self.names = count()
        self.a = play.add("a", "start", *ANY_PORT, "--name", "a", "--new-mesh", "lab")
        self.b = play.add("b", "start", *ANY_PORT, "--name", "b", "--caps", "cpu")
        self.founder = play.add("founder", "start", *ANY_PORT)  # of another mesh
        self.up(self.a)
        self.a.arguments = self.a.arguments[:-2]
        play.verb(self.b, "join", self.invite(), "--name", "b").result  # noqa: B018
        play.start(self.b)
        packed = play.verb(
            self.a, "pack", str(asset("digits.onnx")), "--name", "digits", "--version", "1.0.0"
        ).result["packed"]
        self.module, self.sha256 = self.root / packed["file"], packed["sha256"]
        play.wait_ready(self.b)
        self.see_each_other()
        play.verb(self.a, "publish", str(self.module), "--replicas", "2").result  # noqa: B018
        self.image = np.load(asset("digits-test.images.npy"))[:1].astype(np.float32)
        self.good = self.npy("good.npy", self.image)

    def up(self, proc: Proc) -> None:
        self.play.start(proc)
        self.play.wait_ready(proc)

    def see_each_other(self) -> None:
        for proc in (self.a, self.b):
            with self.play.client(proc) as client:
                until(
                    lambda client=client: any(
                        p["state"] == "alive" and p["load"] for p in client.peers()
                    ),
                    f"{proc.name} sees the other",
                )

    def invite(self, **terms: float) -> str:
        with self.play.client(self.a) as client:
            return str(client.invite(**terms)["invite"])

    def npy(self, name: str, array: np.ndarray, **how: bool) -> str:
        np.save(self.root / name, array, **how)
        return str(self.root / name)

    def file(self, name: str, data: bytes) -> str:
        (self.root / name).write_bytes(data)
        return str(self.root / name)

    def stranger(self) -> Proc:
        return self.play.add(f"stranger-{next(self.names)}", "start")

    def verb(self, proc: Proc, *words: str) -> Verb:
        """Run a verb as the command line does, in this process: starting one each takes longer."""
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            status = main([*words, "--home", str(proc.home), "--json"])
        return Verb(words, status, out.getvalue(), err.getvalue())

    def predict(self, *words: str, at: Proc | None = None) -> Verb:
        return self.verb(at or self.b, "predict", *words)


def refused(verb: Verb, *codes: str) -> dict[str, object]:
    """Check the form of a refusal and return its fields."""
    what = f"{verb.arguments} -> {verb.exit_status}\n{verb.stdout}\n{verb.stderr}"
    assert verb.exit_status != 0, what
    assert verb.stderr == "", what
    error = json.loads(verb.stdout)["error"]
    assert error["code"] in codes, what
    assert verb.exit_status == BY_CODE[error["code"]].exit_status == error["exit"], what
    assert error["message"], what
    assert error["because"] or error["try"], what
    return dict(error)


def stored(proc: Proc) -> set[str]:
    return {str(p) for p in (proc.home / "store").rglob("*") if p.is_file()}


def start(place: Place, proc: Proc, *words: str) -> Verb:
    """Start a node that must refuse. One that does not is ended, and its status is 0."""
    log = logging.getLogger("meshnode")
    handlers, level, propagate = log.handlers[:], log.level, log.propagate
    guard = Timer(15, os.kill, (os.getpid(), signal.SIGTERM))
    guard.start()
    try:
        return place.verb(proc, "start", *(words or ANY_PORT))
    finally:
        guard.cancel()
        # The verb sets up logging for its process; this one lives on.
        log.handlers[:], log.propagate = handlers, propagate
        log.setLevel(level)
