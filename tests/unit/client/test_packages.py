"""A module and its weights are read together, by hash."""

from pathlib import Path

import pytest

from meshnode.caps import Caps
from meshnode.client.packages import read_package
from meshnode.errors import MalformedModule, TrustError, UnreadableModel, Unsigned
from meshnode.identity.keys import Identity
from meshnode.modules.manifest import Manifest, TensorSpec
from meshnode.modules.pack import assemble
from meshnode.modules.signing import sign

EMPTY_GUEST = b"\0asm\1\0\0\0"
WEIGHTS = b"w" * 100
SPEC = TensorSpec(name="x", dtype="float32", shape=(1,))


def packed(*, embed: bool) -> bytes:
    manifest = Manifest(
        name="m",
        version="1.0.0",
        abi="infer",
        inputs=(SPEC,),
        outputs=(SPEC,),
        required=Caps.CPU | Caps.NN,
    )
    return assemble(EMPTY_GUEST, manifest, {"model": WEIGHTS}, embed=embed)[0]


def signed(path: Path, *, embed: bool) -> Path:
    path.write_bytes(sign(packed(embed=embed), Identity.from_seed(b"s" * 32)))
    return path


def test_embedded_weights_need_no_file(tmp_path: Path) -> None:
    file = signed(tmp_path / "m.wasm", embed=True)
    assert read_package(file) == [file.read_bytes()]


def test_weights_are_found_beside_the_module_by_their_hash(tmp_path: Path) -> None:
    file = signed(tmp_path / "m.wasm", embed=False)
    (tmp_path / "decoy").write_bytes(b"v" * 100)
    (tmp_path / "whatever.bin").write_bytes(WEIGHTS)
    assert read_package(file) == [file.read_bytes(), WEIGHTS]


def test_weights_elsewhere_are_named(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    file = signed(tmp_path / "here" / "m.wasm", embed=False)
    with pytest.raises(UnreadableModel, match=r"'model' of m\.wasm are not found"):
        read_package(file)
    (tmp_path / "w").write_bytes(WEIGHTS)
    assert read_package(file, [tmp_path / "w"])[1] == WEIGHTS


def test_what_no_node_would_take_is_not_sent(tmp_path: Path) -> None:
    file = tmp_path / "m.wasm"
    with pytest.raises(UnreadableModel, match="cannot be read"):
        read_package(file)
    file.write_bytes(b"\x08\x09an ONNX file")
    with pytest.raises(MalformedModule) as wrong:
        read_package(file)
    assert "meshnode pack" in wrong.value.try_
    file.write_bytes(packed(embed=True))
    with pytest.raises(Unsigned):
        read_package(file)
    data = bytearray(signed(file, embed=True).read_bytes())
    data[data.index(b"1.0.0")] = ord("2")
    file.write_bytes(data)
    with pytest.raises(TrustError):
        read_package(file)
