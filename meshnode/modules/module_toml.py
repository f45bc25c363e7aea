"""`module.toml`: what the author of a guest says of it, and how it reads as a manifest.

Pure: the text in, a value out. Files that it names (models, test vectors) are read by the command
line. `docs/module-format.md` section 6 has an annotated example.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from meshnode.caps import Caps, parse_caps
from meshnode.constraints import SCOPES, Constraints, Scope, scope_of
from meshnode.errors import BadMetadata, UnreadableInput
from meshnode.modules import metadata
from meshnode.modules.fields import Fields
from meshnode.modules.manifest import (
    ABIS,
    AFFINITIES,
    LABEL_CHARS_MAX,
    LABELS_MAX,
    MEMORY_BYTES_MAX,
    MODELS_MAX,
    OUTPUT_BYTES_MAX,
    RUN_MS_MAX,
    SELF_TESTS_MAX,
    Limits,
    Manifest,
    SelfTest,
    TensorSpec,
)
from meshnode.modules.names import MODEL_NAME, VERSION_CHARS_MAX
from meshnode.wire.arrays import DTYPES, from_lists
from meshnode.wire.cbor import Plain
from meshnode.wire.limits import MIB, NAME_CHARS_MAX, RANK_MAX, TENSOR_NAME_CHARS_MAX, TENSORS_MAX

_KEYS = (
    "name",
    "version",
    "abi",
    "inputs",
    "outputs",
    "caps",
    "limits",
    "batch",
    "embed",
    "models",
    "tests",
    "licence",
    "labels",
    "affinity",
    "require",
    "data",
)
_PATH_CHARS_MAX = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class TestFiles:
    """A self-test whose tensors lie in .npy files, one path for each tensor in order."""

    __test__ = False  # not a test for pytest

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tolerance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleToml:
    """The file's content; paths are relative to it."""

    manifest: Manifest
    """Complete but for `models`, which `pack.assemble` adds, and for the tests in files."""
    model_files: Mapping[str, str]
    """Path by model name."""
    test_files: tuple[TestFiles, ...]
    embed: bool | None
    """Whether models go into the module; None leaves it to their size."""


def from_toml(text: str) -> ModuleToml:
    """Return what a `module.toml` says, or raise BadMetadata naming the key that is wrong."""
    try:
        plain: Plain = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadMetadata(f"module.toml is not TOML: {error}") from error
    fields = Fields(plain, _KEYS)
    required, optional = _caps(fields)
    manifest = Manifest(
        name=fields.text("name", chars_min=1, chars_max=NAME_CHARS_MAX),
        version=fields.text("version", chars_min=1, chars_max=VERSION_CHARS_MAX),
        abi=fields.choice("abi", ABIS) if fields.has("abi") else "infer",
        inputs=_tensors(fields, "inputs"),
        outputs=_tensors(fields, "outputs"),
        required=required,
        optional=optional,
        limits=_limits(fields),
        batch=fields.boolean("batch") if fields.has("batch") else False,
        licence=fields.text("licence", chars_max=64) if fields.has("licence") else "",
        labels=fields.texts("labels", count_max=LABELS_MAX, chars_max=LABEL_CHARS_MAX)
        if fields.has("labels")
        else {},
        affinity=fields.choice("affinity", AFFINITIES) if fields.has("affinity") else AFFINITIES[0],
        constraints=Constraints(
            metadata.required_labels(fields) if fields.has("require") else (),
            scope_of(fields.choice("data", SCOPES)) if fields.has("data") else Scope.MESH,
        ),
    )
    inline, files = _tests(fields, manifest)
    manifest = replace(manifest, self_tests=inline)
    metadata.encode(manifest)  # every other rule of a manifest, with the same field names
    return ModuleToml(
        manifest=manifest,
        model_files=_model_files(fields, required | optional),
        test_files=files,
        embed=fields.boolean("embed") if fields.has("embed") else None,
    )


def _tensors(fields: Fields, key: str) -> tuple[TensorSpec, ...]:
    found = []
    for entry in fields.maps(key, ("name", "dtype", "shape", "layout"), count_max=TENSORS_MAX):
        shape = [-1 if d == "?" else d for d in entry.items("shape", count_max=RANK_MAX)]
        if not all(isinstance(d, int) and not isinstance(d, bool) for d in shape):
            raise entry.wrong("shape", 'sizes are whole numbers; -1 or "?" means any')
        found.append(
            TensorSpec(
                name=entry.text("name", chars_min=1, chars_max=TENSOR_NAME_CHARS_MAX),
                dtype=entry.choice("dtype", tuple(DTYPES)),
                shape=tuple(shape),
                layout=entry.text("layout", chars_max=RANK_MAX) if entry.has("layout") else "",
            )
        )
    return tuple(found)


def _caps(fields: Fields) -> tuple[Caps, Caps]:
    if not fields.has("caps"):
        return Caps.CPU, Caps(0)
    caps = fields.map("caps", ("required", "optional"))
    return _cap_list(caps, "required", Caps.CPU), _cap_list(caps, "optional", Caps(0))


def _cap_list(caps: Fields, key: str, default: Caps) -> Caps:
    if not caps.has(key):
        return default
    names = caps.items(key, count_max=16)
    try:
        return parse_caps(str(name) for name in names)
    except ValueError as error:
        raise caps.wrong(key, str(error)) from error


def _limits(fields: Fields) -> Limits:
    limits = Limits()
    if not fields.has("limits"):
        return limits
    given = fields.map("limits", ("memory_mib", "run_ms", "output_mib"))
    if given.has("memory_mib"):
        mib = given.integer("memory_mib", 1, MEMORY_BYTES_MAX // MIB)
        limits = replace(limits, memory_bytes=mib * MIB)
    if given.has("run_ms"):
        limits = replace(limits, run_ms=given.integer("run_ms", 1, RUN_MS_MAX))
    if given.has("output_mib"):
        mib = given.integer("output_mib", 1, OUTPUT_BYTES_MAX // MIB)
        limits = replace(limits, output_bytes=mib * MIB)
    return limits


def _model_files(fields: Fields, caps: Caps) -> dict[str, str]:
    files: dict[str, str] = {}
    if not fields.has("models"):
        return files
    for entry in fields.maps("models", ("name", "file"), count_max=MODELS_MAX):
        name = entry.pattern("name", MODEL_NAME, "a name like 'model'", NAME_CHARS_MAX)
        if name.lower() in map(str.lower, files):
            raise entry.wrong("name", f"there are two models '{name}'")
        files[name] = entry.text("file", chars_min=1, chars_max=_PATH_CHARS_MAX)
    if files and not caps & Caps.NN:
        raise fields.wrong("models", 'a module with models needs caps.required = ["cpu", "nn"]')
    return files


def _tests(
    fields: Fields, manifest: Manifest
) -> tuple[tuple[SelfTest, ...], tuple[TestFiles, ...]]:
    """Return the tests whose values stand in the file, and those that lie in files."""
    inline, files = [], []
    if not fields.has("tests"):
        return (), ()
    for entry in fields.maps("tests", ("inputs", "outputs", "tolerance"), count_max=SELF_TESTS_MAX):
        tolerance = entry.number("tolerance", 0.0, 1.0) if entry.has("tolerance") else 0.0
        inputs = entry.items("inputs", count_max=TENSORS_MAX)
        outputs = entry.items("outputs", count_max=TENSORS_MAX)
        if all(isinstance(value, str) for value in (*inputs, *outputs)):
            files.append(
                TestFiles(inputs=tuple(inputs), outputs=tuple(outputs), tolerance=tolerance)
            )
            continue
        inline.append(
            SelfTest(
                inputs=_packed(entry, "inputs", manifest.inputs, inputs),
                outputs=_packed(entry, "outputs", manifest.outputs, outputs),
                tolerance=tolerance,
            )
        )
    return tuple(inline), tuple(files)


def _packed(
    entry: Fields, key: str, specs: Sequence[TensorSpec], values: Sequence[Plain]
) -> tuple[bytes, ...]:
    """Return the tensors that were written as nested lists of numbers."""
    if len(values) != len(specs):
        raise entry.wrong(key, f"has {len(values)} tensors, the module has {len(specs)}")
    buffers = []
    for spec, value in zip(specs, values, strict=True):
        try:
            buffers.append(from_lists(value, spec.dtype, f"'{spec.name}'")[1])
        except UnreadableInput as error:
            raise entry.wrong(key, "; ".join((error.message, *error.because))) from error
    return tuple(buffers)
