import re
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from meshnode.caps import Caps
from meshnode.errors import BadMetadata, MalformedModule, TooLarge
from meshnode.modules import pack, tree
from meshnode.modules.layout import read_module
from meshnode.modules.manifest import Limits, SelfTest, TensorSpec
from meshnode.modules.pack import assemble, runner_limits, runner_manifest
from meshnode.modules.sections import HEADER, encode_custom, read_sections
from meshnode.modules.signing import sign
from tests.unit.modules.samples import (
    GUEST,
    MANIFEST,
    PUBLISHER,
    WEIGHTS,
    WITH_MODEL,
    packed,
    section,
    signed,
)

PAGE = Path(__file__).parents[3] / "docs" / "module-format.md"
X = TensorSpec(name="x", dtype="float32", shape=(-1, 3, 224, 224))
Y = TensorSpec(name="y", dtype="float32", shape=(-1, 10))


def test_the_sections_stand_in_their_order() -> None:
    assert [s.name or s.id for s in read_sections(signed())] == [
        "signature",
        "meshnode.publisher",
        "meshnode",
        "signature_delimiter",
        1,
        2,
        3,
        10,
        "name",
        "meshnode.weights.model",
    ]


def test_packing_repeats_to_the_byte() -> None:
    assert packed() == packed()
    shuffled = {"b": b"2", "a": b"1"}
    ordered = {"a": b"1", "b": b"2"}
    assert assemble(GUEST, WITH_MODEL, shuffled, embed=True) == assemble(
        bytearray(GUEST), WITH_MODEL, ordered, embed=True
    )


def test_the_manifest_names_each_model_by_its_hash_size_and_root() -> None:
    module, blobs = assemble(GUEST, WITH_MODEL, WEIGHTS, embed=False)
    (model,) = read_module(module).head.manifest.models
    data = WEIGHTS["model"]
    assert (model.name, model.size, model.embedded) == ("model", len(data), False)
    assert model.sha256 == sha256(data).digest()
    assert model.root == tree.root_of(data)
    assert blobs == WEIGHTS


def test_embedded_weights_leave_no_blob() -> None:
    module, blobs = assemble(GUEST, WITH_MODEL, WEIGHTS, embed=True)
    assert blobs == {}
    assert bytes(read_module(module).weights["model"]) == WEIGHTS["model"]


@pytest.mark.parametrize(
    "name", ["signature", "signature_delimiter", "meshnode", "meshnode.weights.m"]
)
def test_a_guest_with_sections_of_ours_is_refused(name: str) -> None:
    with pytest.raises(MalformedModule, match=f"already has a section '{name}'"):
        assemble(GUEST + encode_custom(name, b""), MANIFEST, {}, embed=False)


def test_a_guest_that_is_not_wasm_is_refused() -> None:
    with pytest.raises(MalformedModule):
        assemble(b"(module)", MANIFEST, {}, embed=False)


def test_a_wrong_manifest_is_refused_by_name() -> None:
    with pytest.raises(BadMetadata, match="name: 'X'"):
        assemble(GUEST, replace(MANIFEST, name="X"), {}, embed=False)


def test_sizes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TooLarge, match="'m' have 0 bytes"):
        assemble(GUEST, WITH_MODEL, {"m": b""}, embed=False)
    monkeypatch.setattr(pack, "EMBED_BYTES_MAX", 100)
    with pytest.raises(TooLarge, match="cannot be embedded"):
        assemble(GUEST, WITH_MODEL, WEIGHTS, embed=True)
    assemble(GUEST, WITH_MODEL, WEIGHTS, embed=False)
    monkeypatch.setattr(pack, "MODULE_BYTES_MAX", 100)
    with pytest.raises(TooLarge, match="the module would have"):
        assemble(GUEST, WITH_MODEL, WEIGHTS, embed=False)


def test_the_runner_s_manifest_needs_nn_and_room_for_its_tensors() -> None:
    manifest = runner_manifest(name="cnn", version="1.0.0", inputs=[X], outputs=[Y], batch=True)
    assert (manifest.abi, manifest.required) == ("infer", Caps.CPU | Caps.NN)
    one = 4 * (3 * 224 * 224 + 10)
    assert manifest.limits.memory_bytes >= 2 * 16 * one
    assert runner_limits([Y], [Y], batch=False).memory_bytes == 16 << 20
    assert assemble(GUEST, manifest, WEIGHTS, embed=True)[0]


def test_batching_needs_an_open_axis_everywhere() -> None:
    fixed = replace(Y, shape=(1, 10))
    for outputs in ([fixed], [replace(Y, shape=())]):
        manifest = runner_manifest(
            name="m", version="1.0.0", inputs=[X], outputs=outputs, batch=True
        )
        assert not manifest.batch
        assemble(GUEST, manifest, WEIGHTS, embed=True)


def test_given_limits_are_kept() -> None:
    limits = Limits(memory_bytes=1 << 16, run_ms=5, output_bytes=10)
    manifest = runner_manifest(
        name="m", version="1.0.0", inputs=[Y], outputs=[Y], batch=True, limits=limits
    )
    assert manifest.limits == limits


def test_self_tests_are_kept_as_far_as_they_fit() -> None:
    tests = [SelfTest(inputs=(bytes(40 * n),), outputs=(bytes(40 * n),)) for n in (1, 100, 200, 1)]
    manifest = runner_manifest(
        name="m", version="1.0.0", inputs=[Y], outputs=[Y], batch=True, self_tests=tests
    )
    assert manifest.self_tests == tuple(tests[:2])


def documented(title: str) -> bytes:
    """The hex of a block in docs/module-format.md, comments left out."""
    block = PAGE.read_text().split(f"```hex {title}\n", 1)[1].split("```", 1)[0]
    return bytes.fromhex(re.sub(r"#.*", "", block))


def test_the_example_in_the_docs_is_what_is_packed() -> None:
    guest = HEADER + section(1, b"\x01\x60\x00\x00")
    tensor = TensorSpec(name="x", dtype="float32", shape=(1,))
    manifest = replace(
        MANIFEST,
        name="id",
        version="1.0.0",
        inputs=(tensor,),
        outputs=(tensor,),
        batch=False,
        self_tests=(),
        licence="",
        labels={},
    )
    unsigned, _ = assemble(guest, manifest, {}, embed=False)
    assert documented("unsigned").hex(" ") == unsigned.hex(" ")
    module = sign(unsigned, PUBLISHER)
    assert documented("signed").hex(" ") == module.hex(" ")
    assert sha256(module).hexdigest() in PAGE.read_text()
