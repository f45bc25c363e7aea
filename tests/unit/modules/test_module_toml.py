import struct

import pytest

from meshnode.caps import Caps
from meshnode.constraints import Constraints, Scope
from meshnode.errors import BadMetadata
from meshnode.modules.manifest import Limits, SelfTest, TensorSpec
from meshnode.modules.module_toml import TestFiles, from_toml

FULL = """
name = "anomaly"
version = "0.9.1"
abi = "infer"
batch = true
affinity = "source-hash"
data = "site"
require = { tier = "edge" }
licence = "MIT"
embed = false

[[inputs]]
name = "x"
dtype = "float32"
shape = ["?", 2]
layout = "NC"

[[outputs]]
name = "label"
dtype = "int64"
shape = [-1]

[caps]
required = ["cpu", "nn"]
optional = ["cuda"]

[limits]
memory_mib = 4
run_ms = 250
output_mib = 1

[[models]]
name = "model"
file = "models/a.onnx"

[[tests]]
inputs = [[[1.0, 2.5], [3, 4]]]
outputs = [[0, -1]]
tolerance = 0.5

[[tests]]
inputs = ["in.npy"]
outputs = ["out.npy"]

[labels]
site = "b"
"""
SMALL = """
name = "sum"
version = "1.0.0"
abi = "seed"
inputs = [{ name = "x", dtype = "float32", shape = [4] }]
outputs = [{ name = "y", dtype = "float32", shape = [1] }]
"""


def test_everything_that_can_be_said_is_read() -> None:
    found = from_toml(FULL)
    manifest = found.manifest
    assert (manifest.name, manifest.version, manifest.abi) == ("anomaly", "0.9.1", "infer")
    assert manifest.inputs == (TensorSpec(name="x", dtype="float32", shape=(-1, 2), layout="NC"),)
    assert manifest.outputs == (TensorSpec(name="label", dtype="int64", shape=(-1,)),)
    assert manifest.required == Caps.CPU | Caps.NN
    assert manifest.optional == Caps.CUDA
    assert manifest.limits == Limits(memory_bytes=4 << 20, run_ms=250, output_bytes=1 << 20)
    assert manifest.self_tests == (
        SelfTest(
            inputs=(struct.pack("<4f", 1, 2.5, 3, 4),),
            outputs=(struct.pack("<2q", 0, -1),),
            tolerance=0.5,
        ),
    )
    assert found.test_files == (TestFiles(inputs=("in.npy",), outputs=("out.npy",), tolerance=0.0),)
    assert found.model_files == {"model": "models/a.onnx"}
    assert (manifest.batch, manifest.licence, found.embed) == (True, "MIT", False)
    assert manifest.labels == {"site": "b"}
    assert manifest.affinity == "source-hash"
    assert manifest.constraints == Constraints((("tier", "edge"),), Scope.SITE)


def test_little_has_to_be_said() -> None:
    found = from_toml(SMALL)
    assert found.manifest.required == Caps.CPU
    assert found.manifest.limits == Limits()
    assert found.embed is None
    assert not found.manifest.batch


def test_a_command_says_that_it_needs_wasi() -> None:
    command = SMALL.replace('"seed"', '"command"')
    with pytest.raises(BadMetadata, match="abi: a command module needs the capability wasi"):
        from_toml(command)
    manifest = from_toml(command + '[caps]\nrequired = ["cpu", "wasi", "nn.load"]').manifest
    assert manifest.required == Caps.CPU | Caps.WASI | Caps.NN_LOAD


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("name =", "nam ="), "nam: no such field, did you mean 'name'"),
        (('name = "anomaly"', ""), "name: is missing"),
        (('"anomaly"', '"Anomaly"'), "name: 'Anomaly'"),
        (('"float32"', '"float23"'), r"inputs\[0\].dtype: 'float23'.*did you mean 'float32'"),
        (('"cuda"', '"cudda"'), "caps.optional: unknown capability 'cudda'"),
        (("memory_mib = 4", "memory_mb = 4"), "limits.memory_mb: .*did you mean 'memory_mib'"),
        (("memory_mib = 4", "memory_mib = 5000"), "limits.memory_mib: is 5000"),
        (("run_ms = 250", "run_ms = 0.5"), "limits.run_ms: is not a whole number"),
        (('["?", 2]', '["n", 2]'), r"inputs\[0\].shape: sizes are whole numbers"),
        (("[[0, -1]]", "[[0.5, -1]]"), r"tests\[0\].outputs: 'label' does not fit int64"),
        (("[[0, -1]]", "[[0], [1]]"), r"tests\[0\].outputs: has 2 tensors"),
        (("[[0, -1]]", "[[]]"), r"self_tests\[0\].outputs: 0 bytes do not fill label"),
        (('["cpu", "nn"]', '["cpu"]'), "models: .*nn"),
        (("batch = true", 'batch = "yes"'), "batch: is not true or false"),
        (('licence = "MIT"', "licence = ["), "module.toml is not TOML"),
        (('data = "site"', 'data = "mash"'), "data: 'mash' is none of .*did you mean 'mesh'"),
        (('tier = "edge"', 'tier = "e g"'), "require: label tier"),
        (('"source-hash"', '"sticky"'), "affinity: 'sticky' is none of finish-time, source-hash"),
    ],
)
def test_a_mistake_is_named_with_its_key(change: tuple[str, str], reason: str) -> None:
    with pytest.raises(BadMetadata, match=reason):
        from_toml(FULL.replace(*change, 1))
