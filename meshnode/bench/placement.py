"""Placement among real processes: three nodes that play devices of 50, 100 and 200 ms.

Open-loop Poisson load (requests come when they come, however long earlier ones take) at a share of
what the three can do together, through one node's door and through all three at once. Each node
runs one request at a time. The model is real and small; the service time is simulated.
"""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from random import Random
from statistics import quantiles
from time import perf_counter
from typing import Any

import numpy as np

from meshnode.assets import asset
from meshnode.client.client import Client
from meshnode.demo.processes import Playground, Proc, until
from meshnode.errors import MeshnodeError

MODULE = "digits"
RUN_MS = {"fast": 50, "middle": 100, "slow": 200}
CAPACITY_PER_S = sum(1000 / ms for ms in RUN_MS.values())
IN_FLIGHT_MAX = 64
"""Requests under way at once; at the loads measured here some ten are."""
DEADLINE_S = 10.0
WARM_UP_S = 3.0
"""The first seconds teach the nodes what each other's runs take, and are not counted."""
NEAR = 0.30
"""A prediction is near if it is off by no more than this share of what it took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One measurement."""

    load: float
    """Share of the three nodes' capacity."""
    doors: tuple[str, ...]
    seconds: float


@dataclass(slots=True)
class Outcome:
    """What became of its requests."""

    case: Case
    took_ms: list[float] = field(default_factory=list)
    by_node: Counter[str] = field(default_factory=Counter)
    near: int = 0
    """Answers whose prediction was within 30 %."""
    refused: int = 0
    """Requests that some server sent elsewhere."""
    failed: list[str] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        cuts = quantiles(self.took_ms, n=100) if len(self.took_ms) > 1 else [0.0] * 99
        count = len(self.took_ms)
        return {
            "load": self.case.load,
            "doors": list(self.case.doors),
            "requests": count,
            "per_s": self.case.load * CAPACITY_PER_S,
            "p50_ms": cuts[49],
            "p90_ms": cuts[89],
            "p99_ms": cuts[98],
            "share": {name: self.by_node[name] / max(1, count) for name in RUN_MS},
            "predicted_within_30_percent": self.near / max(1, count),
            "sent_elsewhere": self.refused / max(1, count),
            "failed": self.failed,
        }


class Trio:
    """The three nodes, each with the module."""

    def __init__(self, play: Playground) -> None:
        self._play = play
        self._image = np.load(asset("digits-test.images.npy"))[:1].astype(np.float32)
        self._nodes: dict[str, Proc] = {}
        first, *others = (self._add(name) for name in RUN_MS)
        first.arguments += ("--new-mesh", "bench")
        self._up(first)
        with play.client(first) as client:
            invite = client.invite(uses=len(others), ttl=600.0)["invite"]
        for proc in others:
            play.verb(proc, "join", invite, "--name", proc.name).result  # noqa: B018
            self._up(proc)
        for name in RUN_MS:
            until(partial(self._sees_all, name), f"{name} sees the others")
        packed = play.verb(
            first, "pack", str(asset("digits.onnx")), "--name", MODULE, "--version", "1.0.0"
        ).result["packed"]
        path = str(play.root / packed["file"])
        play.verb(first, "publish", path, "--replicas", str(len(RUN_MS))).result  # noqa: B018

    def measure(self, case: Case, seed: int) -> Outcome:
        """Send a case's requests and wait for all."""
        rng, outcome, lock = Random(seed), Outcome(case), threading.Lock()
        local, pause = threading.local(), threading.Event()
        clients: list[Client] = []
        rate = case.load * CAPACITY_PER_S
        with ThreadPoolExecutor(IN_FLIGHT_MAX) as pool:
            began = due = perf_counter()
            while (due := due + rng.expovariate(rate)) < began + WARM_UP_S + case.seconds:
                pause.wait(max(0.0, due - perf_counter()))
                door = rng.choice(case.doors)
                counted = due > began + WARM_UP_S
                pool.submit(
                    self._ask, door, due, outcome if counted else None, lock, local, clients
                )
        for client in clients:
            client.close()
        return outcome

    def _ask(
        self,
        door: str,
        due: float,
        outcome: Outcome | None,
        lock: threading.Lock,
        local: threading.local,
        clients: list[Client],
    ) -> None:
        held = local.__dict__.setdefault("clients", {})
        if door not in held:
            held[door] = self._play.client(self._nodes[door])
            with lock:
                clients.append(held[door])
        try:
            result = held[door].predict(MODULE, self._image, deadline=DEADLINE_S)
        except MeshnodeError as error:
            if outcome is not None:
                with lock:
                    outcome.failed.append(str(error))
            return
        took_ms = (perf_counter() - due) * 1000
        if outcome is None:
            return
        last = result.attempts[-1]
        with lock:
            outcome.took_ms.append(took_ms)
            outcome.by_node[result.node.name] += 1
            outcome.refused += len(result.attempts) > 1
            outcome.near += abs(last["predicted_ms"] - last["took_ms"]) <= NEAR * last["took_ms"]

    def _add(self, name: str) -> Proc:
        self._nodes[name] = self._play.add(
            name,
            "start",
            *("--listen", "127.0.0.1:0", "--api", "off", "--name", name),
            *("--set", f"simulate.run={RUN_MS[name]}ms", "--set", "batch.max=1"),
        )
        return self._nodes[name]

    def _up(self, proc: Proc) -> None:
        self._play.start(proc)
        self._play.wait_ready(proc)

    def _sees_all(self, name: str) -> bool:
        with self._play.client(self._nodes[name]) as client:
            alive = [p for p in client.peers() if p["state"] == "alive" and p["load"]]
            return len(alive) == len(RUN_MS) - 1


def cases(seconds: float) -> Sequence[Case]:
    """Return what is measured, each for so long."""
    one, three = ("fast",), tuple(RUN_MS)
    return [
        Case(load=load, doors=doors, seconds=seconds)
        for load in (0.5, 0.7)
        for doors in (one, three)
    ]


HEAD = (
    f"  {'load':>5} {'doors':>5} {'n':>5} {'p50':>7} {'p90':>7} {'p99':>7} ms   share of "
    + " / ".join(RUN_MS)
    + "    within 30 %   sent elsewhere"
)


def line(facts: dict[str, Any]) -> str:
    """Return a case as a row of the table."""
    share = " / ".join(f"{100 * part:.0f} %" for part in facts["share"].values())
    failed = f"   {len(facts['failed'])} FAILED" if facts["failed"] else ""
    return (
        f"  {100 * facts['load']:>3.0f} % {len(facts['doors']):>5} {facts['requests']:>5}"
        f" {facts['p50_ms']:>7.0f} {facts['p90_ms']:>7.0f} {facts['p99_ms']:>7.0f}      {share:<24}"
        f" {100 * facts['predicted_within_30_percent']:>8.0f} %"
        f" {100 * facts['sent_elsewhere']:>12.0f} %{failed}"
    )


def placement_rows(seconds: float) -> Iterator[dict[str, Any]]:
    """Start the nodes, and yield each case as it is measured."""
    with Playground() as play:
        nodes = Trio(play)
        for seed, case in enumerate(cases(seconds), 1):
            yield nodes.measure(case, seed).facts()
