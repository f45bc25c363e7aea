from dataclasses import replace
from typing import Any

import pytest

from meshnode.caps import Caps
from meshnode.constraints import Constraints, Scope
from meshnode.errors import BadMetadata
from meshnode.ids import ContentHash
from meshnode.modules.manifest import AFFINITIES, Limits, Manifest, ModelRef, SelfTest, TensorSpec
from meshnode.modules.metadata import decode, encode
from meshnode.placement.affinity import Affinity
from meshnode.wire import cbor
from tests.unit.modules.samples import MANIFEST, WITH_MODEL

MODEL = ModelRef(name="model", sha256=ContentHash(b"h" * 32), size=9, embedded=True, root=b"r" * 32)


def x(**changes: Any) -> TensorSpec:
    return replace(TensorSpec(name="x", dtype="float32", shape=(-1, 2)), **changes)


def test_a_manifest_comes_back_and_has_one_encoding() -> None:
    manifest = replace(WITH_MODEL, models=(MODEL,), optional=Caps.CUDA)
    data = encode(manifest)
    assert decode(data) == manifest
    assert encode(decode(data)) == data


def test_a_models_name_may_have_capital_letters() -> None:
    manifest = replace(WITH_MODEL, models=(replace(MODEL, name="MobileNet_v2.0"),))
    assert decode(encode(manifest)) == manifest


def test_the_order_of_labels_does_not_change_the_bytes() -> None:
    one = replace(MANIFEST, labels={"a": "1", "b": "2"})
    other = replace(MANIFEST, labels={"b": "2", "a": "1"})
    assert encode(one) == encode(other)


@pytest.mark.parametrize(
    ("manifest", "field"),
    [
        (replace(MANIFEST, name="Double"), "name: 'Double'"),
        (replace(MANIFEST, name="a" * 65), "name: has 65"),
        (replace(MANIFEST, version="1.2"), "version: '1.2'"),
        (replace(MANIFEST, abi="wasi"), "abi: 'wasi'"),
        (replace(MANIFEST, inputs=()), "inputs: has no tensor"),
        (replace(MANIFEST, inputs=(x(), x())), "inputs: has two"),
        (replace(MANIFEST, inputs=tuple(x(name=f"x{i}") for i in range(33))), "inputs: has 33"),
        (replace(MANIFEST, inputs=(x(dtype="float33"),)), r"inputs\[0\].dtype.*float32"),
        (replace(MANIFEST, inputs=(x(shape=(-2,)),)), r"inputs\[0\].shape: -2"),
        (replace(MANIFEST, inputs=(x(shape=(-1,) * 17),)), r"inputs\[0\].shape: has 17"),
        (replace(MANIFEST, inputs=(x(shape=(-1, 2**30)),)), r"inputs\[0\].shape: needs"),
        (replace(MANIFEST, inputs=(x(layout="NCHW"),)), r"inputs\[0\].layout"),
        (replace(MANIFEST, inputs=(x(shape=(2, 2)),)), "batch: axis 0"),
        (replace(MANIFEST, outputs=(x(shape=()),)), "batch: axis 0"),
        (replace(MANIFEST, required=Caps(1 << 20)), "required: has capability bits"),
        (replace(MANIFEST, limits=Limits(memory_bytes=100)), "limits.memory_bytes: is 100"),
        (replace(MANIFEST, limits=Limits(memory_bytes=2**33)), "limits.memory_bytes"),
        (replace(MANIFEST, limits=Limits(run_ms=0)), "limits.run_ms"),
        (replace(MANIFEST, limits=Limits(run_ms=600_001)), "limits.run_ms"),
        (replace(MANIFEST, limits=Limits(output_bytes=(64 << 20) + 1)), "limits.output_bytes"),
        (replace(MANIFEST, models=(MODEL,)), "models: .* needs the capability nn"),
        (replace(WITH_MODEL, models=(MODEL, MODEL)), "models: has two"),
        (replace(WITH_MODEL, models=(replace(MODEL, name="a b"),)), r"models\[0\].name"),
        (replace(WITH_MODEL, models=(MODEL, replace(MODEL, name="Model"))), "models: has two"),
        (replace(WITH_MODEL, models=(replace(MODEL, sha256=ContentHash(b"")),)), "sha256: has 0"),
        (replace(WITH_MODEL, models=(replace(MODEL, size=0),)), r"models\[0\].size"),
        (replace(WITH_MODEL, models=(replace(MODEL, root=b"1"),)), r"models\[0\].root"),
        (replace(MANIFEST, self_tests=(SelfTest(inputs=(), outputs=()),)), "0 buffers for 1"),
        (
            replace(MANIFEST, self_tests=(SelfTest(inputs=(b"123",), outputs=(bytes(8),)),)),
            "3 bytes do not fill x",
        ),
        (
            replace(
                MANIFEST,
                self_tests=(SelfTest(inputs=(bytes(8),), outputs=(bytes(8),), tolerance=2.0),),
            ),
            r"self_tests\[0\].tolerance",
        ),
        (replace(MANIFEST, licence="x" * 65), "licence"),
        (replace(MANIFEST, affinity="source-hsh"), "affinity: .*did you mean 'source-hash'"),
        (replace(MANIFEST, labels={"k": "\n"}), "labels.k"),
        (replace(MANIFEST, labels={str(i): "" for i in range(33)}), "labels: has 33"),
        (replace(MANIFEST, abi="seed", outputs=(x(dtype="int8"),)), "abi: .* float32"),
        (replace(MANIFEST, abi="seed", inputs=(x(), x(name="z"))), "abi: .* exactly one"),
        (replace(MANIFEST, abi="command"), "abi: .* capability wasi"),
        (replace(MANIFEST, abi="command", optional=Caps.WASI), "abi: .* wasi, required"),
        (
            replace(
                MANIFEST,
                abi="command",
                required=Caps.CPU | Caps.WASI,
                batch=False,
                outputs=(x(), x(name="z")),
            ),
            "abi: .* open size in one output",
        ),
    ],
)
def test_every_bound_names_its_field(manifest: Manifest, field: str) -> None:
    with pytest.raises(BadMetadata, match=field):
        encode(manifest)


def test_a_batched_self_test_may_have_several_rows() -> None:
    test = SelfTest(inputs=(bytes(24),), outputs=(bytes(24),))
    assert decode(encode(replace(MANIFEST, self_tests=(test,)))).self_tests == (test,)


def plain(**changes: object) -> bytes:
    value = cbor.loads(encode(MANIFEST), bytes_max=1 << 16)
    value.update(changes)
    return cbor.dumps(value)


def test_a_default_is_left_out_and_nothing_else() -> None:
    assert b"affinity" not in encode(MANIFEST)
    assert b"source-hash" in encode(replace(MANIFEST, affinity="source-hash"))
    assert not {"require", "data"} & set(cbor.loads(encode(MANIFEST), bytes_max=1 << 16))
    for default, reason in (
        ({"affinity": "finish-time"}, "affinity: 'finish-time' is the default"),
        ({"data": "mesh"}, "data: 'mesh' is the default"),
        ({"require": {}}, "require: asks for nothing"),
    ):
        with pytest.raises(BadMetadata, match=reason):
            decode(plain(**default))


def test_what_a_module_asks_of_nodes_comes_back() -> None:
    asked = Constraints((("site", "b"), ("tier", "edge")), Scope.SITE)
    manifest = replace(MANIFEST, constraints=asked)
    assert decode(encode(manifest)) == manifest
    for wrong, reason in (
        ({"data": "planet"}, "data: 'planet' is none of mesh, site, node"),
        ({"require": {"Site": "b"}}, "require: 'Site' is no label's name"),
        ({"require": {"site": ""}}, "require: label site"),
        ({"require": {str(i): "x" for i in range(9)}}, "require: has 9 entries"),
        ({"require": ["site"]}, "require: is not a map"),
    ):
        with pytest.raises(BadMetadata, match=reason):
            decode(plain(**wrong))


def test_the_words_for_an_affinity_are_those_of_placement() -> None:
    assert tuple(a.value for a in Affinity) == AFFINITIES


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(BadMetadata, match="labls: no such field, did you mean 'labels'"):
        decode(plain(labls={}))


def test_a_missing_field_is_refused() -> None:
    value = cbor.loads(encode(MANIFEST), bytes_max=1 << 16)
    del value["batch"]
    with pytest.raises(BadMetadata, match="batch: is missing"):
        decode(cbor.dumps(value))


def test_a_newer_format_is_named_before_its_fields() -> None:
    with pytest.raises(BadMetadata, match="format: this node reads 1, not 2"):
        decode(plain(format=2, news=1))
    with pytest.raises(BadMetadata, match="format"):
        decode(plain(format=True))


def test_only_canonical_cbor_is_read() -> None:
    data = encode(MANIFEST)
    for wrong in (data + b"\0", data[:-1], b"", b"\xa0", b"\xbf\xff"):
        with pytest.raises(BadMetadata):
            decode(wrong)


def test_a_value_of_another_type_is_not_taken_for_its_like() -> None:
    for key, value in (("batch", 1), ("name", b"double"), ("required", True), ("inputs", {})):
        with pytest.raises(BadMetadata, match=key):
            decode(plain(**{key: value}))


def test_a_tensor_that_no_array_can_be_is_refused_though_it_has_no_elements() -> None:
    most = 2**31 - 1
    absurd = TensorSpec(name="x", dtype="float32", shape=(0, most, most, most))
    with pytest.raises(BadMetadata, match="no machine can hold the tensor x"):
        encode(replace(MANIFEST, batch=False, inputs=(absurd,), self_tests=()))
    encode(
        replace(MANIFEST, batch=False, inputs=(replace(absurd, shape=(0, most)),), self_tests=())
    )
