"""`meshnode pack`, on real models and guests."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from meshnode.cli.main import main
from meshnode.modules.layout import read_module
from meshnode.modules.signing import verify_module
from meshnode.storage.state import read_secret

GUESTS = Path(__file__).parents[3] / "guests"


def model(path: Path) -> Path:
    """y = 2 x + k, with a dynamic batch; two inputs, one of them int64."""
    nodes = [
        helper.make_node("Cast", ["k"], ["kf"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["x", "x"], ["xx"]),
        helper.make_node("Add", ["xx", "kf"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "double",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3]),
            helper.make_tensor_value_info("k", TensorProto.INT64, ["n", 1]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(made, str(path))
    return path


class Desk:
    """A directory to pack in, with a home of its own."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self.home = root / "home"
        self._capsys = capsys

    def pack(self, *words: object, status: int = 0) -> list[str]:
        assert main(["--home", str(self.home), "pack", *map(str, words)]) == status
        said = self._capsys.readouterr()
        return (said.err if status else said.out).splitlines()

    def json(self, *words: object) -> dict[str, Any]:
        (line,) = self.pack(*words, "--json")
        found: dict[str, Any] = json.loads(line)["packed"]
        return found


@pytest.fixture
def desk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Desk:
    monkeypatch.chdir(tmp_path)
    return Desk(tmp_path, capsys)


def test_a_model_becomes_a_signed_module_that_describes_itself(desk: Desk) -> None:
    lines = desk.pack(model(desk.root / "m.onnx"), "--name", "double", "--version", "1.2.0")
    assert len(lines) <= 10
    file = "double-1.2.0.wasm"
    assert lines[-1] == f"next: meshnode test {file} && meshnode publish {file}"
    signed = verify_module((desk.root / "double-1.2.0.wasm").read_bytes())
    assert [str(t) for t in signed.manifest.inputs] == ["x float32[?,3]", "k int64[?,1]"]
    assert [str(t) for t in signed.manifest.outputs] == ["y float32[?,3]"]
    assert signed.manifest.required.names() == ["cpu", "nn"]
    assert signed.manifest.models[0].embedded
    assert any(signed.module.hex() in line for line in lines)


def test_packing_twice_gives_the_same_bytes(desk: Desk) -> None:
    file = model(desk.root / "m.onnx")
    desk.pack(file, "-o", "one.wasm")
    desk.pack(file, "-o", "two.wasm")
    assert (desk.root / "one.wasm").read_bytes() == (desk.root / "two.wasm").read_bytes()


def test_the_publisher_s_key_is_made_once_and_is_a_secret(desk: Desk) -> None:
    file = model(desk.root / "m.onnx")
    first = desk.json(file)["publisher"]
    path = desk.home / "publisher.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(read_secret(path) or b"") == 32
    assert desk.json(file)["publisher"] == first
    path.chmod(0o644)
    assert f"chmod 600 {path}" in "\n".join(desk.pack(file, status=78))


def test_name_and_version_come_from_the_file_if_they_are_not_given(desk: Desk) -> None:
    facts = desk.json(model(desk.root / "My Model (2).onnx"))
    assert (facts["name"], facts["version"]) == ("my-model-2", "0.1.0")
    assert facts["file"] == "my-model-2-0.1.0.wasm"


def test_weights_may_stay_in_a_file_of_their_own(desk: Desk) -> None:
    file = model(desk.root / "m.onnx")
    facts = desk.json(file, "--no-embed")
    (weights,) = facts["weights"]
    assert weights["file"] == "m-0.1.0.weights"
    assert (desk.root / weights["file"]).read_bytes() == file.read_bytes()
    module = read_module((desk.root / facts["file"]).read_bytes())
    assert not module.head.manifest.models[0].embedded
    assert module.weights == {}


def test_unsigned_is_said(desk: Desk) -> None:
    lines = desk.pack(model(desk.root / "m.onnx"), "--unsigned")
    assert lines[-2].endswith("unsigned")
    assert not (desk.home / "publisher.key").exists()
    assert read_module((desk.root / "m-0.1.0.wasm").read_bytes()).head.signature is None


def test_limits_can_be_given(desk: Desk) -> None:
    desk.pack(model(desk.root / "m.onnx"), "--memory-mib", 32, "--run-ms", 50)
    limits = verify_module((desk.root / "m-0.1.0.wasm").read_bytes()).manifest.limits
    assert (limits.memory_bytes, limits.run_ms) == (32 << 20, 50)
    assert "limits.run_ms: is 0" in desk.pack("m.onnx", "--run-ms", 0, status=2)[0]


def save(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


def test_a_self_test_of_one_s_own_goes_first(desk: Desk) -> None:
    x = save(desk.root / "x.npy", np.ones((2, 3), np.float32))
    k = save(desk.root / "k.npy", np.full((2, 1), 3, np.int64))
    y = save(desk.root / "y.npy", np.full((2, 3), 5, np.float32))
    desk.pack(model(desk.root / "m.onnx"), "--test", f"{x},{k}:{y}")
    tests = verify_module((desk.root / "m-0.1.0.wasm").read_bytes()).manifest.self_tests
    assert tests[0].inputs == (np.load(x).tobytes(), np.load(k).tobytes())
    assert tests[0].outputs == (np.load(y).tobytes(),)
    assert tests[0].tolerance == 1e-4


def test_a_self_test_that_does_not_fit_is_refused_by_tensor(desk: Desk) -> None:
    file = model(desk.root / "m.onnx")
    x = save(desk.root / "x.npy", np.ones((2, 3), np.float64))
    k = save(desk.root / "k.npy", np.ones((2, 1), np.int64))
    assert "'x' must be float32" in desk.pack(file, "--test", f"{x},{k}:{x}", status=2)[0]
    assert "gives 1 files for 2" in desk.pack(file, "--test", f"{x}:{x}", status=2)[0]
    assert "write IN.npy:OUT.npy" in desk.pack(file, "--test", "x", status=2)[0]
    assert not (desk.root / "m-0.1.0.wasm").exists()


@pytest.mark.parametrize("name", ["linear", "echo"])
def test_the_guests_of_the_repository_can_be_packed(desk: Desk, name: str) -> None:
    guest = GUESTS / "dist" / f"{name}.wasm"
    facts = desk.json(guest, "--meta", GUESTS / name / "module.toml")
    assert (facts["name"], facts["abi"], facts["self_tests"]) == (name, "seed", 1)
    verify_module((desk.root / facts["file"]).read_bytes())


def test_a_guest_may_bring_models_and_tests_in_files(desk: Desk) -> None:
    (desk.root / "parts").mkdir()
    guest = desk.root / "guest.wasm"
    guest.write_bytes((GUESTS / "dist" / "echo.wasm").read_bytes())
    save(desk.root / "parts" / "in.npy", np.zeros((1, 2), np.float32))
    model(desk.root / "parts" / "m.onnx")
    (desk.root / "module.toml").write_text(
        'name = "g"\nversion = "1.0.0"\nembed = false\n'
        'inputs = [{ name = "a", dtype = "float32", shape = ["?", 2] }]\n'
        'outputs = [{ name = "b", dtype = "float32", shape = ["?", 2] }]\n'
        '[caps]\nrequired = ["cpu", "nn"]\n'
        '[[models]]\nname = "m"\nfile = "parts/m.onnx"\n'
        '[[tests]]\ninputs = ["parts/in.npy"]\noutputs = ["parts/in.npy"]\n'
    )
    facts = desk.json(guest, "--licence", "MIT")
    assert facts["weights"][0]["file"] == "g-1.0.0.weights"
    manifest = verify_module((desk.root / "g-1.0.0.wasm").read_bytes()).manifest
    assert manifest.self_tests[0].inputs == (bytes(8),)
    assert manifest.licence == "MIT"


def test_mistakes_are_named(desk: Desk) -> None:
    guest = GUESTS / "dist" / "echo.wasm"
    file = model(desk.root / "m.onnx")
    (desk.root / "bad.toml").write_text('nme = "x"\n')
    assert "absent.onnx" in desk.pack("absent.onnx", status=2)[0]
    assert "needs a description" in desk.pack(guest, status=2)[0]
    assert "did you mean 'name'" in desk.pack(guest, "--meta", "bad.toml", status=2)[0]
    assert "describes itself" in desk.pack(file, "--meta", "bad.toml", status=2)[0]
    assert "name: 'Bad'" in desk.pack(file, "--name", "Bad", status=2)[0]
    assert "version: '1'" in desk.pack(file, "--version", "1", status=2)[0]
    (desk.root / "junk.onnx").write_bytes(b"not a model")
    assert "MN-305" in desk.pack("junk.onnx", status=2)[0]
    assert sorted(os.listdir(desk.root)) == ["bad.toml", "junk.onnx", "m.onnx"]


def test_a_packed_module_is_not_packed_again(desk: Desk) -> None:
    desk.pack(GUESTS / "dist" / "echo.wasm", "--meta", GUESTS / "echo" / "module.toml")
    lines = desk.pack("echo-1.0.0.wasm", "--meta", GUESTS / "echo" / "module.toml", status=8)
    assert "already has a section" in lines[0]
