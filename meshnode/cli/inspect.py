"""`meshnode inspect`: show what a module is, needs and promises, without running any of it."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshnode.cli.output import print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshnode.modules.layout import PackedModule
    from meshnode.modules.manifest import Manifest
    from meshnode.modules.sections import Section

_LISTED_MAX = 8


def add_parser(verbs: "argparse._SubParsersAction[Any]") -> None:
    """Add this verb's options."""
    parser = verbs.add_parser(
        "inspect",
        description="Show a module's hash, signer, manifest, sections, imports and weights. "
        "Nothing of it is run. The exit status is 8 if its signature does not hold.",
    )
    parser.add_argument("file", type=Path, metavar="FILE.wasm")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Read the file, say what it is; a module that is not packed is shown as far as it goes."""
    from hashlib import sha256

    from meshnode.errors import BadMetadata, BadSignature, UsageError
    from meshnode.modules.layout import read_module
    from meshnode.modules.sections import ID_NAMES, read_sections

    try:
        data = args.file.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{args.file} cannot be read", because=[error.strerror or str(error)]
        ) from error
    sections = read_sections(data)
    facts: dict[str, Any] = {
        "file": str(args.file),
        "sha256": sha256(data).hexdigest(),
        "bytes": len(data),
        "sections": [
            {"kind": _clean(s.name) or ID_NAMES[s.id], "bytes": s.end - s.start} for s in sections
        ],
        "imports": _imports(sections),
    }
    status = 0
    try:
        packed = read_module(data)
        facts["manifest"] = manifest_facts(packed.head.manifest)
        facts["signature"] = _signature(data, packed)
        status = BadSignature.exit_status if facts["signature"]["state"] == "broken" else 0
    except BadMetadata as error:
        facts["manifest"] = None
        facts["signature"] = {"state": "not packed", "publisher": None, "reason": error.message}
    if args.json:
        print_json({"module": facts})
    else:
        print("\n".join(_lines(facts)))
    return status


def manifest_facts(manifest: "Manifest") -> dict[str, Any]:
    """Return a manifest as plain JSON values; self-tests are only counted."""
    return {
        "name": manifest.name,
        "version": manifest.version,
        "abi": manifest.abi,
        "inputs": [str(t) for t in manifest.inputs],
        "outputs": [str(t) for t in manifest.outputs],
        "required": manifest.required.names(),
        "optional": manifest.optional.names(),
        "batch": manifest.batch,
        "limits": {
            "memory_bytes": manifest.limits.memory_bytes,
            "run_ms": manifest.limits.run_ms,
            "output_bytes": manifest.limits.output_bytes,
        },
        "models": [
            {
                "name": m.name,
                "sha256": m.sha256.hex(),
                "bytes": m.size,
                "embedded": m.embedded,
            }
            for m in manifest.models
        ],
        "self_tests": len(manifest.self_tests),
        "licence": manifest.licence,
        "labels": dict(manifest.labels),
        "affinity": manifest.affinity,
        "require": dict(manifest.constraints.labels),
        "data": manifest.constraints.data.word,
    }


def _imports(sections: "Sequence[Section]") -> list[str]:
    from meshnode.modules.imports import imports_of

    return [_clean(str(i)) for i in imports_of(sections)]


def _clean(text: str) -> str:
    """Return what a stranger wrote without anything that a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _signature(data: bytes, packed: "PackedModule") -> dict[str, Any]:
    """Return whether the signature holds, and whose it is."""
    from meshnode.errors import BadSignature, Unsigned
    from meshnode.ids import to_text
    from meshnode.modules.signing import verify_module

    named = packed.head.publisher
    try:
        signed = verify_module(data)
        return {"state": "good", "publisher": to_text(signed.publisher), "reason": ""}
    except Unsigned as error:
        return {"state": "unsigned", "publisher": None, "reason": error.message}
    except BadSignature as error:
        reason = "; ".join((error.message, *error.because))
        return {
            "state": "broken",
            "publisher": None if named is None else to_text(named),
            "reason": reason,
        }


def _lines(facts: dict[str, Any]) -> list[str]:
    """Return the facts for people."""
    from meshnode.config.units import size_text

    manifest = facts["manifest"]
    title = f"{manifest['name']}@{manifest['version']}" if manifest else facts["file"]
    lines = [
        f"{title}  {size_text(facts['bytes'])}  sha256:{facts['sha256']}",
        f"  signature  {_signature_text(facts['signature'])}",
    ]
    if manifest:
        lines += _manifest_lines(manifest)
    imports = facts["imports"]
    more = f" and {len(imports) - _LISTED_MAX} more" if len(imports) > _LISTED_MAX else ""
    lines.append(f"  imports    {', '.join(imports[:_LISTED_MAX]) or 'none'}{more}")
    sections = [f"{s['kind']} {size_text(s['bytes'])}" for s in facts["sections"]]
    lines.append(f"  sections   {', '.join(sections)}")
    return lines


def _manifest_lines(manifest: dict[str, Any]) -> list[str]:
    from meshnode.config.units import size_text

    limits = manifest["limits"]
    optional = f", uses {' '.join(manifest['optional'])} if present" if manifest["optional"] else ""
    lines = [f"  input      {t}" for t in manifest["inputs"]]
    lines += [f"  output     {t}" for t in manifest["outputs"]]
    lines += [
        f"  needs      {' '.join(manifest['required']) or 'nothing'}{optional}, "
        f"abi {manifest['abi']}",
        f"  limits     memory {size_text(limits['memory_bytes'])}, run {limits['run_ms']} ms, "
        f"output {size_text(limits['output_bytes'])}",
        f"  promises   {manifest['self_tests']} self-tests, "
        + ("requests may be batched" if manifest["batch"] else "one request at a time"),
    ]
    if manifest["affinity"] != "finish-time":
        lines.append(f"  placed by  {manifest['affinity']}")
    if manifest["require"]:
        asked = ", ".join(f"{key}={value}" for key, value in manifest["require"].items())
        lines.append(f"  only where {asked}")
    if manifest["data"] != "mesh":
        lines.append(f"  data       stays within its {manifest['data']}")
    for model in manifest["models"]:
        where = "inside" if model["embedded"] else "a blob of its own"
        lines.append(
            f"  weights    {model['name']}, {size_text(model['bytes'])}, "
            f"sha256:{model['sha256'][:12]}, {where}"
        )
    if manifest["licence"]:
        lines.append(f"  licence    {manifest['licence']}")
    lines += [f"  label      {key} = {value}" for key, value in manifest["labels"].items()]
    return lines


def _signature_text(signature: dict[str, Any]) -> str:
    if signature["state"] == "good":
        return f"good, by publisher {signature['publisher'][:7]}  ({signature['publisher']})"
    words = {"broken": "BROKEN", "unsigned": "none", "not packed": "none"}[signature["state"]]
    return f"{words}: {signature['reason']}"
