"""`meshnode pack`: make a signed module from an ONNX model or a hand-written guest."""

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshnode.cli.output import print_json

if TYPE_CHECKING:
    from meshnode.identity.keys import Identity
    from meshnode.modules.manifest import Limits, Manifest, SelfTest, TensorSpec

TOLERANCE_DEFAULT = 1e-4
"""Float results differ in the last digits between processors; what is wrong differs by more."""


def add_parser(verbs: "argparse._SubParsersAction[Any]") -> None:
    """Add this verb's options."""
    parser = verbs.add_parser(
        "pack",
        description="Make a module: a signed .wasm that says what it is, needs and promises. "
        "The same inputs and key give the same bytes.",
    )
    add = parser.add_argument
    add("file", type=Path, metavar="MODEL.onnx|GUEST.wasm")
    add("--name", help="the module's name (default: from the file)")
    add("--version", help="a semantic version (default: 0.1.0)")
    add("-o", "--output", type=Path, metavar="FILE", help="default: NAME-VERSION.wasm")
    add("--meta", type=Path, metavar="module.toml", help="a guest's description")
    add("--memory-mib", type=int, metavar="N", help="memory the guest may use")
    add("--run-ms", type=int, metavar="N", help="longest time of one call")
    add("--no-embed", action="store_true", help="keep the weights in a file of their own")
    add(
        "--test",
        action="append",
        default=[],
        metavar="IN.npy[,IN.npy]:OUT.npy[,OUT.npy]",
        help="a self-test: every node checks it before it serves",
    )
    add("--tolerance", type=float, default=TOLERANCE_DEFAULT, metavar="X", help="of --test")
    add("--licence", metavar="SPDX", help="for example Apache-2.0")
    add("--unsigned", action="store_true", help="do not sign; no node will run it")
    parser.set_defaults(run=run)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """What is packed, read from its files."""

    guest: bytes
    manifest: "Manifest"
    weights: dict[str, bytes]
    embed: bool | None
    lines: tuple[str, ...]
    """What was found, for people."""


def run(args: argparse.Namespace) -> int:
    """Pack, sign, write, and say what came of it."""
    from hashlib import sha256

    from meshnode.modules.pack import EMBED_BYTES_MAX, assemble
    from meshnode.modules.signing import sign
    from meshnode.storage.files import replace_file

    source = _read_model(args) if _is_model(args.file) else _read_guest(args)
    fits = sum(map(len, source.weights.values())) <= EMBED_BYTES_MAX
    embed = not args.no_embed and (fits if source.embed is None else source.embed)
    module, blobs = assemble(source.guest, source.manifest, source.weights, embed=embed)
    publisher = None
    if not args.unsigned:
        publisher = _publisher(args)
        module = sign(module, publisher)
    manifest = source.manifest
    output: Path = args.output or Path(f"{manifest.name}-{manifest.version}.wasm")
    files = {
        name: output.with_suffix(".weights" if len(blobs) == 1 else f".{name}.weights")
        for name in blobs
    }
    for name, data in blobs.items():
        replace_file(files[name], [data])
    replace_file(output, [module])
    facts = {
        "file": str(output),
        "sha256": sha256(module).hexdigest(),
        "bytes": len(module),
        "name": manifest.name,
        "version": manifest.version,
        "abi": manifest.abi,
        "caps": manifest.required.names(),
        "batch": manifest.batch,
        "inputs": [str(t) for t in manifest.inputs],
        "outputs": [str(t) for t in manifest.outputs],
        "self_tests": len(manifest.self_tests),
        "weights": [
            {
                "name": name,
                "sha256": sha256(data).hexdigest(),
                "bytes": len(data),
                "file": str(files[name]) if name in files else None,
            }
            for name, data in source.weights.items()
        ],
        "publisher": _key_text(publisher),
    }
    _print(args, facts, source.lines)
    return 0


def _print(args: argparse.Namespace, facts: dict[str, Any], lines: Sequence[str]) -> None:
    from meshnode.config.units import size_text

    if args.json:
        print_json({"packed": facts})
        return
    signed = f"signed by {facts['publisher'][:7]}" if facts["publisher"] else "unsigned"
    wrote = f"{facts['file']}  {size_text(facts['bytes'])}  sha256:{facts['sha256']}"
    if args.quiet:
        print(wrote)
        return
    for line in lines:
        print(f"  {line}")
    tests = f"{facts['self_tests']} in the module" if facts["self_tests"] else "none that fits"
    print(f"  self-test     {tests}; add yours: --test in.npy:out.npy")
    for weight in facts["weights"]:
        where = weight["file"] or "inside the module"
        digest = f"sha256:{weight['sha256'][:12]}"
        print(f"  weights       {weight['name']}, {size_text(weight['bytes'])}, {digest}, {where}")
    print(f"wrote {wrote}  {signed}")
    then = f" && meshnode publish {facts['file']}" if facts["publisher"] else ""
    print(f"next: meshnode test {facts['file']}{then}")


# ---------------------------------------------------------------------- what is packed


def _is_model(path: Path) -> bool:
    """Return whether a file is taken for an ONNX model rather than a guest."""
    if path.suffix == ".onnx":
        return True
    if path.suffix == ".wasm":
        return False
    return not _read(path).startswith(b"\0asm")


def _read_model(args: argparse.Namespace) -> _Source:
    from meshnode.assets import asset
    from meshnode.config.units import size_text
    from meshnode.errors import MissingPart, UsageError
    from meshnode.modules.pack import RUNNER_MODEL, runner_manifest
    from meshnode.runtime.onnx_file import inspect_model

    if args.meta is not None:
        raise UsageError("--meta describes a guest; an ONNX model describes itself")
    model = _read(args.file)
    facts = inspect_model(args.file)
    try:
        guest = asset("onnx-runner.wasm").read_bytes()
    except FileNotFoundError as error:
        raise MissingPart("the ONNX runner guest is not installed", because=[str(error)]) from error
    tests = _tests(args, facts.inputs, facts.outputs)
    given = tests + ((facts.self_test,) if facts.self_test is not None else ())
    manifest = runner_manifest(
        name=args.name or _name_from(args.file),
        version=args.version or "0.1.0",
        inputs=facts.inputs,
        outputs=facts.outputs,
        batch=facts.batch,
        self_tests=given,
        licence=args.licence or "",
    )
    _check_kept(tests, manifest)
    manifest = replace(manifest, limits=_limits(args, manifest.limits))
    batching = "requests are joined along axis 0" if manifest.batch else "one request at a time"
    lines = (
        f"model         {args.file.name}, {size_text(len(model))}, opset {facts.opset}, {batching}",
        f"inputs        {', '.join(map(str, facts.inputs))}",
        f"outputs       {', '.join(map(str, facts.outputs))}",
        f"runner        onnx-runner, {size_text(len(guest))} of wasm, needs cap nn",
    )
    return _Source(
        guest=guest, manifest=manifest, weights={RUNNER_MODEL: model}, embed=None, lines=lines
    )


def _read_guest(args: argparse.Namespace) -> _Source:
    from meshnode.config.units import size_text
    from meshnode.errors import UsageError
    from meshnode.modules.module_toml import from_toml

    meta: Path = args.meta or args.file.with_name("module.toml")
    if args.meta is None and not meta.exists():
        raise UsageError(
            f"{args.file} needs a description",
            because=[f"{meta} does not exist"],
            try_=f"meshnode pack {args.file} --meta module.toml",
        )
    described = from_toml(_read_text(meta))
    guest = _read(args.file)
    manifest = described.manifest
    written = tuple(
        _self_test(
            [meta.parent / path for path in test.inputs],
            [meta.parent / path for path in test.outputs],
            (manifest.inputs, manifest.outputs),
            test.tolerance,
        )
        for test in described.test_files
    )
    tests = _tests(args, manifest.inputs, manifest.outputs)
    manifest = replace(
        manifest,
        name=args.name or manifest.name,
        version=args.version or manifest.version,
        licence=args.licence or manifest.licence,
        limits=_limits(args, manifest.limits),
        self_tests=(*manifest.self_tests, *written, *tests),
    )
    lines = (
        f"guest         {args.file.name}, {size_text(len(guest))}, abi {manifest.abi}",
        f"inputs        {', '.join(map(str, manifest.inputs))}",
        f"outputs       {', '.join(map(str, manifest.outputs))}",
        f"caps          {' '.join(manifest.required.names())}",
    )
    weights = {n: _read(meta.parent / path) for n, path in described.model_files.items()}
    return _Source(
        guest=guest, manifest=manifest, weights=weights, embed=described.embed, lines=lines
    )


def _limits(args: argparse.Namespace, limits: "Limits") -> "Limits":
    if args.memory_mib is not None:
        limits = replace(limits, memory_bytes=args.memory_mib << 20)
    if args.run_ms is not None:
        limits = replace(limits, run_ms=args.run_ms)
    return limits


def _name_from(path: Path) -> str:
    """Return a module's name made of a file's name."""
    return re.sub(r"[^a-z0-9._-]+", "-", path.stem.lower()).strip("._-")[:64] or "module"


# ---------------------------------------------------------------------- self-tests


def _tests(
    args: argparse.Namespace,
    inputs: Sequence["TensorSpec"],
    outputs: Sequence["TensorSpec"],
) -> tuple["SelfTest", ...]:
    from meshnode.errors import UsageError

    found = []
    for text in args.test:
        left, colon, right = text.partition(":")
        if not colon or not left or not right:
            raise UsageError(f"--test {text}: write IN.npy:OUT.npy, several joined by commas")
        into = [Path(path) for path in left.split(",")]
        out = [Path(path) for path in right.split(",")]
        found.append(_self_test(into, out, (inputs, outputs), args.tolerance))
    return tuple(found)


def _self_test(
    into: Sequence[Path],
    out: Sequence[Path],
    specs: tuple[Sequence["TensorSpec"], Sequence["TensorSpec"]],
    tolerance: float,
) -> "SelfTest":
    from meshnode.modules.manifest import SelfTest

    return SelfTest(
        inputs=_tensors(into, specs[0]), outputs=_tensors(out, specs[1]), tolerance=tolerance
    )


def _tensors(paths: Sequence[Path], specs: Sequence["TensorSpec"]) -> tuple[bytes, ...]:
    """Return the elements of .npy files, checked against what the module declares."""
    from meshnode.errors import WrongTensors
    from meshnode.modules.schema import check_test_tensor
    from meshnode.wire.arrays import header, read_npy

    if len(paths) != len(specs):
        raise WrongTensors(
            f"a self-test gives {len(paths)} files for {len(specs)} tensors",
            because=[", ".join(map(str, specs))],
        )
    found = []
    for path, spec in zip(paths, specs, strict=True):
        dtype, shape, data = read_npy(_read(path), str(path))
        check_test_tensor(spec, header(spec.name, dtype, shape))
        found.append(bytes(data))
    return tuple(found)


def _check_kept(tests: Sequence["SelfTest"], manifest: "Manifest") -> None:
    """Raise TooLarge if a test that the user gave did not fit the manifest."""
    from meshnode.errors import TooLarge
    from meshnode.modules.pack import SELF_TEST_BYTES_MAX

    if any(test not in manifest.self_tests for test in tests):
        raise TooLarge(
            "the self-tests are too large to travel in the module's head",
            because=[f"all their tensors together may have {SELF_TEST_BYTES_MAX} bytes"],
        )


# ---------------------------------------------------------------------- files and keys


def _read(path: Path) -> bytes:
    from meshnode.errors import UsageError

    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read", because=[error.strerror or str(error)]
        ) from error


def _read_text(path: Path) -> str:
    from meshnode.errors import BadMetadata

    try:
        return _read(path).decode()
    except UnicodeDecodeError as error:
        raise BadMetadata(f"{path} is not UTF-8 text") from error


def _publisher(args: argparse.Namespace) -> "Identity":
    """Return this user's publisher identity; the key is made on first use, 0600."""
    from meshnode.config import home_dir
    from meshnode.errors import IdentityError
    from meshnode.identity.keys import SEED_BYTES, Identity
    from meshnode.storage.state import read_secret, write_secret

    path = home_dir(args.home).publisher_key
    seed = read_secret(path)
    if seed is None:
        publisher = Identity.generate()
        write_secret(path, publisher.seed)
        return publisher
    if len(seed) != SEED_BYTES:
        raise IdentityError(
            f"{path} is damaged: it has {len(seed)} bytes, a key has {SEED_BYTES}",
            try_="restore it from a backup, or move it away to publish under a new key",
        )
    return Identity.from_seed(seed)


def _key_text(publisher: "Identity | None") -> str | None:
    from meshnode.ids import to_text

    return None if publisher is None else to_text(publisher.public_key)
