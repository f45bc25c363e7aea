"""Any bytes and any plain map give a manifest or BadMetadata; a manifest has one encoding."""

import contextlib
import string

from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.caps import Caps
from meshnode.constraints import Constraints, Scope
from meshnode.errors import BadMetadata
from meshnode.ids import ContentHash
from meshnode.labels import labels_of
from meshnode.modules.manifest import (
    AFFINITIES,
    ITEM_BYTES,
    Limits,
    Manifest,
    ModelRef,
    TensorSpec,
)
from meshnode.modules.metadata import decode, encode
from meshnode.modules.module_toml import from_toml
from meshnode.wire import cbor
from tests.unit.modules.samples import MANIFEST

FEW = settings(max_examples=200, deadline=None)
GOOD = cbor.loads(encode(MANIFEST), bytes_max=1 << 16)

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.binary(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)
names = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=20)
tensors = st.builds(
    TensorSpec,
    name=st.text("abc/:_", min_size=1, max_size=20),
    dtype=st.sampled_from(sorted(ITEM_BYTES)),
    shape=st.lists(st.integers(-1, 9), max_size=6).map(tuple),
)
unlike = st.lists(tensors, min_size=1, max_size=4, unique_by=lambda t: t.name).map(tuple)
manifests = st.builds(
    Manifest,
    name=names,
    version=st.from_regex(r"\A[1-9]\.[1-9][0-9]?\.0(-rc\.[1-9])?\Z"),
    abi=st.just("infer"),
    inputs=unlike,
    outputs=unlike,
    required=st.just(Caps.CPU | Caps.NN),
    models=st.lists(
        st.builds(
            ModelRef,
            name=names,
            sha256=st.binary(min_size=32, max_size=32).map(ContentHash),
            size=st.integers(1, 2**31),
            embedded=st.booleans(),
            root=st.sampled_from([b"", bytes(32)]),
        ),
        max_size=3,
        unique_by=lambda m: m.name,
    ).map(tuple),
    limits=st.builds(
        Limits,
        memory_bytes=st.integers(1 << 16, 1 << 32),
        run_ms=st.integers(1, 600_000),
        output_bytes=st.integers(1, 64 << 20),
    ),
    labels=st.dictionaries(names, names, max_size=4),
    affinity=st.sampled_from(AFFINITIES),
    constraints=st.builds(
        Constraints,
        st.dictionaries(names, names, max_size=4).map(labels_of),
        st.sampled_from(Scope),
    ),
)


@FEW
@given(manifests)
def test_a_manifest_comes_back_in_its_one_encoding(manifest: Manifest) -> None:
    data = encode(manifest)
    assert decode(data) == manifest
    assert encode(decode(data)) == data


@FEW
@given(st.binary(max_size=300))
def test_any_bytes_give_a_manifest_or_one_error(data: bytes) -> None:
    with contextlib.suppress(BadMetadata):
        decode(data)


@FEW
@given(st.sampled_from([*sorted(GOOD), "affinity", "require", "data"]), plain)
def test_any_value_in_any_field_gives_a_manifest_or_one_error(key: str, value: object) -> None:
    try:
        found = decode(cbor.dumps({**GOOD, key: value}))
    except BadMetadata:
        return
    assert decode(encode(found)) == found


@FEW
@given(plain)
def test_any_tensor_gives_a_manifest_or_one_error(value: object) -> None:
    for tensor in (
        value,
        {**GOOD["inputs"][0], "shape": value},
        {**GOOD["inputs"][0], "dtype": value},
    ):
        try:
            decode(cbor.dumps({**GOOD, "inputs": [tensor]}))
        except BadMetadata:
            continue


@FEW
@given(st.text(max_size=200), st.sampled_from(["", 'name = "a"\nversion = "1.0.0"\n']))
def test_any_text_is_a_description_or_one_error(text: str, before: str) -> None:
    with contextlib.suppress(BadMetadata):
        from_toml(before + text)
