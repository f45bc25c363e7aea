"""Fetching a module by its hash: describe, pieces from one or three nodes, verify, store, read.

The nodes that hold it are processes of their own; the one that takes it is in this process.
"""

import os
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from time import perf_counter

import trio

from meshnode.bench.rows import Row, timed
from meshnode.config.home import home_dir
from meshnode.config.load import load
from meshnode.demo.processes import Playground, Proc
from meshnode.ids import ContentHash
from meshnode.node.node import Node
from meshnode.node.opening import open_node
from meshnode.storage.files import replace_file
from meshnode.wire.limits import MIB
from tests.bench import models
from tests.bench.meshes import admitted, found, joined, packed, playground

TIMES = 5
CHUNK_BYTES = 256 * 1024
CONFIG = {
    "mesh.listen": "127.0.0.1:0",
    "api.listen": "off",
    "caps.use": "cpu",
    "node.name": "taker",
}


def rows() -> Iterator[Row]:
    """Yield MB/s from one holder and from three, beside what the parts of it allow."""
    with playground() as play:
        # Without nn nobody opens the model: the bytes are all that moves.
        first = found(play, "first", "--caps", "cpu")
        model = models.heavy()
        path = packed(play, first, model, "heavy", "--no-embed")
        module = ContentHash(sha256(path.read_bytes()).digest())
        size = path.stat().st_size + len(model)
        with play.client(first) as client:
            client.publish(path, replicas=1)
        taker = admitted(play, first, "taker")
        copies = _floors(model, play.root / "copy")
        base = Row(what="plain TCP copy on loopback", unit="MB/s", samples=copies["tcp"])
        yield base
        yield Row(what="sha256 of the same bytes", unit="MB/s", samples=copies["sha256"])
        yield Row(what="write, fsync, rename", unit="MB/s", samples=copies["disk"])
        for holders in (1, 3):
            if holders > 1:
                _hold_at(play, first, path, holders)
            times, sources = trio.run(_fetch, taker, module, holders)
            yield Row(
                what=f"module of {size / MIB:.0f} MiB, {holders} -> 1",
                unit="MB/s",
                samples=[size / 1e6 / t for t in times],
                baseline=base,
                note=f"from {sources} nodes; hash, fsync and reading back included",
            )


def _hold_at(play: Playground, first: Proc, path: Path, holders: int) -> None:
    for number in range(2, holders + 1):
        joined(play, first, f"holder-{number}", "--caps", "cpu")
    with play.client(first) as client:
        replicas = client.publish(path, replicas=holders)["replicas"]
    if failed := [r for r in replicas if not r["ok"]]:
        raise RuntimeError(f"not held by {holders} nodes: {failed}")


async def _fetch(taker: Proc, module: ContentHash, holders: int) -> tuple[list[float], int]:
    times, sources = [], 0
    async with _open(taker, holders) as node:
        library = node.parts.library
        for _ in range(TIMES):
            started = perf_counter()
            present = await library.ensure(module)
            times.append(perf_counter() - started)
            sources = max(sources, len(present.sources))
            await library.discard(present.info)
    return times, sources


@asynccontextmanager
async def _open(taker: Proc, others: int) -> AsyncIterator[Node]:
    home = home_dir(taker.home)
    async with open_node(load(home, CONFIG), home, probe_port=False) as node:
        with trio.fail_after(10):
            while sum(p["state"] == "alive" for p in node.peers()) < others:  # noqa: ASYNC110
                await trio.sleep(0.02)
        yield node


# ---------------------------------------------------------------------- baselines


def _floors(data: bytes, path: Path) -> dict[str, list[float]]:
    works: dict[str, Callable[[], object]] = {
        "tcp": lambda: _tcp_copy(data),
        "sha256": lambda: sha256(data).digest(),
        "disk": lambda: replace_file(path, [data]),
    }
    found = {name: [len(data) / 1e6 / timed(w) for _ in range(TIMES)] for name, w in works.items()}
    os.unlink(path)
    return found


def _tcp_copy(data: bytes) -> None:
    """Send the bytes from a thread of this process and receive them into one buffer."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def send() -> None:
            with socket.create_connection(server.getsockname()) as sender:
                sender.sendall(data)

        thread = threading.Thread(target=send)
        thread.start()
        receiver, _ = server.accept()
        with receiver:
            view = memoryview(bytearray(len(data)))
            while view:
                view = view[receiver.recv_into(view[:CHUNK_BYTES]) or len(view) :]
        thread.join()
