"""Puts a module together: a guest, its manifest and its weights become one file. Pure.

The same inputs give the same bytes on every machine: no time, no randomness, no order that
depends on anything but the names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from math import prod

from meshnode.caps import Caps
from meshnode.errors import MalformedModule, TooLarge
from meshnode.ids import ContentHash
from meshnode.modules import metadata, signatures, tree
from meshnode.modules.layout import (
    MODULE_BYTES_MAX,
    WEIGHTS_PREFIX,
    delimiter_of,
    is_reserved,
)
from meshnode.modules.manifest import (
    MEMORY_BYTES_MAX,
    SECTION_NAME,
    Limits,
    Manifest,
    ModelRef,
    SelfTest,
    TensorSpec,
    item_bytes,
)
from meshnode.modules.sections import HEADER, encode_custom, read_sections
from meshnode.wire.limits import BLOB_BYTES_MAX, BODY_BYTES_MAX, KIB, MIB
from meshnode.wire.tensor import Buffer

EMBED_BYTES_MAX = 8 * MIB
"""Larger weights are a blob of their own: fetched in pieces, shared by versions of a module."""
RUNNER_MODEL = "model"
"""The name by which the ONNX runner guest opens its model."""
SELF_TEST_BYTES_MAX = 16 * KIB
"""All self-tests together; they travel in the head of the module."""
_BATCH_FORESEEN = 16
"""How many requests of a batching module should fit the guest's memory together."""
_RUNNER_BYTES_MIN = 16 * MIB


def assemble(
    guest: Buffer, manifest: Manifest, weights: Mapping[str, Buffer], *, embed: bool
) -> tuple[bytes, dict[str, bytes]]:
    """Return the unsigned module, and by name the weights that travel as blobs of their own.

    The manifest's `models` are set from `weights` (model name to bytes). With `embed` they go
    into the module and no blob is left. Raises MalformedModule if the guest is not a Wasm module
    or is packed already, BadMetadata, and TooLarge.
    """
    sections = read_sections(guest)
    for section in sections:
        if is_reserved(section.name):
            raise MalformedModule(
                f"the guest already has a section '{section.name}': it is packed or signed already",
                try_="pack the file that your compiler wrote",
            )
    models = tuple(_model(name, weights[name], embed) for name in sorted(weights))
    if embed and sum(m.size for m in models) > EMBED_BYTES_MAX:
        raise TooLarge(
            f"weights of {sum(m.size for m in models)} bytes cannot be embedded",
            because=[f"at most {EMBED_BYTES_MAX} bytes can"],
        )
    described = metadata.encode(replace(manifest, models=models))
    parts: list[Buffer] = [
        HEADER,
        encode_custom(SECTION_NAME, described),
        encode_custom(signatures.DELIMITER_NAME, delimiter_of(described)),
        memoryview(guest)[len(HEADER) :],
    ]
    if embed:
        parts += [encode_custom(WEIGHTS_PREFIX + m.name, bytes(weights[m.name])) for m in models]
    module = b"".join(parts)
    if len(module) > MODULE_BYTES_MAX:
        raise TooLarge(f"the module would have {len(module)} bytes, at most {MODULE_BYTES_MAX}")
    return module, {} if embed else {name: bytes(weights[name]) for name in sorted(weights)}


def runner_manifest(
    *,
    name: str,
    version: str,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    batch: bool,
    self_tests: Sequence[SelfTest] = (),
    limits: Limits | None = None,
    licence: str = "",
) -> Manifest:
    """Return the manifest of an ONNX model that the shipped runner guest serves.

    `batch` holds only where axis 0 of every tensor is open. Self-tests are kept in their order as
    far as `SELF_TEST_BYTES_MAX` goes. `assemble` adds the
    model under the name `RUNNER_MODEL`. Without `limits`, memory is foreseen from the shapes.
    """
    return Manifest(
        name=name,
        version=version,
        abi="infer",
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        required=Caps.CPU | Caps.NN,
        limits=limits or runner_limits(inputs, outputs, batch=batch),
        batch=batch and all(t.shape[:1] == (-1,) for t in (*inputs, *outputs)),
        self_tests=_that_fit(self_tests),
        licence=licence,
    )


def runner_limits(
    inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], *, batch: bool
) -> Limits:
    """Return limits that fit an ONNX model of these tensors; sizes not known count as 1.

    The runner guest keeps every input and output of a batch in its memory; twice that, in powers
    of two, leaves room for dimensions that were not known.
    """
    one = sum(item_bytes(t.dtype) * prod(abs(d) for d in t.shape) for t in (*inputs, *outputs))
    need = 2 * one * (_BATCH_FORESEEN if batch else 1)
    memory = _RUNNER_BYTES_MIN
    while memory < need and memory < MEMORY_BYTES_MAX // 4:
        memory *= 2
    return Limits(memory_bytes=memory, run_ms=10_000, output_bytes=BODY_BYTES_MAX)


def _model(name: str, data: Buffer, embed: bool) -> ModelRef:
    if not 0 < len(data) <= BLOB_BYTES_MAX:
        raise TooLarge(
            f"weights '{name}' have {len(data)} bytes, allowed are 1 to {BLOB_BYTES_MAX}"
        )
    return ModelRef(
        name=name,
        sha256=ContentHash(sha256(data).digest()),
        size=len(data),
        embedded=embed,
        root=tree.root_of(data),
    )


def _that_fit(self_tests: Sequence[SelfTest]) -> tuple[SelfTest, ...]:
    kept, left = [], SELF_TEST_BYTES_MAX
    for test in self_tests:
        left -= sum(map(len, (*test.inputs, *test.outputs)))
        if left >= 0:
            kept.append(test)
    return tuple(kept)
