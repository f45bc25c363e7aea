"""`meshnode test`, on shipped guests, good and hostile."""

import json
from pathlib import Path
from typing import Any

import pytest

from meshnode.assets import asset
from meshnode.cli.main import main
from meshnode.runtime import providers

GUESTS = Path(__file__).parents[3] / "guests"


class Bench:
    """Packs a guest and tests it."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self._capsys = capsys

    def pack(self, source: Path, *words: str) -> Path:
        out = self.root / "m.wasm"
        home = ("--home", str(self.root / "home"))
        assert main([*home, "pack", str(source), "-o", str(out), *words]) == 0
        self._capsys.readouterr()
        return out

    def guest(self, name: str, *words: str) -> Path:
        meta = GUESTS / name.replace("hostile-", "hostile/") / "module.toml"
        return self.pack(asset(f"{name}.wasm"), "--meta", str(meta), *words)

    def text(self, *words: object, status: int = 0) -> str:
        assert main(["test", *map(str, words)]) == status
        said = self._capsys.readouterr()
        return said.out + said.err

    def facts(self, *words: object, status: int = 0) -> dict[str, Any]:
        assert main(["test", "--json", *map(str, words)]) == status
        found: dict[str, Any] = json.loads(self._capsys.readouterr().out)
        assert found["v"] == 1
        return found


@pytest.fixture
def bench(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Bench:
    return Bench(tmp_path, capsys)


def test_a_good_guest_passes(bench: Bench) -> None:
    text = bench.text(bench.guest("linear"))
    assert text.splitlines()[-1] == "pass"
    for part in (
        "linear@1.0.0, abi seed, signed by",
        "imports        none",
        "64 KiB at first, at most 4 MiB",
        "1/1 ✓ 3 runs each",
        "deterministic ✓",
        "200 random, extreme, short and oversized",
        "0 traps, 0 over limit",
        "wasm overhead",
    ):
        assert part in text


def test_the_same_in_json_with_more_inputs(bench: Bench) -> None:
    found = bench.facts(bench.guest("echo", "--unsigned"), "--fuzz", "50", "--seed", "7")["test"]
    assert found["ok"] is True
    assert found["signature"].startswith("not signed")
    assert found["inputs"]["total"] == found["inputs"]["wanted"] == 250
    assert found["latency_ms"]["p50"] > 0
    assert found["failures"] == []


def test_a_models_imports_are_listed_and_its_weights_found_beside_it(bench: Bench) -> None:
    x = bench.pack(asset("digits.onnx"), "--no-embed", "--name", "digits")
    # The first input alone: two hundred of a convolution net take seconds.
    found = bench.facts(x, "--quiet")["test"]
    assert found["imports"] == {"meshnode.model_open (nn)": True, "meshnode.infer (nn)": True}
    assert found["stages_ms"]["open models"] > 0
    x.with_suffix(".weights").unlink()
    assert bench.facts(x, status=4)["error"]["code"] == "MN-511"


def test_a_guest_that_traps_fails_with_its_input(bench: Bench) -> None:
    text = bench.text(bench.guest("hostile-stray"), status=7)
    assert "FAIL input" in text
    assert "MN-404" in text
    assert "pass" not in text.splitlines()


def test_an_import_without_a_capability_is_marked_and_refused(bench: Bench) -> None:
    text = bench.text(bench.guest("hostile-import"), status=8)
    assert "env.system ✗" in text
    assert "MN-205" in text


def test_a_tampered_module_is_refused(bench: Bench) -> None:
    path = bench.guest("echo")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert "MN-202" in bench.text(path, status=8)


def test_a_self_test_that_does_not_hold_is_status_9(bench: Bench, tmp_path: Path) -> None:
    meta = (GUESTS / "echo" / "module.toml").read_text()
    wrong = tmp_path / "module.toml"
    wrong.write_text(meta.replace("outputs = [[[1.0,", "outputs = [[[9.0,"))
    path = bench.pack(asset("echo.wasm"), "--meta", str(wrong))
    assert "MN-406" in bench.text(path, status=9)


def test_what_cannot_be_tested_is_said(bench: Bench, tmp_path: Path) -> None:
    assert "does not exist" in bench.text(tmp_path / "absent.wasm", status=4)
    assert "pack GUEST.wasm --meta" in bench.text(asset("echo.wasm"), status=2)
    assert "not a Wasm module" in bench.text(asset("digits.onnx"), status=8)
    assert "whole numbers" in bench.text("x.wasm", "--fuzz", "-1", status=2)


def test_without_onnxruntime_a_model_is_not_tested_but_a_pure_guest_is(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(providers, "find_spec", lambda _: None)
    path = bench.pack(asset("digits.onnx"), "--name", "digits")
    assert "pip install onnxruntime" in bench.text(path, status=78)
    assert "pass" in bench.text(bench.guest("echo"))
