"""A mesh on the hosts of a lab: founded, joined by invite, given a module, and kept under load."""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import numpy as np

from meshnode.assets import asset
from meshnode.client.client import Client
from meshnode.demo.processes import Proc, until
from meshnode.errors import MeshnodeError
from tests.netns.lab import Lab, LabPlayground

MODULE = "digits"
STARTING_AT_ONCE = 4
"""Nodes started at once: each wants a core for a second."""
DEADLINE_S = 10.0
PUBLISH_S = 300.0
"""A quarter of all packets lost is hard on TCP."""
PAUSE_S = 0.05
"""Between two requests of one source."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A request that got no answer."""

    door: str
    began_s: float
    """Seconds after the load began."""
    why: str


@dataclass(slots=True)
class Load:
    """What the requests of some seconds met."""

    began: float = field(default_factory=monotonic)
    answered: Counter[str] = field(default_factory=Counter)
    """By door."""
    failed: list[Failed] = field(default_factory=list)
    slowest_s: float = 0.0


class LabMesh:
    """Nodes by name: `n0` founds the mesh on the first host, the others join it."""

    def __init__(self, lab: Lab, play: LabPlayground) -> None:
        self.lab = lab
        self.play = play
        self.nodes: dict[str, Proc] = {}
        self.images = np.load(asset("digits-test.images.npy")).astype(np.float32)

    def found(self, hosts: Iterable[int], *extra: str) -> None:
        """Found a mesh on the first of these hosts and let a node on each other one join it."""
        first, *rest = hosts
        founder = self._prepare(first, "--new-mesh", "lab", *extra)
        self.start(founder)
        founder.arguments = tuple(a for a in founder.arguments if a not in ("--new-mesh", "lab"))
        self.join(rest, *extra)

    def join(self, hosts: Iterable[int], *extra: str) -> None:
        """Let a node on each of these hosts join the mesh."""
        joiners = [self._prepare(host, *extra) for host in hosts]
        with self.client("n0") as client:
            invite = client.invite(uses=max(1, len(joiners)), ttl=600.0)["invite"]

        def come(proc: Proc) -> None:
            self.play.verb(proc, "join", invite, "--name", proc.name).result  # noqa: B018
            self.start(proc)

        with ThreadPoolExecutor(STARTING_AT_ONCE) as pool:
            list(pool.map(come, joiners))

    def start(self, proc: Proc) -> None:
        """Start a node and wait until it is ready."""
        self.play.start(proc)
        self.play.wait_ready(proc)

    def publish(self, replicas: int) -> None:
        """Publish the module at the founder and to so many nodes."""
        first = self.nodes["n0"]
        packed = self.play.verb(
            first, "pack", str(asset("digits.onnx")), "--name", MODULE, "--version", "1.0.0"
        ).result["packed"]
        path = str(self.play.root / packed["file"])
        self.play.verb(  # noqa: B018
            first, "publish", path, "--replicas", str(replicas), timeout_s=PUBLISH_S
        ).result

    def client(self, name: str) -> Client:
        """Return a client of a node; its control socket is a file, which every host sees."""
        return self.play.client(self.nodes[name])

    def alive(self, name: str) -> set[str]:
        """Return whom a node sees alive, itself included."""
        with self.client(name) as client:
            return {name} | {p["name"] for p in client.peers() if p["state"] == "alive"}

    def agree(self, names: Iterable[str], timeout_s: float = 60.0) -> float:
        """Return after how many seconds each of these sees just these, or raise DemoFailed."""
        names, began = set(names), monotonic()
        for name in sorted(names):
            until(
                lambda name=name: self.alive(name) == names,
                f"{name} sees {len(names)} alive (now {len(self.alive(name))})",
                timeout_s,
            )
        return monotonic() - began

    def predict(self, door: str, **how: Any) -> np.ndarray:
        """Return the module's first output for one image, asked at a node."""
        with self.client(door) as client:
            result = client.predict(MODULE, self.images[:1], **{"deadline": DEADLINE_S} | how)
            return np.asarray(next(iter(result.values())))

    @contextmanager
    def under_load(self, doors: Iterable[str], *, deadline_s: float = DEADLINE_S) -> Iterator[Load]:
        """Ask at each door, one request after the other, while this context lasts."""
        load, over = Load(), threading.Event()

        def source(door: str) -> None:
            with self.client(door) as client:
                while not over.wait(PAUSE_S):
                    began = monotonic()
                    try:
                        client.predict(MODULE, self.images[:1], source=door, deadline=deadline_s)
                        load.answered[door] += 1
                    except MeshnodeError as error:
                        load.failed.append(Failed(door, began - load.began, str(error)))
                    load.slowest_s = max(load.slowest_s, monotonic() - began)

        with ThreadPoolExecutor() as pool:
            sources = [pool.submit(source, door) for door in doors]
            try:
                yield load
            finally:
                over.set()
        for each in sources:
            each.result()

    def _prepare(self, host: int, *extra: str) -> Proc:
        name = f"n{len(self.nodes)}"
        listen = f"{self.lab.hosts[host].address}:6174"
        words = ("--listen", listen, "--api", "off", "--name", name, *extra)
        self.nodes[name] = self.play.place(host, name, "start", *words)
        return self.nodes[name]
