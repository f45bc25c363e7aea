"""The bytes of a manifest: strict canonical CBOR in, a checked value out, and back.

A manifest is the custom section `meshnode` right after the signature: a map with text keys,
none unknown, every value bounded (`docs/module-format.md`). One manifest has exactly one encoding,
so packing is reproducible: every key is present, but for those with a default, which are left out
where they would say just that.
"""

from math import prod

from meshnode.caps import Caps
from meshnode.constraints import SCOPES, Constraints, Scope, scope_of
from meshnode.errors import BadMetadata, LocalProtocolError, RemoteProtocolError
from meshnode.ids import ContentHash
from meshnode.labels import LABELS_MAX as REQUIRED_MAX
from meshnode.labels import VALUE_CHARS_MAX, Labels, labels_of
from meshnode.modules.fields import Fields
from meshnode.modules.manifest import (
    ABIS,
    AFFINITIES,
    DIMENSION_MAX,
    FORMAT,
    ITEM_BYTES,
    LABEL_CHARS_MAX,
    LABELS_MAX,
    MANIFEST_BYTES_MAX,
    MEMORY_BYTES_MAX,
    MEMORY_BYTES_MIN,
    MODELS_MAX,
    OUTPUT_BYTES_MAX,
    RUN_MS_MAX,
    SELF_TESTS_MAX,
    Limits,
    Manifest,
    ModelRef,
    SelfTest,
    TensorSpec,
    item_bytes,
)
from meshnode.modules.names import MODEL_NAME, NAME, VERSION, VERSION_CHARS_MAX
from meshnode.wire import cbor
from meshnode.wire.arrays import holdable
from meshnode.wire.limits import (
    BLOB_BYTES_MAX,
    BODY_BYTES_MAX,
    NAME_CHARS_MAX,
    RANK_MAX,
    TENSOR_NAME_CHARS_MAX,
    TENSORS_MAX,
)


def encode(manifest: Manifest) -> bytes:
    """Return the canonical encoding, or raise BadMetadata naming the field that is wrong."""
    try:
        encoded = cbor.dumps(_to_plain(manifest))
    except LocalProtocolError as error:
        raise BadMetadata(str(error)) from error
    if decode(encoded) != manifest:
        raise BadMetadata("the manifest has values that its encoding does not keep")
    return encoded


def decode(data: bytes | memoryview) -> Manifest:
    """Return the manifest in a `meshnode` section, or raise BadMetadata naming what is wrong."""
    try:
        plain = cbor.loads(data, bytes_max=MANIFEST_BYTES_MAX)
    except RemoteProtocolError as error:
        raise BadMetadata(f"the metadata cannot be read: {error}") from error
    return from_plain(plain)


_KEYS = (
    "format",
    "name",
    "version",
    "abi",
    "inputs",
    "outputs",
    "required",
    "optional",
    "models",
    "limits",
    "batch",
    "self_tests",
    "licence",
    "labels",
)
_KEYS_WITH_DEFAULT = ("affinity", "require", "data")
_TENSOR_KEYS = ("name", "dtype", "shape", "layout")
_MODEL_KEYS = ("name", "sha256", "size", "embedded", "root")
_LIMIT_KEYS = ("memory_bytes", "run_ms", "output_bytes")
_TEST_KEYS = ("inputs", "outputs", "tolerance")
_ALL_CAPS = sum(Caps)


def from_plain(plain: cbor.Plain) -> Manifest:
    """Return the manifest of a plain map, or raise BadMetadata."""
    # The format first: a newer one may have fields that would else be called unknown.
    if isinstance(plain, dict) and plain.get("format", FORMAT) != FORMAT:
        raise BadMetadata(f"format: this node reads {FORMAT}, not {plain['format']!r}")
    fields = Fields(plain, (*_KEYS, *_KEYS_WITH_DEFAULT))
    fields.integer("format", FORMAT, FORMAT)
    manifest = Manifest(
        name=fields.pattern(
            "name", NAME, "lower-case letters, digits, '.', '_', '-'", NAME_CHARS_MAX
        ),
        version=fields.pattern("version", VERSION, "a version like 1.2.0", VERSION_CHARS_MAX),
        abi=fields.choice("abi", ABIS),
        inputs=_tensors(fields, "inputs"),
        outputs=_tensors(fields, "outputs"),
        required=_caps(fields, "required"),
        optional=_caps(fields, "optional"),
        models=_models(fields),
        limits=_limits(fields.map("limits", _LIMIT_KEYS)),
        batch=fields.boolean("batch"),
        self_tests=_self_tests(fields),
        licence=fields.text("licence", chars_max=64),
        labels=fields.texts("labels", count_max=LABELS_MAX, chars_max=LABEL_CHARS_MAX),
        affinity=_word(fields, "affinity", AFFINITIES),
        constraints=_constraints(fields),
    )
    _check_together(manifest, fields)
    return manifest


def _word(fields: Fields, key: str, words: tuple[str, ...]) -> str:
    """Return one of a few words, the first of them where the key is left out."""
    if not fields.has(key):
        return words[0]
    word = fields.choice(key, words)
    if word == words[0]:
        raise fields.wrong(key, f"'{word}' is the default, which is left out")
    return word


def _constraints(fields: Fields) -> Constraints:
    data = scope_of(_word(fields, "data", SCOPES[::-1]))
    if not fields.has("require"):
        return Constraints(data=data)
    constraints = Constraints(required_labels(fields), data)
    if not constraints.labels:
        raise fields.wrong("require", "asks for nothing, which is left out")
    return constraints


def required_labels(fields: Fields) -> Labels:
    """Return the labels that `require` asks for."""
    pairs = fields.texts("require", count_max=REQUIRED_MAX, chars_max=VALUE_CHARS_MAX)
    try:
        return labels_of(pairs)
    except ValueError as error:
        raise fields.wrong("require", str(error)) from error


def _tensors(fields: Fields, key: str) -> tuple[TensorSpec, ...]:
    found = []
    for entry in fields.maps(key, _TENSOR_KEYS, count_max=TENSORS_MAX):
        tensor = TensorSpec(
            name=entry.text("name", chars_min=1, chars_max=TENSOR_NAME_CHARS_MAX),
            dtype=entry.choice("dtype", tuple(ITEM_BYTES)),
            shape=_shape(entry),
            layout=entry.text("layout", chars_max=RANK_MAX),
        )
        least = item_bytes(tensor.dtype) * prod(abs(d) for d in tensor.shape)
        if least > BODY_BYTES_MAX:
            raise entry.wrong("shape", f"needs {least} bytes, a request has {BODY_BYTES_MAX}")
        if tensor.layout and len(tensor.layout) != len(tensor.shape):
            raise entry.wrong("layout", f"names {len(tensor.layout)} of {len(tensor.shape)} axes")
        found.append(tensor)
    if not found:
        raise fields.wrong(key, "has no tensor")
    names = [t.name for t in found]
    if len(set(names)) != len(names):
        raise fields.wrong(key, "has two tensors of one name")
    return tuple(found)


def _shape(entry: Fields) -> tuple[int, ...]:
    shape = entry.items("shape", count_max=RANK_MAX)
    for size in shape:
        if not isinstance(size, int) or isinstance(size, bool) or not -1 <= size <= DIMENSION_MAX:
            raise entry.wrong("shape", f"{size!r} is neither a size nor -1 for any")
    return tuple(shape)


def _caps(fields: Fields, key: str) -> Caps:
    bits = fields.integer(key, 0, 2**32 - 1)
    if bits & ~_ALL_CAPS:
        raise fields.wrong(key, f"has capability bits that no node knows: {bits & ~_ALL_CAPS:#x}")
    return Caps(bits)


def _models(fields: Fields) -> tuple[ModelRef, ...]:
    found = tuple(
        ModelRef(
            name=entry.pattern("name", MODEL_NAME, "a name like 'model'", NAME_CHARS_MAX),
            sha256=ContentHash(entry.octets("sha256", sizes=(32,))),
            size=entry.integer("size", 1, BLOB_BYTES_MAX),
            embedded=entry.boolean("embedded"),
            root=entry.octets("root", sizes=(0, 32)),
        )
        for entry in fields.maps("models", _MODEL_KEYS, count_max=MODELS_MAX)
    )
    if len({m.name.lower() for m in found}) != len(found):
        raise fields.wrong("models", "has two models of one name")
    return found


def _limits(fields: Fields) -> Limits:
    return Limits(
        memory_bytes=fields.integer("memory_bytes", MEMORY_BYTES_MIN, MEMORY_BYTES_MAX),
        run_ms=fields.integer("run_ms", 1, RUN_MS_MAX),
        output_bytes=fields.integer("output_bytes", 1, OUTPUT_BYTES_MAX),
    )


def _self_tests(fields: Fields) -> tuple[SelfTest, ...]:
    return tuple(
        SelfTest(
            inputs=_buffers(entry, "inputs"),
            outputs=_buffers(entry, "outputs"),
            tolerance=entry.number("tolerance", 0.0, 1.0),
        )
        for entry in fields.maps("self_tests", _TEST_KEYS, count_max=SELF_TESTS_MAX)
    )


def _buffers(entry: Fields, key: str) -> tuple[bytes, ...]:
    buffers = entry.items(key, count_max=TENSORS_MAX)
    if not all(isinstance(b, bytes) for b in buffers):
        raise entry.wrong(key, "is not a list of byte strings")
    return tuple(buffers)


def _check_together(manifest: Manifest, fields: Fields) -> None:
    """Raise BadMetadata where fields are right alone and wrong together."""
    tensors = (*manifest.inputs, *manifest.outputs)
    if manifest.abi == "seed":
        if len(manifest.inputs) != 1 or len(manifest.outputs) != 1:
            raise fields.wrong("abi", "a seed module has exactly one input and one output")
        if any(t.dtype != "float32" for t in tensors):
            raise fields.wrong("abi", "a seed module's tensors are float32")
    if manifest.abi == "command":
        _check_command(manifest, fields)
    for tensor in tensors:
        if not holdable([abs(size) for size in tensor.shape], item_bytes(tensor.dtype)):
            raise BadMetadata(f"no machine can hold the tensor {tensor}")
    if manifest.batch and any(not t.shape or t.shape[0] != -1 for t in tensors):
        raise fields.wrong("batch", "axis 0 of every input and output must be -1")
    if manifest.models and not (manifest.required | manifest.optional) & Caps.NN:
        raise fields.wrong("models", "a module with models needs the capability nn")
    for i, test in enumerate(manifest.self_tests):
        _check_buffers(manifest.inputs, test.inputs, f"self_tests[{i}].inputs")
        _check_buffers(manifest.outputs, test.outputs, f"self_tests[{i}].outputs")


def _check_command(manifest: Manifest, fields: Fields) -> None:
    if not manifest.required & Caps.WASI:
        raise fields.wrong("abi", "a command module needs the capability wasi, required")
    # stdout has no shapes: what it leaves open must follow from its length.
    opens = [t for t in manifest.outputs if -1 in t.shape[manifest.batch :]]
    if len(opens) > 1:
        raise fields.wrong("abi", "a command module has an open size in one output at most")


def _check_buffers(tensors: tuple[TensorSpec, ...], buffers: tuple[bytes, ...], at: str) -> None:
    if len(buffers) != len(tensors):
        raise BadMetadata(f"{at}: has {len(buffers)} buffers for {len(tensors)} tensors")
    for tensor, buffer in zip(tensors, buffers, strict=True):
        least = item_bytes(tensor.dtype) * prod(abs(d) for d in tensor.shape)
        open_ended = -1 in tensor.shape
        rows = len(buffer) // least if least else 0
        if len(buffer) != least and not (open_ended and rows and len(buffer) % least == 0):
            raise BadMetadata(f"{at}: {len(buffer)} bytes do not fill {tensor}")


def _to_plain(manifest: Manifest) -> cbor.Plain:
    return {
        "format": FORMAT,
        "name": manifest.name,
        "version": manifest.version,
        "abi": manifest.abi,
        "inputs": [_tensor_to_plain(t) for t in manifest.inputs],
        "outputs": [_tensor_to_plain(t) for t in manifest.outputs],
        "required": int(manifest.required),
        "optional": int(manifest.optional),
        "models": [
            {
                "name": m.name,
                "sha256": m.sha256,
                "size": m.size,
                "embedded": m.embedded,
                "root": m.root,
            }
            for m in manifest.models
        ],
        "limits": {
            "memory_bytes": manifest.limits.memory_bytes,
            "run_ms": manifest.limits.run_ms,
            "output_bytes": manifest.limits.output_bytes,
        },
        "batch": manifest.batch,
        "self_tests": [
            {
                "inputs": list(t.inputs),
                "outputs": list(t.outputs),
                "tolerance": float(t.tolerance),
            }
            for t in manifest.self_tests
        ],
        "licence": manifest.licence,
        "labels": dict(manifest.labels),
        **_beyond_defaults(manifest),
    }


def _beyond_defaults(manifest: Manifest) -> dict[str, cbor.Plain]:
    """Return the keys that say something else than their defaults."""
    said: dict[str, cbor.Plain] = {}
    if manifest.affinity != AFFINITIES[0]:
        said["affinity"] = manifest.affinity
    if manifest.constraints.labels:
        said["require"] = dict(manifest.constraints.labels)
    if manifest.constraints.data is not Scope.MESH:
        said["data"] = manifest.constraints.data.word
    return said


def _tensor_to_plain(tensor: TensorSpec) -> cbor.Plain:
    return {
        "name": tensor.name,
        "dtype": tensor.dtype,
        "shape": list(tensor.shape),
        "layout": tensor.layout,
    }
