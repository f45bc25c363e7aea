"""A node's start-up time, its size, and what it costs when it does nothing."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from meshnode.bench.rows import Row, interleaved, timed
from meshnode.demo.processes import Playground, Proc
from tests.bench import models
from tests.bench.meshes import LOOPBACK, found, joined, packed, playground

STARTS, HELPS, IDLE_S, SETTLE_S = 4, 15, 10, 2.0


def rows() -> Iterator[Row]:
    """Yield start-up times, then memory and idle cost alone and with a neighbour."""
    yield from _commands()
    with playground() as play:
        yield from _starts(play)
    with playground() as play:
        yield from _cost(play)


def _commands() -> Iterator[Row]:
    script = Path(sys.executable).with_name("meshnode")
    meshnode = [str(script)] if script.exists() else [sys.executable, "-m", "meshnode"]
    commands = {"python": [sys.executable, "-c", "pass"], "help": [*meshnode, "--help"]}
    works = {name: lambda c=command: _run(c) for name, command in commands.items()}
    times = interleaved(works, rounds=HELPS, budget_s=15, warm_up=1)
    base = Row(what="python -c pass", unit="ms", samples=times["python"])
    yield base
    yield Row(what="meshnode --help", unit="ms", samples=times["help"], baseline=base)


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _starts(play: Playground) -> Iterator[Row]:
    times: dict[str, list[float]] = {"python": [], "new": [], "old": []}
    said: list[float] = []
    for number in range(STARTS):
        times["python"].append(timed(lambda: _run([sys.executable, "-c", "pass"])) * 1000)
        proc = play.add(f"node-{number}", "start", *LOOPBACK, "--name", "node")
        for kind in ("new", "old"):
            times[kind].append(timed(lambda p=proc: _ready(play, p)) * 1000)
            said.append(proc.ready["took_s"])
            play.stop(proc)
    base = Row(what="python -c pass", unit="ms", samples=times["python"])
    for kind, what in (("new", "a new home"), ("old", "a home it had before")):
        yield Row(
            what=f"meshnode start to ready, {what}",
            unit="ms",
            samples=times[kind],
            baseline=base,
            note=f"says {max(said):.2f} s at most" if kind == "old" else "",
        )


def _ready(play: Playground, proc: Proc) -> None:
    play.start(proc)
    play.wait_ready(proc)


# ---------------------------------------------------------------------- memory and idle cost


def _cost(play: Playground) -> Iterator[Row]:
    idle = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        node = found(play, "first")
        time.sleep(SETTLE_S)
        base = Row(what="RSS of an idle Python", unit="MiB", samples=[_memory(idle.pid, "Rss")])
        yield base
        yield from _memory_rows("alone", node, base)
        yield _idle_row("alone", node)
        joined(play, node, "second")
        time.sleep(SETTLE_S)
        yield _idle_row("with one neighbour", node)
        yield from _memory_rows("with one neighbour", node, base)
        model, inputs = models.digits()
        path = packed(play, node, model, "digits")
        with play.client(node) as client:
            client.publish(path, replicas=1)
            client.predict("digits", inputs)
        yield from _memory_rows("with one warm module", node, base)
    finally:
        idle.communicate(b"\n")


def _memory_rows(when: str, proc: Proc, base: Row) -> Iterator[Row]:
    assert proc.process is not None
    for kind in ("Rss", "Pss"):
        yield Row(
            what=f"{kind.upper()} of a node {when}",
            unit="MiB",
            samples=[_memory(proc.process.pid, kind)],
            baseline=base if kind == "Rss" else None,
        )


def _idle_row(when: str, proc: Proc) -> Row:
    """Return the share of one core in each of some seconds; the gossip beats once in each."""
    assert proc.process is not None
    clock = _CpuClock(proc.process.pid)
    samples = []
    began = clock.ns(), time.perf_counter_ns()
    before, at = began
    for _ in range(IDLE_S):
        time.sleep(1)
        after, now = clock.ns(), time.perf_counter_ns()
        samples.append(100 * (after - before) / (now - at))
        before, at = after, now
    mean = 100 * (before - began[0]) / (at - began[1])
    return Row(
        what=f"idle CPU of a node {when}",
        unit="%",
        samples=samples,
        note=f"of one core; mean over {IDLE_S} s {mean:.2f} %",
    )


class _CpuClock:
    """The time that the threads of a process were on a CPU; finer than the ticks of `times`."""

    def __init__(self, pid: int) -> None:
        self._tasks = Path(f"/proc/{pid}/task")
        self._seen: dict[str, int] = {}
        """What each thread has used, those that have ended since included."""

    def ns(self) -> int:
        for task in self._tasks.iterdir():
            with suppress(OSError):  # it ended just now
                self._seen[task.name] = int((task / "schedstat").read_text().split()[0])
        return sum(self._seen.values())


def _memory(pid: int, kind: str) -> float:
    """Return Rss or Pss in MiB; Pss shares out what several processes have in common."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == kind:
            return int(value.split()[0]) / 1024
    raise RuntimeError(f"the kernel does not tell the {kind} of a process")
