"""`meshnode test`: try a module out before anybody else runs it. No node and no mesh needed."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshnode.cli.output import ms, print_json

if TYPE_CHECKING:
    from meshnode.caps import Caps
    from meshnode.modules.manifest import Manifest
    from meshnode.runtime.trial import Progress, Trial

INPUTS_DEFAULT = 200
_LABEL = 14
_STAGES = {
    "compile": "compile",
    "open models": "models",
    "open compiled": "from cache",
    "start": "start",
    "init": "init",
}
"""What is shown of a cold start, and by which word."""


def add_parser(verbs: "argparse._SubParsersAction[Any]") -> None:
    """Add this verb's options."""
    parser = verbs.add_parser(
        "test",
        description="Check a packed module, signed or not: imports against capabilities, limits, "
        "its self-tests three times, 200 hard inputs, batches, latency. Needs no node. Exit 7 if "
        "the module failed, 8 if its bytes are refused, 9 if a self-test failed.",
    )
    add = parser.add_argument
    add("file", type=Path, metavar="FILE.wasm")
    add(
        "--fuzz", type=int, default=0, metavar="N", help="N hard inputs more, however long it takes"
    )
    add("--seed", type=int, default=0, metavar="S", help="of the first input (default: 0)")
    add(
        "--weights",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="weights that are not beside the module",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Try the module out, say what was found, and return the status of the first failure."""
    import tempfile

    from meshnode.errors import UsageError
    from meshnode.modules.layout import read_module
    from meshnode.runtime.trial_apart import HardInputs, try_apart

    if args.fuzz < 0 or args.seed < 0:
        raise UsageError("--fuzz and --seed are whole numbers from 0")
    data = _read(args.file)
    signature = _signature(data)
    manifest = read_module(data).head.manifest
    said = _Said(args)
    said.line("module", f"{manifest.name}@{manifest.version}, abi {manifest.abi}, {signature}")
    imports = _imports(data, manifest)
    said.line(
        "imports", ", ".join(f"{name} {'✓' if ok else '✗'}" for name, ok in imports) or "none"
    )
    caps = _caps(manifest)
    models = _models(args, manifest)
    with tempfile.TemporaryDirectory(prefix="meshnode-test-") as folder:
        trial = try_apart(
            data,
            manifest,
            models,
            caps=caps,
            folder=Path(folder),
            hard=HardInputs(fuzz=INPUTS_DEFAULT, more=args.fuzz, seed=args.seed),
            progress=_progress(args),
        )
    if args.json:
        print_json(
            {"test": _facts(manifest, signature, dict(imports), _limits(data, manifest), trial)}
        )
        return trial.exit_status
    for label, text in _lines(data, manifest, trial):
        said.line(label, text)
    said.end(trial)
    return trial.exit_status


class _Said:
    """Prints the findings as they come; nothing with --json, only the end with --quiet."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._json = args.json
        self._quiet = args.quiet

    def line(self, label: str, text: str) -> None:
        if not self._json and not self._quiet:
            print(f"  {label:<{_LABEL}} {text}", flush=True)

    def end(self, trial: "Trial") -> None:
        for note in trial.notes:
            self.line("note", note)
        for error in trial.failures:
            print(f"FAIL {error.message}  {error.code}")
            for fact in error.because:
                print(f"     {fact}")
            if error.try_:
                print(f"     try {error.try_}")
        if not trial.failures:
            print("pass")


# ---------------------------------------------------------------------- the module


def _read(path: Path) -> bytes:
    from meshnode.errors import MalformedModule, ModuleNotFound, TooLarge, UsageError
    from meshnode.modules.layout import MODULE_BYTES_MAX

    try:
        if path.stat().st_size > MODULE_BYTES_MAX:
            raise TooLarge(f"{path} is larger than a module may be, {MODULE_BYTES_MAX} bytes")
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise ModuleNotFound(
            f"{path} does not exist", because=["what is tested is a file"]
        ) from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read", because=[error.strerror or ""]) from error
    if not data.startswith(b"\0asm"):
        raise MalformedModule(
            f"{path} is not a Wasm module", try_=f"meshnode pack {path}   makes one of a model"
        )
    return data


def _signature(data: bytes) -> str:
    """Return who signed the module; one that was changed after signing is refused here."""
    from meshnode.errors import BadMetadata, Unsigned
    from meshnode.ids import to_text
    from meshnode.modules.signing import verify_module

    try:
        return f"signed by {to_text(verify_module(data).publisher)[:7]}"
    except Unsigned:
        return "not signed (no node will run it)"
    except BadMetadata as error:
        raise BadMetadata(
            error.message,
            because=[*error.because, "a guest must be packed before it can be tested"],
            try_="meshnode pack GUEST.wasm --meta module.toml",
        ) from error


def _imports(data: bytes, manifest: "Manifest") -> list[tuple[str, bool]]:
    """Return each import, and whether the guest ABI has it and the manifest declares its need."""
    from meshnode.runtime.abi import IMPORTS
    from meshnode.runtime.preflight import read_guest

    declared = manifest.required | manifest.optional
    found = []
    for each in read_guest(data).imports:
        host = IMPORTS.get((each.module, each.name))
        needs = "" if host is None else ", ".join(host.needs.names())
        text = f"{each}{f' ({needs})' if needs else ''}"
        found.append((text, host is not None and declared.satisfies(host.needs)))
    return found


def _caps(manifest: "Manifest") -> "Caps":
    """Return what this machine offers of what the module declares; its author allows all of it."""
    from meshnode.caps import Caps
    from meshnode.errors import MissingPart
    from meshnode.runtime.providers import detect_caps

    declared = manifest.required | manifest.optional
    found = detect_caps(declared)
    if manifest.required & (Caps.NN | Caps.NN_LOAD) and not found & Caps.NN:
        raise MissingPart(
            f"{manifest.name} runs models, and onnxruntime is not installed here",
            because=[f"it requires {', '.join(manifest.required.names())}"],
            try_="pip install onnxruntime",
        )
    return found | declared & (Caps.NN_LOAD | Caps.WASI)


def _models(args: argparse.Namespace, manifest: "Manifest") -> dict[str, bytes]:
    from meshnode.client.packages import find_weights
    from meshnode.errors import BlobNotFound, UnreadableModel

    try:
        return {
            ref.name: find_weights(ref, args.file, args.weights)
            for ref in manifest.models
            if not ref.embedded
        }
    except UnreadableModel as error:
        raise BlobNotFound(
            error.message,
            because=error.because,
            try_=f"meshnode test {args.file} --weights FILE",
        ) from error


def _progress(args: argparse.Namespace) -> "Progress":
    """Return what shows how far the inputs are: on a terminal only, and after a second."""
    from time import perf_counter

    started = shown = perf_counter()
    visible = sys.stderr.isatty() and not args.quiet and not args.json

    def progress(done: int, of: int) -> None:
        nonlocal shown
        now = perf_counter()
        if visible and now - started > 1 and (now - shown > 0.2 or done == of):
            shown = now
            end = "\r\033[K" if done == of else ""
            print(f"\r  {done} of {of} inputs{end}", end="", file=sys.stderr, flush=True)

    return progress


# ---------------------------------------------------------------------- what is said


def _lines(data: bytes, manifest: "Manifest", trial: "Trial") -> list[tuple[str, str]]:
    """Return the findings for people."""
    from meshnode.config.units import size_text
    from meshnode.runtime.trial import RUNS, percentiles

    limits, stages = _limits(data, manifest), trial.stages_ms
    counts = trial.inputs
    same = "deterministic ✓" if trial.deterministic else "NOT deterministic"
    tests = (
        f"none in the module; a made-up input {RUNS} times"
        if trial.made_up
        else f"{trial.self_tests}/{trial.self_tests} ✓ {RUNS} runs each, outputs equal by hash"
    )
    lines = [
        (
            "limits",
            f"memory {size_text(limits['memory_start_bytes'])} at first, at most "
            f"{size_text(limits['memory_bytes'])} ✓   one call {limits['run_ms']} ms   "
            f"output {size_text(limits['output_bytes'])}",
        ),
        (
            "start",
            "   ".join(
                f"{word} {ms(stages[key])}" for key, word in _STAGES.items() if key in stages
            ),
        ),
        ("self-tests", f"{tests}   {same}"),
        (
            "inputs",
            f"{counts.total} random, extreme, short and oversized: {counts.ok} answered, "
            f"{counts.refused} refused by the schema, {counts.status} declined by the module",
        ),
        ("", f"{counts.traps} traps, {counts.over_limit} over limit"),
    ]
    if trial.threads:
        said = ", ".join(
            f"{name} {'one, measured to be faster' if count else 'as onnxruntime chooses'}"
            for name, count in trial.threads.items()
        )
        lines.append(("threads", said))
    if trial.batch:
        lines.append(("batch", f"rows together and alone: {trial.batch}"))
    if trial.latency_ms:
        p50, p99 = percentiles(trial.latency_ms)
        over50, over99 = percentiles(trial.overhead_ms)
        lines.append(
            (
                "latency",
                f"p50 {ms(p50)}   p99 {ms(p99)} (this machine, batch 1)   "
                f"wasm overhead {ms(over50)} / {ms(over99)}",
            )
        )
    return lines


def _limits(data: bytes, manifest: "Manifest") -> dict[str, Any]:
    from meshnode.runtime.abi import PAGE_BYTES
    from meshnode.runtime.preflight import read_guest

    memory, limits = read_guest(data).memory, manifest.limits
    most = memory.pages_max
    return {
        "memory_start_bytes": memory.pages_min * PAGE_BYTES,
        "memory_declared_bytes": None if most is None else most * PAGE_BYTES,
        "memory_bytes": limits.memory_bytes,
        "run_ms": limits.run_ms,
        "output_bytes": limits.output_bytes,
    }


def _facts(
    manifest: "Manifest",
    signature: str,
    imports: dict[str, bool],
    limits: dict[str, Any],
    trial: "Trial",
) -> dict[str, Any]:
    from dataclasses import asdict

    from meshnode.runtime.trial import RUNS, percentiles
    from meshnode.wire.control import error_fields

    keys = ("p50", "p99")
    return {
        "module": f"{manifest.name}@{manifest.version}",
        "signature": signature,
        "imports": imports,
        "limits": limits,
        "stages_ms": {name: round(took, 4) for name, took in trial.stages_ms.items()},
        "self_tests": {
            "count": trial.self_tests,
            "runs": RUNS,
            "made_up": trial.made_up,
            "deterministic": trial.deterministic,
        },
        "inputs": {**asdict(trial.inputs), "total": trial.inputs.total, "wanted": trial.wanted},
        "threads": trial.threads,
        "batch": trial.batch,
        "latency_ms": dict(zip(keys, percentiles(trial.latency_ms), strict=True))
        if trial.latency_ms
        else None,
        "overhead_ms": dict(zip(keys, percentiles(trial.overhead_ms), strict=True))
        if trial.overhead_ms
        else None,
        "notes": trial.notes,
        "failures": [error_fields(error) for error in trial.failures],
        "ok": not trial.failures,
        "exit": trial.exit_status,
    }
