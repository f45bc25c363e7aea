"""Records put into and got from a DHT of real nodes: processes, sealed datagrams, UDP on loopback.

Ten nodes a process. "30 % dead" are three processes of ten ended by SIGKILL, a moment before the
first get: every table still has them.
"""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from time import monotonic, perf_counter, sleep
from typing import Any

from meshnode.bench.rows import Row

NODES_EACH = 10
TIMES = 60
FORMED_S_MAX = 60.0


def rows() -> Iterator[Row]:
    """Yield put and get at 30 nodes, and get at 100 with none and with 30 % dead."""
    echo = Row(what="bare UDP echo, 600 B", unit="ms", samples=_echo())
    yield echo
    with _mesh(3) as mesh:
        blobs = [mesh.blob() for _ in range(TIMES)]
        puts = [mesh.put(blob) for blob in blobs]
        gets = [mesh.get(blob) for blob in blobs]
        yield _row("put, N = 30", puts, echo, f"kept by {min(c for _, c in puts)} at least")
        yield _row("get, N = 30", gets, echo, _found(gets))
    with _mesh(10) as mesh:
        blobs = [mesh.blob() for _ in range(3 * TIMES)]
        puts = [mesh.put(blob) for blob in blobs]
        yield _row("put, N = 100", puts, echo, f"kept by {min(c for _, c in puts)} at least")
        gets = [mesh.get(blob) for blob in blobs]
        yield _row("get, N = 100, all alive", gets, echo, _found(gets))
        mesh.kill(3)
        gets = [mesh.get(blob) for blob in blobs]
        yield _row("get, N = 100, 30 % dead", gets, echo, _found(gets))


def _row(what: str, done: list[tuple[float, int]], echo: Row, note: str) -> Row:
    times = sorted(ms for ms, _ in done)
    p95 = times[int(len(times) * 0.95)]
    return Row(
        what=what,
        unit="ms",
        samples=times,
        baseline=echo,
        note=f"p95 {p95:.1f} ms, max {times[-1]:.1f} ms, {note}",
    )


def _found(gets: list[tuple[float, int]]) -> str:
    return f"found {sum(count > 0 for _, count in gets)} of {len(gets)}"


class _Worker:
    """One process of nodes."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.dht_nodes", str(NODES_EACH)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.contacts: list[list[Any]] = self._answer()["contacts"]

    def ask(self, **order: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


class _Mesh:
    """Workers whose nodes form one mesh."""

    def __init__(self, workers: list[_Worker]) -> None:
        self._workers = workers
        self._rng = Random(1)
        sponsor = workers[0].contacts[0]
        for worker in workers:
            for index in range(NODES_EACH):
                worker.ask(join=[sponsor], node=index)
        self._wait_until_formed()

    def _wait_until_formed(self) -> None:
        enough = min(16, len(self._workers) * NODES_EACH - 1)
        ends = monotonic() + FORMED_S_MAX
        while min(min(w.ask(sizes=True)["sizes"]) for w in self._workers) < enough:
            if monotonic() > ends:
                raise TimeoutError("the mesh does not form")
            sleep(0.2)

    def blob(self) -> str:
        return self._rng.randbytes(32).hex()

    def put(self, blob: str) -> tuple[float, int]:
        return self._timed(put=blob)

    def get(self, blob: str) -> tuple[float, int]:
        return self._timed(get=blob)

    def kill(self, count: int) -> None:
        for worker in self._workers[-count:]:
            worker.kill()
        del self._workers[-count:]

    def _timed(self, **order: str) -> tuple[float, int]:
        worker = self._rng.choice(self._workers)
        done = worker.ask(**order, node=self._rng.randrange(NODES_EACH))
        return done["ms"], done["count"]


@contextmanager
def _mesh(processes: int) -> Iterator[_Mesh]:
    workers: list[_Worker] = []
    try:
        workers += (_Worker() for _ in range(processes))
        yield _Mesh(workers)
    finally:
        for worker in workers:
            worker.kill()


def _echo(count: int = 500) -> list[float]:
    """Return the times in ms of round trips to a thread that sends back what it gets."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there,
    ):
        there.bind(("127.0.0.1", 0))
        here.connect(there.getsockname())
        here.settimeout(5.0)

        def serve() -> None:
            for _ in range(count):
                data, sender = there.recvfrom(2048)
                there.sendto(data, sender)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        times = []
        for _ in range(count):
            started = perf_counter()
            here.send(bytes(600))
            here.recv(2048)
            times.append((perf_counter() - started) * 1e3)
        thread.join()
        return times
