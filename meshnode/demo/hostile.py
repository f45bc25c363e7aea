"""The hostile gallery: modules that lie, break in or never end, made here and then published."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from meshnode.assets import asset
from meshnode.caps import Caps
from meshnode.client.client import Client
from meshnode.identity.keys import Identity
from meshnode.modules.manifest import Limits, Manifest, TensorSpec
from meshnode.modules.pack import assemble
from meshnode.modules.signing import sign
from meshnode.storage.state import read_secret

RUN_MS = 300
MEMORY_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Case:
    """One attack and the code of the error that must meet it."""

    name: str
    code: str
    path: Path
    module: str
    """The reference to predict with, if publishing alone is not the attack."""
    runs: bool


def gallery(publisher_key: Path, folder: Path) -> Iterator[Case]:
    """Write each hostile module and yield its case."""
    seed = read_secret(publisher_key)
    assert seed is not None, "the demo packed a module with this key before"
    publisher, stranger = Identity.from_seed(seed), Identity.generate()
    good = _guest("echo")
    signed = sign(good, publisher)
    tampered = bytearray(signed)
    tampered[-1] ^= 1
    yield _case("tampered byte", "MN-202", bytes(tampered), folder, runs=False)
    yield _case("unsigned", "MN-201", good, folder, runs=False)
    yield _case("untrusted publisher", "MN-203", sign(good, stranger), folder, runs=False)
    for guest, code, label, runs in (
        ("hostile-spin", "MN-403", "endless loop", True),
        ("hostile-grow", "MN-402", "memory bomb", True),
        ("hostile-import", "MN-205", "undeclared import", False),
    ):
        module = sign(_guest(guest), publisher)
        yield _case(label, code, module, folder, runs=runs, module=f"{guest}@1.0.0")


def attack(client: Client, case: Case) -> None:
    """Publish the module and, where it gets that far, run it. Raises what the node says."""
    client.publish_parts([case.path.read_bytes()], replicas=1)  # past the client's own check
    if case.runs:
        client.predict(case.module, {"x": np.zeros((1, 4), np.float32)}, deadline=10.0)


def _guest(name: str) -> bytes:
    spec = {"dtype": "float32", "shape": (-1, 4)}
    manifest = Manifest(
        name=name,
        version="1.0.0",
        abi="seed",
        inputs=(TensorSpec(name="x", **spec),),  # type: ignore[arg-type]  # the two keys above
        outputs=(TensorSpec(name="y", **spec),),  # type: ignore[arg-type]  # likewise
        required=Caps.CPU,
        limits=Limits(memory_bytes=MEMORY_BYTES, run_ms=RUN_MS),
    )
    module, _ = assemble(asset(f"{name}.wasm").read_bytes(), manifest, {}, embed=True)
    return module


def _case(name: str, code: str, data: bytes, folder: Path, *, runs: bool, module: str = "") -> Case:
    path = folder / f"{name.replace(' ', '-')}.wasm"
    path.write_bytes(data)
    return Case(name, code, path, module, runs)
