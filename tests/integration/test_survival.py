"""What a mesh must live through: kill -9, a silent hang, a drain, the loss of seed and sponsor."""

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest

from meshnode.assets import asset
from meshnode.caps import Caps
from meshnode.demo.acts import load_reference
from meshnode.demo.processes import Playground, Proc, until
from meshnode.demo.stream import Account, Reference, run_stream
from meshnode.errors import MeshnodeError
from meshnode.identity.keys import Identity
from meshnode.modules.manifest import Manifest, TensorSpec
from meshnode.modules.pack import assemble
from meshnode.modules.signing import sign
from meshnode.storage.state import read_secret

pytestmark = pytest.mark.integration

SOURCES = 20
STREAM = 200
AT = 60
"""After so many answers of a stream the fault happens."""
HANG_NOTICED_S = 10.0
"""Requests in flight at a node that hangs are placed again long before their deadline of 20 s."""


class Mesh:
    """A seed, a founder `a`, serving nodes `b` and `c`, and `d`, which cannot run the module."""

    def __init__(self, play: Playground, reference: Reference) -> None:
        self.play = play
        self.reference = reference
        self.seed = play.add("seed", "bootstrap", "--listen", "127.0.0.1:0")
        self.up(self.seed)
        self.a = self._node("a", "--new-mesh", "lab")
        self.up(self.a)
        self.a.arguments = tuple(x for x in self.a.arguments if x not in ("--new-mesh", "lab"))
        self.b, self.c = self._node("b"), self._node("c")
        self.d = self._node("d", "--caps", "cpu")
        with play.client(self.a) as client:
            invite = client.invite(uses=3)["invite"]
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda proc: self._join(proc, invite), (self.b, self.c, self.d)))
        packed = play.verb(
            self.a, "pack", str(asset("digits.onnx")), "--name", "digits", "--version", "1.0.0"
        ).result["packed"]
        for proc in (self.b, self.c, self.d):
            play.wait_ready(proc)
        self.whole()
        self.module = packed["sha256"]
        with play.client(self.a) as client:
            done = client.publish(play.root / packed["file"], replicas=3)
        assert [r["ok"] for r in done["replicas"]] == [True, True], done

    def _node(self, name: str, *extra: str) -> Proc:
        known = ("--listen", "127.0.0.1:0", "--api", "off", "--name", name)
        return self.play.add(name, "start", *known, "--seed", self.seed.ready["seed"], *extra)

    def _join(self, proc: Proc, invite: str) -> None:
        self.play.verb(proc, "join", invite, "--name", proc.name).result  # noqa: B018
        self.play.start(proc)

    def up(self, proc: Proc) -> None:
        if not proc.running:
            self.play.start(proc)
            self.play.wait_ready(proc)

    def whole(self) -> None:
        """Start what is down, and wait until everybody sees everybody."""
        nodes = (self.a, self.b, self.c, self.d)
        down = [proc for proc in (self.seed, *nodes) if not proc.running]
        for proc in down:
            self.play.start(proc)
        for proc in down:
            self.play.wait_ready(proc)
        for proc in nodes:
            until(lambda proc=proc: self.sees(proc) == 3, f"{proc.name} sees three others")

    def sees(self, proc: Proc) -> int:
        with self.play.client(proc) as client:
            return sum(p["state"] == "alive" and p["load"] is not None for p in client.peers())

    def state_of(self, name: str) -> str:
        with self.play.client(self.d) as client:
            return next(str(p["state"]) for p in client.peers() if p["name"] == name)

    def stream(
        self, requests: int = STREAM, fault: Callable[[], None] = lambda: None
    ) -> tuple[Account, float]:
        """Send requests to `d`, cause the fault among them; all must be answered, and right."""
        once = threading.Lock()

        def on_progress(done: int, by_node: Counter[str]) -> None:
            if done >= AT and once.acquire(blocking=False):
                fault()

        started = perf_counter()
        account = run_stream(
            self.d.home,
            "digits",
            self.reference,
            requests=requests,
            sources=SOURCES,
            on_progress=on_progress,
        )
        assert account.failed == []
        assert (account.wrong, account.ok) == (0, requests)
        return account, perf_counter() - started


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with Playground() as play:
        yield Mesh(play, load_reference())


def test_a_serving_node_is_killed(mesh: Mesh) -> None:
    mesh.whole()
    mesh.stream(fault=lambda: mesh.play.kill(mesh.b))
    mesh.whole()
    mesh.stream(requests=40)


def test_a_serving_node_hangs_in_silence(mesh: Mesh) -> None:
    """SIGSTOP: its sockets stay open and take bytes, nothing ever comes back."""
    mesh.whole()
    mesh.stream(requests=40)
    assert mesh.c.process is not None
    try:
        hung = mesh.c.process
        _, took_s = mesh.stream(fault=lambda: os.kill(hung.pid, signal.SIGSTOP))
        assert took_s < HANG_NOTICED_S
        until(lambda: mesh.state_of("c") != "alive", "d suspects c")
        mesh.stream(requests=40)
    finally:
        mesh.c.process.send_signal(signal.SIGCONT)
    mesh.whole()


def test_requests_at_the_only_server_wait_for_it(mesh: Mesh) -> None:
    """A suspect that nobody can replace may only be busy: its requests are not given up."""
    mesh.whole()
    for proc in (mesh.a, mesh.b):
        assert mesh.play.stop(proc) == 0
    until(lambda: mesh.state_of("a") == mesh.state_of("b") == "left", "d knows that they left")
    mesh.stream(requests=AT)
    assert mesh.c.process is not None
    process = mesh.c.process
    process.send_signal(signal.SIGSTOP)
    answers: list[Account] = []
    asking = threading.Thread(target=lambda: answers.append(mesh.stream(requests=8)[0]))
    try:
        asking.start()
        until(lambda: mesh.state_of("c") == "suspect", "d suspects c")
    finally:
        process.send_signal(signal.SIGCONT)
        asking.join()
    assert answers
    assert answers[0].by_node == {"c": 8}
    mesh.whole()


def test_a_serving_node_drains(mesh: Mesh) -> None:
    mesh.whole()
    process = mesh.b.process
    assert process is not None
    mesh.stream(fault=lambda: process.send_signal(signal.SIGTERM))
    assert process.wait(15) == 0
    mesh.play.stop(mesh.b)  # closes its pipe


def test_kill_9_in_a_publish_or_a_fetch_leaves_a_clean_store(mesh: Mesh) -> None:
    mesh.whole()
    parts = big_module(mesh.a)
    blob = sha256(parts[1]).hexdigest()
    for victim, sign_of_life in ((mesh.a, "tmp"), (mesh.b, "partial")):
        publishing = threading.Thread(target=publish, args=(mesh, parts))
        publishing.start()
        until(
            lambda victim=victim, where=sign_of_life: (
                any((victim.home / "store" / where).iterdir()) or holds(victim, blob)
            ),
            f"something is written at {victim.name}",
        )
        mesh.play.kill(victim)
        publishing.join()
        mesh.whole()
        assert list((victim.home / "store" / "tmp").iterdir()) == []
        for path in whole_files(victim):
            assert sha256(path.read_bytes()).hexdigest() == path.name
    done = publish(mesh, parts)
    assert done is not None
    assert all(r["ok"] for r in done["replicas"]), done
    assert holds(mesh.b, blob)


def test_seed_and_sponsor_die_and_a_node_returns(mesh: Mesh) -> None:
    """Last: nobody has to bring the two back."""
    mesh.whole()

    def lose_both() -> None:
        mesh.play.kill(mesh.seed)
        mesh.play.kill(mesh.a)

    mesh.stream(fault=lose_both)
    mesh.play.kill(mesh.b)
    mesh.up(mesh.b)
    until(lambda: mesh.sees(mesh.b) == 2 and mesh.sees(mesh.d) == 2, "b returned")
    mesh.stream(requests=40)
    with mesh.play.client(mesh.b) as client:
        images = slice(0, 1)
        assert mesh.reference.agrees(
            images, client.predict("digits", {"images": mesh.reference.images[images]})
        )


def publish(mesh: Mesh, parts: list[bytes]) -> dict[str, list[dict[str, object]]] | None:
    """Publish at `a` and copy to all; None if `a` was killed in it."""
    try:
        with mesh.play.client(mesh.a) as client:
            return client.publish_parts(parts, replicas=4)
    except MeshnodeError:
        return None


def big_module(proc: Proc) -> list[bytes]:
    """A module and its weights: 8 MB of noise that nothing reads."""
    spec = {"dtype": "float32", "shape": (-1, 4)}
    manifest = Manifest(
        name="big",
        version="1.0.0",
        abi="seed",
        inputs=(TensorSpec(name="x", **spec),),  # type: ignore[arg-type]
        outputs=(TensorSpec(name="y", **spec),),  # type: ignore[arg-type]
        required=Caps.DSP,  # nobody has it, so it is kept and spread, and never run
        optional=Caps.NN,
    )
    noise = np.random.default_rng(1).bytes(8 << 20)
    guest = asset("echo.wasm").read_bytes()
    module, weights = assemble(guest, manifest, {"w": noise}, embed=False)
    seed = read_secret(proc.home / "publisher.key")
    assert seed is not None
    return [sign(module, Identity.from_seed(seed)), *weights.values()]


def whole_files(proc: Proc) -> list[Path]:
    return [p for p in (proc.home / "store" / "sha256").rglob("*") if len(p.name) == 64]


def holds(proc: Proc, blob: str) -> bool:
    return (proc.home / "store" / "sha256" / blob[:2] / blob).exists()
