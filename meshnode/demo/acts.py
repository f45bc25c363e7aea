"""The acts of the demo: each keeps a promise and returns its evidence, or raises DemoFailed."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np

from meshnode.assets import asset
from meshnode.client.client import Client
from meshnode.demo import hostile
from meshnode.demo.processes import DemoFailed, Playground, Proc, until
from meshnode.demo.stream import BURST, Account, Reference, run_stream
from meshnode.errors import MeshnodeError
from meshnode.identity.invites import Invite, encode, new_secret, parse

MODULE = "digits"
SOURCES = 20
WORKERS = ("n2", "n3", "n4", "n5")
NO_NN = ("n4", "n5")
SLOWDOWN = 4


@dataclass(frozen=True, slots=True)
class Scale:
    """How much each act does."""

    requests: int
    kill_stream: int
    after_seed: int


FULL = Scale(requests=600, kill_stream=300, after_seed=100)
FAST = Scale(requests=600, kill_stream=150, after_seed=40)


class Stage:
    """The demo's mesh and what later acts need of earlier ones."""

    def __init__(self, playground: Playground, scale: Scale) -> None:
        self.playground = playground
        self.scale = scale
        self.nodes: dict[str, Proc] = {}
        self.seed: Proc
        self.sha256 = ""
        self.reference = load_reference()

    # ------------------------------------------------------------------ act 1

    def mesh(self) -> list[str]:
        """A seed and five nodes form a mesh by invites; a wrong invite admits nobody."""
        started = perf_counter()
        play = self.playground
        self.seed = play.add("seed", "bootstrap", "--listen", "127.0.0.1:0")
        play.start(self.seed)
        play.wait_ready(self.seed)
        founding = ("--new-mesh", "demo")
        first = self._add("n1", *founding)
        play.start(first)
        play.wait_ready(first)
        # A later act may kill and restart it; a mesh is founded once.
        first.arguments = first.arguments[: -len(founding)]
        with play.client(first) as client:
            invite = client.invite(uses=len(WORKERS), ttl=600.0)["invite"]
        joiners = [
            self._add("n2"),
            self._add("n3", "--set", f"simulate.slowdown={SLOWDOWN}"),
            self._add("n4", "--caps", "cpu"),
            self._add("n5", "--caps", "cpu"),
        ]
        with ThreadPoolExecutor(len(joiners)) as pool:
            list(pool.map(lambda proc: self._join(proc, invite), joiners))
        self._all_see(len(self.nodes) - 1)
        took = perf_counter() - started
        refused = self._wrong_invite(invite)
        return [
            f"seed + {len(self.nodes)} nodes joined by invite in {took:.1f} s; "
            f"every node sees {len(self.nodes) - 1} others",
            f"a joiner with a wrong invite was refused ({refused})",
            f"n4, n5 lack cap nn; n3 is throttled x{SLOWDOWN} (simulated: it only waits)",
        ]

    def _add(self, name: str, *extra: str) -> Proc:
        listen = ("--listen", "127.0.0.1:0", "--api", "off", "--name", name)
        seed = ("--seed", self.seed.ready["seed"])
        self.nodes[name] = self.playground.add(name, "start", *listen, *seed, *extra)
        return self.nodes[name]

    def _join(self, proc: Proc, invite: str) -> None:
        self.playground.verb(proc, "join", invite, "--name", proc.name).result  # noqa: B018
        self.playground.start(proc)
        self.playground.wait_ready(proc)

    def _all_see(self, count: int) -> None:
        for proc in self.nodes.values():
            if proc.running:
                with self.playground.client(proc) as client:
                    seen = partial(_sees, client, count)
                    until(seen, f"{proc.name} sees {count} others alive")

    def _wrong_invite(self, good: str) -> str:
        known = parse(good)
        forged = encode(
            Invite(known.network, new_secret(), known.addresses, known.expires_at, known.uses)
        )
        stranger = self.playground.add("stranger", "start")
        error = self.playground.verb(stranger, "join", forged, "--name", "stranger").error
        if error["code"] != "MN-104":
            raise DemoFailed(f"a wrong invite gave {error['code']}: {error['message']}")
        if (stranger.home / "mesh.cbor").exists():
            raise DemoFailed("a refused joiner kept something of the mesh")
        return str(error["code"])

    # ------------------------------------------------------------------ acts 2 and 3

    def publish(self) -> list[str]:
        """A signed module is published at one node only."""
        first, play = self.nodes["n1"], self.playground
        packed = play.verb(
            first, "pack", str(asset("digits.onnx")), "--name", MODULE, "--version", "1.0.0"
        ).result["packed"]
        self.sha256 = packed["sha256"]
        path = play.root / packed["file"]
        play.verb(first, "publish", str(path), "--replicas", "1").result  # noqa: B018
        holders = self._holders()
        if holders != {"n1"}:
            raise DemoFailed(f"held by {sorted(holders)}; only n1 was to hold it")
        return [
            f"{MODULE} 1.0.0 ({path.stat().st_size / 1024:.0f} KiB, sha256 {self.sha256[:12]}) "
            "signed by n1's user, held by n1 only"
        ]

    def spread(self) -> list[str]:
        """It spreads by its SHA-256 to every node, from more than one peer."""
        path = self.playground.root / f"{MODULE}-1.0.0.wasm"
        with self.playground.client(self.nodes["n1"]) as client:
            replicas = client.publish(path, replicas=len(self.nodes))["replicas"]
        failed = [r for r in replicas if not r["ok"]]
        several = [r for r in replicas if len(r["sources"]) > 1]
        if failed or self._holders() != set(self.nodes):
            raise DemoFailed(f"not everywhere: {failed or sorted(self._holders())}")
        if not several:
            raise DemoFailed("every copy came from a single peer")
        best = max(several, key=lambda r: len(r["sources"]))
        origin = {s["name"] for r in replicas for s in r["sources"]}
        return [
            f"{len(replicas)} more nodes fetched it by sha256, verified piece by piece",
            f"{best['name']} took it from {len(best['sources'])} peers at once: "
            + ", ".join(f"{s['name']} {s['bytes'] / 1024:.0f} KiB" for s in best["sources"]),
            f"providers used: {', '.join(sorted(origin))}",
        ]

    def _holders(self) -> set[str]:
        with self.playground.client(self.nodes["n1"]) as client:
            rows = client.modules()
        return {h for row in rows if row["name"] == MODULE for h in row["held_by"]}

    # ------------------------------------------------------------------ acts 4, 5 and 6

    def infer(self) -> list[str]:
        """Requests submitted at a node that cannot run them are answered, all of them right."""
        account = self._stream(self.scale.requests)
        self._expect_all(account, self.scale.requests)
        if set(account.by_node) & set(NO_NN):
            raise DemoFailed("a node without cap nn ran the module")
        if len(account.by_node) < 2:
            raise DemoFailed(f"all requests went to {next(iter(account.by_node))}")
        if account.by_node["n3"] >= account.by_node.total() / 3:
            raise DemoFailed("the throttled node got as much as the others")
        right = self.reference.labels == self.reference.truth
        used = [right[self.reference.burst(i)] for i in range(self.scale.requests)]
        return [
            f"{account.ok}/{self.scale.requests} requests of {BURST} images answered at n4 (which "
            f"cannot run it), all equal to onnxruntime's own; {np.mean(used):.1%} read correctly",
            f"p50 {account.percentile(50):.1f} ms  p95 {account.percentile(95):.1f} ms  "
            f"mean batch {np.mean(account.batches):.1f}  "
            f"beside the model {np.median(account.overhead_ms):.2f} ms a batch",
            "placed by score: " + _shares(account.by_node),
        ]

    def kill(self) -> list[str]:
        """`kill -9` of the busiest node in the middle of a stream: nobody notices."""
        once = threading.Lock()
        at = self.scale.kill_stream // 3
        killed: list[tuple[str, int]] = []

        def on_progress(done: int, by_node: Counter[str]) -> None:
            if done >= at and once.acquire(blocking=False):
                killed.append(by_node.copy().most_common(1)[0])
                self.playground.kill(self.nodes[killed[0][0]])

        account = self._stream(self.scale.kill_stream, on_progress)
        self._expect_all(account, self.scale.kill_stream)
        victim, share = killed[0]
        if self.nodes[victim].running:
            raise DemoFailed("the victim lives")
        return [
            f"kill -9 of {victim}, the busiest ({share} of the stream's first {at}), of "
            f"{self.scale.kill_stream}: 0 failed, {account.retried} placed again elsewhere",
            "then: " + _shares(account.by_node),
        ]

    def seed_gone(self) -> list[str]:
        """The seed stops; requests go on, and a node that restarts finds its way back."""
        self.playground.stop(self.seed)
        account = self._stream(self.scale.after_seed)
        self._expect_all(account, self.scale.after_seed)
        victim = next(p for p in self.nodes.values() if not p.running)
        started = perf_counter()
        self.playground.start(victim)
        self.playground.wait_ready(victim)
        self._all_see(len(self.nodes) - 1)
        took = perf_counter() - started
        return [
            f"seed stopped: {account.ok} more requests, 0 failed",
            f"{victim.name} restarted without a seed, back from its peer cache in {took:.1f} s",
        ]

    def _stream(
        self,
        requests: int,
        on_progress: Callable[[int, Counter[str]], None] = lambda done, by_node: None,
    ) -> Account:
        return run_stream(
            self.nodes["n4"].home,
            MODULE,
            self.reference,
            requests=requests,
            sources=SOURCES,
            on_progress=on_progress,
        )

    @staticmethod
    def _expect_all(account: Account, requests: int) -> None:
        if account.failed:
            raise DemoFailed(f"{len(account.failed)} of {requests} failed: {account.failed[0]}")
        if account.wrong or account.ok != requests:
            raise DemoFailed(f"{account.wrong} wrong, {account.ok} right of {requests}")

    # ------------------------------------------------------------------ act 7

    def hostile(self) -> list[str]:
        """Each hostile module is refused or stopped by name, and the node serves on."""
        first = self.nodes["n1"]
        lines = []
        with self.playground.client(first) as client:
            for case in hostile.gallery(first.home / "publisher.key", self.playground.root):
                try:
                    hostile.attack(client, case)
                except MeshnodeError as error:
                    if error.code != case.code:
                        raise DemoFailed(f"{case.name}: {error.code} {error.message}") from error
                    lines.append(f"{case.name}: {error.code} {error.message}")
                else:
                    raise DemoFailed(f"{case.name}: nothing stopped it")
                images = slice(0, 1)
                asked = {"images": self.reference.images[images]}
                answer = client.predict(MODULE, asked, source="guard", deadline=20.0)
                if not self.reference.agrees(images, answer):
                    raise DemoFailed(f"after {case.name} the node answers wrongly")
        return [*lines, f"{len(lines)}/{len(lines)} refused or stopped; n1 served after each"]


def load_reference() -> Reference:
    """Return the demo's images with onnxruntime's own answers, computed here and now."""
    from meshnode.runtime.ort import plain_run

    images = np.load(asset("digits-test.images.npy"), allow_pickle=False).astype(np.float32)
    truth = np.load(asset("digits-test.labels.npy"), allow_pickle=False)
    outputs = plain_run(Path(asset("digits.onnx")).read_bytes(), {"images": images})
    return Reference(images, outputs["probabilities"], outputs["label"], truth)


def _sees(client: Client, count: int) -> bool:
    return sum(str(row["state"]) == "alive" for row in client.peers()) >= count


def _shares(by_node: Counter[str]) -> str:
    total = by_node.total()
    return "  ".join(f"{name} {count / total:.0%}" for name, count in sorted(by_node.items()))
