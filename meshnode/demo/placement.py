"""Placement among real processes: three nodes that play devices of 50, 100 and 200 ms.

Open-loop Poisson load (requests come when they come, however long earlier ones take) at a share of
what the three can do together, through one node's door and through all three at once. Each node
runs one request at a time. The model is real and small; the service time is simulated.

Beyond what they can do, requests have a deadline and three of four sources are light (a tenth of
the capacity each), the fourth is the rest. What counts then is how much is answered in time, who
was told when to come again, and what each source got.
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
from meshnode.demo.processes import DemoFailed, Playground, Proc, until
from meshnode.demo.quiet import Quiet, measure_quiet, quiet_line
from meshnode.errors import MeshnodeError

MODULE = "digits"
MODULES = (MODULE, "digits-again")
QUIET = 100
"""Requests of the quiet case."""
RUN_MS = {"fast": 50, "middle": 100, "slow": 200}
CAPACITY_PER_S = sum(1000 / ms for ms in RUN_MS.values())
IN_FLIGHT_MAX = 96
"""Requests under way at once; at the loads that can be held some ten are."""
DEADLINE_S = 10.0
OVERLOAD_DEADLINE_S = 1.0
"""Five runs of the slowest node: enough for a queue, too little for all that comes."""
LIGHT = {"light-1": 0.1, "light-2": 0.1, "light-3": 0.1}
"""Shares of the capacity that these sources ask for under overload."""
FLOOD = "flood"
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

    @property
    def overload(self) -> bool:
        """Whether more is asked for than can be done."""
        return self.load > 1

    @property
    def deadline_s(self) -> float:
        """Of each request."""
        return OVERLOAD_DEADLINE_S if self.overload else DEADLINE_S

    def source(self, rng: Random) -> str:
        """Draw who asks next; nobody in particular unless there is an overload."""
        if not self.overload:
            return ""
        at = rng.random() * self.load
        for name, share in LIGHT.items():
            at -= share
            if at < 0:
                return name
        return FLOOD


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
    told: int = 0
    """Failures that said when to come again."""
    asked_by: Counter[str] = field(default_factory=Counter)
    in_time_by: Counter[str] = field(default_factory=Counter)

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
            **(self._overload_facts() if self.case.overload else {}),
        }

    def _overload_facts(self) -> dict[str, Any]:
        in_time = sum(self.in_time_by.values())
        return {
            "deadline_ms": self.case.deadline_s * 1000,
            "goodput_per_s": in_time / self.case.seconds,
            "goodput_of_capacity": in_time / self.case.seconds / CAPACITY_PER_S,
            "failed_told_when": self.told / max(1, len(self.failed)),
            "answered_of_source": {
                name: self.in_time_by[name] / max(1, self.asked_by[name])
                for name in (*LIGHT, FLOOD)
            },
        }


@dataclass(frozen=True, slots=True)
class _Ask:
    """One request."""

    door: str
    due: float
    source: str
    deadline_s: float


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
        for module in MODULES:
            self._publish(first, module)

    def _publish(self, proc: Proc, module: str) -> None:
        packed = self._play.verb(
            proc, "pack", str(asset("digits.onnx")), "--name", module, "--version", "1.0.0"
        ).result["packed"]
        path = str(self._play.root / packed["file"])
        done = self._play.verb(proc, "publish", path, "--replicas", str(len(RUN_MS))).result
        failed = [r["detail"] for r in done["published"]["replicas"] if not r["ok"]]
        if failed:
            raise DemoFailed(f"{module} is not everywhere: {failed}")

    def measure_quiet(self, seed: int) -> Quiet:
        """Send requests one at a time, and compare what was said of them."""
        clients = [self._play.client(proc) for proc in self._nodes.values()]
        try:
            return measure_quiet(clients, MODULES, self._image, QUIET, seed)
        finally:
            for client in clients:
                client.close()

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
                ask = _Ask(rng.choice(case.doors), due, case.source(rng), case.deadline_s)
                counted = due > began + WARM_UP_S
                pool.submit(self._ask, ask, outcome if counted else None, lock, local, clients)
        for client in clients:
            client.close()
        return outcome

    def _ask(
        self,
        ask: "_Ask",
        outcome: Outcome | None,
        lock: threading.Lock,
        local: threading.local,
        clients: list[Client],
    ) -> None:
        held = local.__dict__.setdefault("clients", {})
        if ask.door not in held:
            held[ask.door] = self._play.client(self._nodes[ask.door])
            with lock:
                clients.append(held[ask.door])
        try:
            result = held[ask.door].predict(
                MODULE, self._image, source=ask.source, deadline=ask.deadline_s
            )
        except MeshnodeError as error:
            if outcome is not None:
                with lock:
                    outcome.asked_by[ask.source] += 1
                    outcome.failed.append(str(error))
                    outcome.told += error.retry_after_ms is not None
            return
        took_ms = (perf_counter() - ask.due) * 1000
        if outcome is None:
            return
        last = result.attempts[-1]
        with lock:
            outcome.asked_by[ask.source] += 1
            outcome.in_time_by[ask.source] += took_ms <= ask.deadline_s * 1000
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


def cases(seconds: float, loads: Sequence[float] = (0.5, 0.7)) -> Sequence[Case]:
    """Return what is measured, each for so long."""
    one, three = ("fast",), tuple(RUN_MS)
    return [
        Case(load=load, doors=doors, seconds=seconds) for load in loads for doors in (one, three)
    ]


HEAD = (
    f"  {'load':>5} {'doors':>5} {'n':>5} {'p50':>7} {'p90':>7} {'p99':>7} ms   share of "
    + " / ".join(RUN_MS)
    + "    within 30 %   sent elsewhere"
)


def line(facts: dict[str, Any]) -> str:
    """Return a case as a row of the table."""
    if "quiet" in facts:
        return quiet_line(facts)
    share = " / ".join(f"{100 * part:.0f} %" for part in facts["share"].values())
    overload = "goodput_per_s" in facts
    failed = f"   {len(facts['failed'])} FAILED" if facts["failed"] and not overload else ""
    return (
        f"  {100 * facts['load']:>3.0f} % {len(facts['doors']):>5} {facts['requests']:>5}"
        f" {facts['p50_ms']:>7.0f} {facts['p90_ms']:>7.0f} {facts['p99_ms']:>7.0f}      {share:<24}"
        f" {100 * facts['predicted_within_30_percent']:>8.0f} %"
        f" {100 * facts['sent_elsewhere']:>12.0f} %{failed}"
        + (overload_lines(facts) if overload else "")
    )


def overload_lines(facts: dict[str, Any]) -> str:
    """Return what an overload came to."""
    sources = ", ".join(
        f"{name} {100 * share:.0f} %" for name, share in facts["answered_of_source"].items()
    )
    return (
        f"\n        within {facts['deadline_ms']:.0f} ms: {facts['goodput_per_s']:.1f}/s, "
        f"{100 * facts['goodput_of_capacity']:.0f} % of capacity; {len(facts['failed'])} refused, "
        f"{100 * facts['failed_told_when']:.0f} % of them told when to come again"
        f"\n        answered in time of what each source asked: {sources}"
    )


def placement_rows(seconds: float, loads: Sequence[float] = (0.5, 0.7)) -> Iterator[dict[str, Any]]:
    """Start the nodes, and yield each case as it is measured."""
    with Playground() as play:
        nodes = Trio(play)
        quiet = nodes.measure_quiet(0).facts()
        for seed, case in enumerate(cases(seconds, loads), 1):
            yield nodes.measure(case, seed).facts()
        yield quiet
