"""Real processes that break their word: one lies, one stops. Each request is answered once."""

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from meshnode.assets import asset
from meshnode.client.results import Result
from meshnode.demo.processes import Playground, Proc, until

pytestmark = pytest.mark.integration

RUN_MS = {"door": 60, "other": 60, "liar": 1500}
"""What a run takes; the liar says 1 ms."""
REQUESTS = 24
AT_ONCE = 3


class Lab(Playground):
    """Processes of which one is started by the program that lies."""

    def command(self, proc: Proc) -> list[str]:
        if proc.name == "liar":
            return [sys.executable, str(Path(__file__).with_name("liar.py"))]
        return super().command(proc)


class Three:
    """A door, an honest neighbour, and the liar; each holds the module and runs one at a time."""

    def __init__(self, play: Playground) -> None:
        self.play = play
        self.image = np.load(asset("digits-test.images.npy"))[:1].astype(np.float32)
        self.procs = {name: self._add(name, run_ms) for name, run_ms in RUN_MS.items()}
        door = self.procs["door"]
        door.arguments += ("--new-mesh", "lab")
        play.start(door)
        play.wait_ready(door)
        with play.client(door) as client:
            invite = client.invite(uses=2)["invite"]
        for name in ("other", "liar"):
            play.verb(self.procs[name], "join", invite, "--name", name).result  # noqa: B018
            play.start(self.procs[name])
            play.wait_ready(self.procs[name])
        until(partial(self.sees, 2), "the door sees the others")
        packed = play.verb(
            door, "pack", str(asset("digits.onnx")), "--name", "digits", "--version", "1.0.0"
        ).result["packed"]
        play.verb(door, "publish", str(play.root / packed["file"]), "--replicas", "3").result  # noqa: B018

    def _add(self, name: str, run_ms: int) -> Proc:
        words = ("--listen", "127.0.0.1:0", "--api", "off", "--name", name)
        simulated = ("--set", f"simulate.run={run_ms}ms", "--set", "batch.max=1")
        return self.play.add(name, "start", *words, *simulated)

    def sees(self, count: int) -> bool:
        with self.play.client(self.procs["door"]) as client:
            return sum(p["state"] == "alive" and bool(p["load"]) for p in client.peers()) == count

    def ask(self) -> Result:
        with self.play.client(self.procs["door"]) as client:
            return client.predict("digits", self.image, deadline=30.0)

    def ask_many(self, count: int = REQUESTS) -> list[Result]:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return [done.result() for done in [pool.submit(self.ask) for _ in range(count)]]


@pytest.fixture(scope="module")
def three() -> Iterator[Three]:
    with Lab() as play:
        yield Three(play)


def outcomes(answers: list[Result], name: str) -> Counter[str]:
    """Return how a node's tries ended: "ok" or a code."""
    tries = [a for answer in answers for a in answer.attempts if a["name"] == name]
    return Counter(a["outcome"].split()[0] for a in tries)


def test_a_node_that_says_idle_and_is_slow_is_not_asked_for_long(three: Three) -> None:
    answers = three.ask_many()
    assert len(answers) == REQUESTS
    at_liar = outcomes(answers, "liar")
    assert at_liar["MN-513"] >= 1, "its word was broken, and the requests were taken back"
    assert at_liar.total() <= REQUESTS / 2, "what it takes is learned, and not what it says"


def test_a_node_that_stops_loses_its_requests_at_once(three: Three) -> None:
    three.ask_many()  # what runs take is measured by now, at both honest nodes
    process = three.procs["other"].process
    assert process is not None
    with ThreadPoolExecutor(1) as pool:
        try:
            under_way = pool.submit(three.ask_many, 40)
            os.kill(process.pid, signal.SIGSTOP)
            answers = under_way.result()
        finally:
            os.kill(process.pid, signal.SIGCONT)
    assert len(answers) == 40, "none was lost, and what comes late is nobody's answer"
    assert outcomes(answers, "other")["MN-110"] >= 1
