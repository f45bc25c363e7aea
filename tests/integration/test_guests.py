"""The shipped guests as their users meet them: packed with their module.toml, loaded, and right."""

import importlib.util
import logging
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from meshnode.caps import Caps
from meshnode.errors import GuestStatus, MeshnodeError
from meshnode.modules.layout import read_module
from meshnode.modules.module_toml import from_toml
from meshnode.modules.pack import assemble
from meshnode.runtime import ort
from meshnode.runtime.runtime import LoadedModule, RunResult, Runtime
from meshnode.runtime.settings import RuntimeSettings
from tests.unit.runtime.support import ALL, dist

pytestmark = pytest.mark.integration
GUESTS = Path(__file__).parents[2] / "guests"
RED, GREEN, BLUE = range(3)


@pytest.fixture(scope="module")
def aot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("aot")


def packed(name: str) -> bytes:
    meta = GUESTS / name / "module.toml"
    described = from_toml(meta.read_text())
    weights = {n: (meta.parent / path).read_bytes() for n, path in described.model_files.items()}
    return assemble(dist(name), described.manifest, weights, embed=True)[0]


def loaded(name: str, aot: Path, caps: Caps = ALL) -> LoadedModule:
    """The guest, its self-tests passed."""
    module = packed(name)
    runtime = Runtime(RuntimeSettings(), cache_dir=aot, mac_key=b"k" * 32, caps=caps)
    return runtime.load(module, read_module(module).head.manifest, {})


def answer(result: RunResult) -> dict[str, np.ndarray]:
    (outcome,) = result.outcomes
    assert not isinstance(outcome, MeshnodeError), outcome
    return outcome


@cache
def script(model: str) -> ModuleType:
    path = GUESTS / "models" / model / "build.py"
    spec = importlib.util.spec_from_file_location(f"build_{model}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["detect", "dual", "anomaly", "nn-classify"])
def test_a_guest_promises_something_and_keeps_it(name: str, aot: Path) -> None:
    assert from_toml((GUESTS / name / "module.toml").read_text()).manifest.self_tests
    loaded(name, aot).close()


def test_models_are_what_their_scripts_make() -> None:
    assert script("detect").build() == (GUESTS / "dist" / "detect.onnx").read_bytes()
    dual = script("dual")
    tables = dual.weights()
    assert dual.to_onnx(tables) == (GUESTS / "dist" / "dual.onnx").read_bytes()
    assert dual.to_c(tables) == (GUESTS / "dual" / "weights.h").read_text()


# ------------------------------------------------------------------ detect


@pytest.mark.parametrize("shape", [(120, 160), (64, 64), (50, 31), (480, 640)])
def test_detect_finds_colours_where_they_are(shape: tuple[int, int], aot: Path) -> None:
    height, width = shape
    image = np.full((1, height, width, 3), 90, np.uint8)
    placed = {}
    for colour, (y, x, h, w) in {
        RED: (0.25, 0.1, 0.25, 0.2),
        GREEN: (0.1, 0.7, 0.15, 0.15),
        BLUE: (0.6, 0.5, 0.3, 0.3),
    }.items():
        top, left = round(y * height), round(x * width)
        bottom, right = top + round(h * height), left + round(w * width)
        image[0, top:bottom, left:right] = [10, 10, 10]
        image[0, top:bottom, left:right, colour] = 240
        placed[colour] = (left, top, right, bottom)
    module = loaded("detect", aot)
    found = answer(module.run([{"image": image}]))
    assert sorted(found["classes"].tolist()) == [RED, GREEN, BLUE]
    assert list(found["scores"]) == sorted(found["scores"], reverse=True)
    for colour, box in zip(found["classes"], found["boxes"], strict=True):
        assert overlap(tuple(box), placed[int(colour)]) > 0.85
    assert answer(module.run([{"image": image}]))["boxes"].tobytes() == found["boxes"].tobytes()
    module.close()


def test_detect_finds_nothing_where_nothing_is(aot: Path) -> None:
    module = loaded("detect", aot)
    noise = np.random.default_rng(7).integers(0, 256, (1, 200, 300, 3), dtype=np.uint8)
    for image in (
        np.zeros((1, 64, 64, 3), np.uint8),
        np.full((1, 9, 999, 3), 255, np.uint8),
        noise,
    ):
        found = answer(module.run([{"image": image}]))
        assert [found[n].shape for n in ("boxes", "scores", "classes")] == [(0, 4), (0,), (0,)]
    module.close()


def test_detect_keeps_one_box_for_each_thing(aot: Path) -> None:
    image = np.zeros((1, 64, 64, 3), np.uint8)
    corners = [(4, 4), (4, 40), (40, 4), (40, 40)]
    for top, left in corners:
        image[0, top : top + 10, left : left + 10, RED] = 255
    module = loaded("detect", aot)
    found = answer(module.run([{"image": image}]))
    tops = sorted((round(y), round(x)) for x, y, _, _ in found["boxes"].tolist())
    assert tops == corners
    module.close()


def test_detect_refuses_an_image_without_pixels(aot: Path) -> None:
    module = loaded("detect", aot)
    (outcome,) = module.run([{"image": np.zeros((1, 0, 5, 3), np.uint8)}]).outcomes
    assert isinstance(outcome, MeshnodeError)
    module.close()


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Intersection over union."""
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(w, 0) * max(h, 0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


# ------------------------------------------------------------------ dual


def test_dual_takes_the_way_its_node_has_and_both_agree(
    aot: Path, caplog: pytest.LogCaptureFixture
) -> None:
    x = np.random.default_rng(5).standard_normal((40, 16)).astype(np.float32)
    ways = {}
    with caplog.at_level(logging.INFO, "meshnode.guest"):
        for caps in (Caps.CPU, ALL, ALL | Caps.CUDA):
            module = loaded("dual", aot, caps)
            result = module.run([{"samples": x}])
            ways[caps] = answer(result)["rhythms"]
            # Where there is no accelerator nothing goes to the host.
            assert bool(result.model_us) == bool(caps & Caps.CUDA)
            module.close()
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "dual: runs in the sandbox",
        "dual: runs in the sandbox",
        "dual: runs on the host's accelerator",
    ]
    assert ways[Caps.CPU].tobytes() == ways[ALL].tobytes()
    np.testing.assert_allclose(ways[ALL], ways[ALL | Caps.CUDA], rtol=0, atol=1e-5)


def test_dual_hears_each_rhythm(aot: Path) -> None:
    module = loaded("dual", aot)
    steps = np.arange(16)
    waves = [np.where(steps // half % 2, -1.0, 1.0).astype(np.float32) for half in (8, 4, 2, 1)]
    heard = answer(module.run([{"samples": np.stack([2 * wave for wave in waves])}]))["rhythms"]
    assert np.array_equal(heard, np.eye(4, dtype=np.float32) * (2 - 1 / 16))
    module.close()


# ------------------------------------------------------------------ anomaly


def test_anomaly_is_small_and_needs_no_models(aot: Path) -> None:
    assert len(packed("anomaly")) < 64 * 1024
    module = loaded("anomaly", aot, Caps.CPU)
    assert module.memory_bytes <= 2 * 64 * 1024  # a page of its own, and the host's for tensors
    module.close()


def test_anomaly_says_what_is_out_of_the_ordinary(aot: Path) -> None:
    rng = np.random.default_rng(11)
    calm = rng.standard_normal((500, 64)).astype(np.float32)
    impact, shift, growth = calm.copy(), calm.copy(), calm.copy()
    impact[:, 45] += 20 * np.where(rng.random(500) < 0.5, -1, 1)
    shift[:, 32:] += 3
    growth[:, 32:] *= 5
    flat = np.full((1, 64), -0.0, np.float32)
    module = loaded("anomaly", aot, Caps.CPU)

    def alarms(windows: np.ndarray) -> np.ndarray:
        found = answer(module.run([{"window": windows}]))["findings"]
        return found[:, 3].astype(np.int32)

    assert np.mean(alarms(calm) == 0) > 0.99
    assert np.mean(alarms(impact) & 1 == 1) > 0.99
    assert np.mean(alarms(shift) & 2 == 2) > 0.99
    assert np.mean(alarms(growth) & 4 == 4) > 0.99
    assert alarms(flat).tolist() == [8]
    module.close()


def test_anomaly_refuses_a_window_with_what_is_no_number(aot: Path) -> None:
    module = loaded("anomaly", aot, Caps.CPU)
    good, bad = np.ones((1, 64), np.float32), np.full((1, 64), np.nan, np.float32)
    outcomes = module.run([{"window": w} for w in (good, bad, good)]).outcomes
    assert isinstance(outcomes[1], GuestStatus)
    assert not any(isinstance(outcomes[i], MeshnodeError) for i in (0, 2))
    module.close()


# ------------------------------------------------------------------ nn-classify


def test_nn_classify_reads_digits_through_wasi_nn(aot: Path) -> None:
    """Its answers are onnxruntime's own, to the bit, in whatever batches they are asked for."""
    images = np.load(GUESTS / "dist" / "digits-test.images.npy")[:100]
    model = (GUESTS / "dist" / "digits.onnx").read_bytes()
    module = loaded("nn-classify", aot)
    rows = images.reshape(100, 64)
    found = np.concatenate([answer(module.run([{"images": r[None]}]))["answers"] for r in rows])
    alone = [ort.plain_run(model, {"images": image[None]}) for image in images]
    assert found[:, 0].tolist() == [int(each["label"][0]) for each in alone]
    sure = np.array([each["probabilities"].max() for each in alone], np.float32)
    assert found[:, 1].tobytes() == sure.tobytes()
    together = answer(module.run([{"images": rows}]))["answers"]  # more than its own batch
    assert together[:, 0].tolist() == found[:, 0].tolist()
    np.testing.assert_allclose(together[:, 1], found[:, 1], rtol=0, atol=1e-5)
    module.close()
