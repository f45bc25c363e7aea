"""Nodes as a user starts them, for a bench: in a directory of their own, gone at the end."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from meshnode.client.client import Client
from meshnode.demo.processes import Playground, Proc, until

LOOPBACK = ("--listen", "127.0.0.1:0", "--api", "off")

EVERYTHING = (
    "import meshnode.demo.acts, meshnode.cli.serving, onnxruntime;"
    "from meshnode.cli import bootstrap, demo, invite, join, pack, predict, publish, start"
)


@contextmanager
def bytecode() -> Iterator[None]:
    """Let every process use bytecode compiled beforehand, as one installed by pip does.

    Where the environment forbids writing it, a node compiles 200 files at each start.
    """
    kept = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="meshnode-bench-") as folder:
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = folder
        try:
            subprocess.run([sys.executable, "-c", EVERYTHING], check=True)
            yield
        finally:
            os.environ.clear()
            os.environ.update(kept)


@contextmanager
def playground() -> Iterator[Playground]:
    """A place for processes; whatever happens, they are ended and their files removed."""
    play = Playground()
    try:
        with play:
            yield play
    finally:
        shutil.rmtree(play.root, ignore_errors=True)


def found(play: Playground, name: str, *arguments: str) -> Proc:
    """Start a node with a mesh of its own."""
    proc = play.add(name, "start", *LOOPBACK, "--name", name, *arguments)
    play.start(proc)
    play.wait_ready(proc)
    return proc


def admitted(play: Playground, sponsor: Proc, name: str, *arguments: str) -> Proc:
    """Return a node that joined its sponsor's mesh and was not started yet."""
    with play.client(sponsor) as client:
        invite = client.invite()["invite"]
    proc = play.add(name, "start", *LOOPBACK, "--name", name, *arguments)
    play.verb(proc, "join", invite, "--name", name).result  # noqa: B018 - raises if it failed
    return proc


def joined(play: Playground, sponsor: Proc, name: str, *arguments: str) -> Proc:
    """Start a node in its sponsor's mesh, and wait until both know each other."""
    proc = admitted(play, sponsor, name, *arguments)
    play.start(proc)
    play.wait_ready(proc)
    for one, other in ((proc, sponsor), (sponsor, proc)):
        with play.client(one) as client:
            until(partial(knows, client, other.name), f"{one.name} knows {other.name}")
    return proc


def knows(client: Client, name: str) -> bool:
    """Return whether a node has heard how busy another is."""
    return any(
        p["name"] == name and p["state"] == "alive" and p["load"] is not None
        for p in client.peers()
    )


def packed(play: Playground, proc: Proc, model: bytes, name: str, *arguments: str) -> Path:
    """Pack a model with the key of a node's user; return the module's file."""
    source = play.root / f"{name}.onnx"
    source.write_bytes(model)
    done = play.verb(proc, "pack", str(source), "--name", name, "--version", "1.0.0", *arguments)
    return play.root / str(done.result["packed"]["file"])
