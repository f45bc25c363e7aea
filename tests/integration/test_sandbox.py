"""The hostile gallery: every attack meets its own error within its limit, and the node goes on.

The guests are those of `guests/dist`, compiled in a child process as in a real node.
"""

import tomllib
from hashlib import sha256
from pathlib import Path
from time import perf_counter

import numpy as np
import onnx
import pytest
from onnx import external_data_helper

from meshnode.errors import (
    CompileLimit,
    MalformedModule,
    MeshnodeError,
    TimeLimit,
    UndeclaredImport,
    UnreadableModel,
)
from meshnode.modules.manifest import Limits, Manifest, ModelRef
from meshnode.modules.module_toml import from_toml
from meshnode.runtime import ort
from meshnode.runtime.runtime import LoadedModule, Runtime
from meshnode.runtime.settings import RuntimeSettings
from meshnode.wire.limits import MIB
from tests.unit.runtime.support import ALL, dense, dist, manifest, ref, seed_guest, wat

pytestmark = pytest.mark.integration
GUESTS = Path(__file__).parents[2] / "guests"
ROW = np.array([[1, 0, 0, 0]], np.float32)
ZERO = np.zeros((1, 4), np.float32)
OVERRUN_S = 5.0
"""A tick (5 ms) on a quiet machine, which `bench` measures; here it only says: not for ever."""


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    cache = tmp_path_factory.mktemp("aot")
    return Runtime(RuntimeSettings(), cache_dir=cache, mac_key=b"k" * 32, caps=ALL)


@pytest.fixture(scope="module")
def neighbour(runtime: Runtime) -> LoadedModule:
    """A module that must go on answering, whatever happens beside it."""
    return runtime.load(dist("echo"), about("echo"), {})


@pytest.fixture(autouse=True)
def _others_are_unharmed(neighbour: LoadedModule) -> None:
    (outcome,) = neighbour.run([{"x": ROW}]).outcomes
    assert not isinstance(outcome, MeshnodeError)


def about(name: str) -> Manifest:
    folder = f"hostile/{name.removeprefix('hostile-')}" if name.startswith("hostile-") else name
    return from_toml((GUESTS / folder / "module.toml").read_text()).manifest


def test_shipped_guests_have_the_hashes_and_metadata_they_say() -> None:
    lines = (GUESTS / "dist" / "SHA256SUMS").read_text().splitlines()
    sums = dict(reversed(line.split()) for line in lines)
    for name, digest in sums.items():
        assert sha256((GUESTS / "dist" / name).read_bytes()).hexdigest() == digest
    for path in GUESTS.glob("**/module.toml"):
        assert tomllib.loads(path.read_text())["name"] + ".wasm" in sums


@pytest.mark.parametrize("name", ["echo", "linear"])
def test_shipped_guests_pass_their_own_tests(runtime: Runtime, name: str) -> None:
    assert about(name).self_tests
    runtime.load(dist(name), about(name), {}).close()


@pytest.mark.parametrize(
    ("name", "x", "code", "says", "limit_s"),
    [
        ("hostile-spin", ROW, "MN-403", "300 ms", 0.3),
        ("hostile-grow", ROW, "MN-402", "16 MiB", 0.0),
        ("hostile-trap", ROW, "MN-404", "unreachable", 0.0),
        ("hostile-stray", ZERO, "MN-404", "memory out of bounds", 0.0),
    ],
)
def test_a_hostile_run_meets_its_error_and_the_next_run_works(
    runtime: Runtime, name: str, x: np.ndarray, code: str, says: str, limit_s: float
) -> None:
    loaded = runtime.load(dist(name), about(name), {})
    for _ in range(2):  # the second time in a fresh instance
        started = perf_counter()
        (outcome,) = loaded.run([{"x": x}]).outcomes
        assert limit_s <= perf_counter() - started < limit_s + OVERRUN_S
        assert isinstance(outcome, MeshnodeError)
        assert outcome.code == code
        assert says in outcome.message
        assert loaded.memory_bytes <= 16 * MIB
    if name in ("hostile-trap", "hostile-stray"):
        (outcome,) = loaded.run([{"x": ZERO if name == "hostile-trap" else ROW}]).outcomes
        assert not isinstance(outcome, MeshnodeError)
    loaded.close()


def test_an_init_that_never_ends_is_stopped_when_it_is_loaded(runtime: Runtime) -> None:
    started = perf_counter()
    with pytest.raises(TimeLimit, match="300 ms") as caught:
        runtime.load(dist("hostile-init-loop"), about("hostile-init-loop"), {})
    assert perf_counter() - started < 0.3 + 4 * OVERRUN_S  # a compilation is in it
    assert caught.value.because == ("in init",)


def test_an_undeclared_import_is_refused_before_it_is_compiled(runtime: Runtime) -> None:
    started = perf_counter()
    with pytest.raises(UndeclaredImport, match=r"env\.system"):
        runtime.load(dist("hostile-import"), about("hostile-import"), {})
    assert perf_counter() - started < 0.1


@pytest.mark.parametrize(
    "text",
    [
        '(memory (export "memory") 1) (func (export "v") (param v128))',
        '(memory (export "memory") 1) (func (export "predict") (result exnref) unreachable)',
        '(memory (export "memory") 1) (type $s (struct)) (func (export "g") (param (ref $s)))',
        '(memory (export "memory") i64 1)',
        '(memory (export "memory") 1 1 shared)',
    ],
)
def test_types_that_abort_the_binding_never_reach_it(runtime: Runtime, text: str) -> None:
    with pytest.raises(MalformedModule):
        runtime.load(wat(text), manifest(), {})


def test_a_compile_bomb_is_killed_within_its_time(tmp_path: Path) -> None:
    settings = RuntimeSettings(compile_s_max=0.5)
    runtime = Runtime(settings, cache_dir=tmp_path, mac_key=b"k" * 32, caps=ALL)
    nest = "(loop " * 400 + "(br_if 0 (local.get $in))" + ")" * 400
    bomb = seed_guest(nest * 120 + "i32.const 0")
    started = perf_counter()
    with pytest.raises(CompileLimit, match=r"longer than 0\.5 s"):
        runtime.load(bomb, manifest(), {})
    assert perf_counter() - started < 0.5 + 4 * OVERRUN_S


# ------------------------------------------------------------------ models


def reading_model(location: str, length: int) -> bytes:
    """A model that answers with the bytes of another file."""
    proto = onnx.load_from_string(dense())
    tensor = proto.graph.initializer[0]
    tensor.ClearField("dims")
    tensor.dims.extend([4, length // 16])
    external_data_helper.set_external_data(tensor, location=location, offset=0, length=length)
    tensor.ClearField("raw_data")
    return bytes(proto.SerializeToString())


@pytest.mark.parametrize("location", ["secret.bin", "../here/secret.bin"])
def test_a_model_cannot_read_a_file(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "secret.bin").write_bytes(b"a secret that is long enough for a whole tensor.")
    monkeypatch.chdir(here)
    attack = reading_model(location, 48)
    # The attack is real: onnxruntime as it comes reads the file.
    stolen = ort.plain_run(attack, {"x": np.eye(4, dtype=np.float32)})["y"]
    assert stolen.shape == (4, 3)
    described = about_model(attack)
    with pytest.raises(UnreadableModel, match="'w' keeps its data in another file"):
        runtime.load(dist("onnx-runner"), described, {"model": attack})
    good = dense()
    loaded = runtime.load(dist("onnx-runner"), about_model(good), {"model": good})
    (outcome,) = loaded.run([{"x": ROW}]).outcomes
    assert not isinstance(outcome, MeshnodeError)
    assert outcome["scores"].tobytes() == ort.plain_run(good, {"x": ROW})["y"].tobytes()
    loaded.close()


def about_model(data: bytes) -> Manifest:
    model: ModelRef = ref(data)
    return manifest(
        abi="infer",
        models=(model,),
        outputs=(about("linear").outputs[0],),
        limits=Limits(memory_bytes=16 * MIB, run_ms=1000),
    )
